import type { FastifyInstance } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { didYouMean } from '../base/suggest.ts'
import type { BoundValue } from '../engine/duckdb/bind.ts'
import { typeName } from '../project/columns.ts'
import type { Endpoint } from '../project/endpoint.ts'
import { clientGone, formOf, sendAnswer } from './answer.ts'
import type { ServingLimits } from './limits.ts'
import type { Platform } from './platform.ts'
import type { Queries } from './queries.ts'
import { FORMAT, NO_PARAMETERS, jsonResponses, tableResponses } from './schemas.ts'
import { typedText } from './typed-text.ts'

/** `GET /v1/endpoints` and `GET /v1/endpoints/{name}`. */
export function endpointRoutes(
  app: FastifyInstance,
  platform: Platform,
  queries: Queries,
  limits: ServingLimits,
): void {
  app.route({
    method: 'GET',
    url: '/v1/endpoints',
    schema: {
      operationId: 'listEndpoints',
      tags: ['Endpoints'],
      summary: 'The named queries of the project',
      querystring: NO_PARAMETERS,
      response: jsonResponses(200, 'All endpoints with their parameters.', {
        type: 'object',
        required: ['endpoints'],
        properties: { endpoints: { type: 'array', items: { type: 'object' } } },
      }),
    },
    handler: async () => ({ endpoints: platform.endpoints().map(described) }),
  })
  app.route<{ Params: { name: string } }>({
    method: 'GET',
    url: '/v1/endpoints/:name',
    schema: {
      operationId: 'callEndpoint',
      tags: ['Endpoints'],
      summary: 'Answer of a named query',
      params: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
      querystring: { type: 'object', properties: { format: FORMAT } },
      response: tableResponses('The rows.', 'Rows'),
    },
    validatorCompiler: () => () => true,
    handler: async (request, reply) => {
      const endpoint = endpointNamed(platform.endpoints(), request.params.name)
      const { searchParams } = new URL(request.url, 'http://millrace')
      const takesFormat = endpoint.params.some(({ name }) => name === 'format')
      const form = formOf(request, takesFormat ? undefined : (searchParams.get('format') ?? undefined))
      if (!takesFormat) searchParams.delete('format')
      const answer = await queries.ask({
        sql: endpointSql(endpoint),
        parameters: endpointParameters(endpoint, searchParams),
        format: form === 'json' ? 'objects' : form,
        maxRows: limits.queryRows,
        ifNoneMatch: request.headers['if-none-match'],
        signal: clientGone(reply),
      })
      return sendAnswer(reply, form, answer)
    },
  })
}

/** An endpoint's SQL with datasets by name and parameters as `$name`. */
export function endpointSql(endpoint: Endpoint): string {
  return endpoint.sql.render({ dataset: ({ name }) => quoteIdentifier(name), parameter: (name) => `$${name}` })
}

function described({ name, doc, params }: Endpoint) {
  return {
    name,
    ...(doc === undefined ? {} : { doc }),
    url: `/v1/endpoints/${name}`,
    params: params.map((param) => ({
      name: param.name,
      type: typeName(param.type),
      required: !param.nullable,
      ...(param.doc === undefined ? {} : { doc: param.doc }),
    })),
  }
}

/** The endpoint of a name. Errors: `invalid`/`unknown-endpoint`. */
export function endpointNamed(all: readonly Endpoint[], name: string): Endpoint {
  const endpoint = all.find((each) => each.name === name)
  if (endpoint !== undefined) return endpoint
  throw new MillraceError('invalid', 'unknown-endpoint', `There is no endpoint '${name}'.`, {
    hint: didYouMean(
      name,
      all.map((each) => each.name),
    ),
    context: { endpoint: name },
  })
}

/**
 * Values given as text, typed as declared. A nullable parameter that is left out is null. Errors, all `invalid`:
 * `unknown-parameter`, `missing-parameter`, `repeated-parameter`, `bad-value`.
 */
export function endpointParameters(endpoint: Endpoint, given: URLSearchParams): Record<string, BoundValue> {
  const names = endpoint.params.map(({ name }) => name)
  for (const name of given.keys()) {
    if (names.includes(name)) continue
    throw new MillraceError(
      'invalid',
      'unknown-parameter',
      `The endpoint '${endpoint.name}' has no parameter '${name}'.`,
      {
        hint: didYouMean(name, names),
        context: { endpoint: endpoint.name, parameter: name },
      },
    )
  }
  const used = new Set(endpoint.sql.parameters)
  const bound: Record<string, BoundValue> = {}
  for (const { name, type, nullable } of endpoint.params) {
    const values = given.getAll(name)
    const [value] = values
    if (values.length > 1) {
      throw new MillraceError(
        'invalid',
        'repeated-parameter',
        `The parameter '${name}' is given ${values.length} times.`,
        {
          hint: 'Give it once.',
          context: { endpoint: endpoint.name, parameter: name },
        },
      )
    }
    if (value === undefined && !nullable) {
      throw new MillraceError(
        'invalid',
        'missing-parameter',
        `The endpoint '${endpoint.name}' needs the parameter '${name}'.`,
        {
          hint: `Give ${name}=… (${typeName(type)}).`,
          context: { endpoint: endpoint.name, parameter: name },
        },
      )
    }
    const text = value === undefined ? null : typedText(type, value, name)
    if (used.has(name)) bound[name] = { type, value: text }
  }
  return bound
}

import type { FastifyInstance } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import type { BoundValue, ParameterValues } from '../engine/duckdb/bind.ts'
import { clientGone, formOf, sendAnswer } from './answer.ts'
import type { ServingLimits } from './limits.ts'
import type { Queries } from './queries.ts'
import { FORMAT, tableResponses } from './schemas.ts'

interface SqlRequest {
  readonly sql: string
  readonly parameters?: readonly unknown[] | Readonly<Record<string, unknown>>
  readonly maxRows?: number
}

/** `POST /v1/sql`. */
export function sqlRoute(app: FastifyInstance, queries: Queries, limits: ServingLimits): void {
  app.route({
    method: 'POST',
    url: '/v1/sql',
    schema: {
      operationId: 'query',
      tags: ['Query'],
      summary: 'Run a SELECT over the published datasets',
      body: BODY,
      querystring: { type: 'object', additionalProperties: false, properties: { format: FORMAT } },
      response: tableResponses('The rows.', 'Table'),
    },
    handler: async (request, reply) => {
      const { sql, parameters = [], maxRows = limits.queryRows } = request.body as SqlRequest
      if (maxRows > limits.queryRows) {
        throw new MillraceError('invalid', 'bad-request', `maxRows is ${maxRows}; ${limits.queryRows} are allowed.`, {
          hint: 'Ask for fewer rows, or raise limits.queryRows.',
        })
      }
      const form = formOf(request, (request.query as { format?: string }).format)
      const answer = await queries.ask({
        sql,
        parameters: boundParameters(parameters),
        format: form === 'json' ? 'arrays' : form,
        maxRows,
        signal: clientGone(reply),
      })
      return sendAnswer(reply, form, answer)
    },
  })
}

const BODY = {
  type: 'object',
  required: ['sql'],
  additionalProperties: false,
  properties: {
    sql: {
      type: 'string',
      minLength: 1,
      description: 'One SELECT in the SQL of DuckDB, over datasets by their names.',
    },
    parameters: {
      description: 'Values of the parameters: a list for ? and $1, an object for $name.',
      oneOf: [{ type: 'array' }, { type: 'object' }],
    },
    maxRows: { type: 'integer', minimum: 1, description: 'More rows than this are left out and `truncated` is set.' },
  },
}

/** JSON values as parameters. Errors: `invalid`/`bad-parameter`. */
function boundParameters(given: readonly unknown[] | Readonly<Record<string, unknown>>): ParameterValues {
  if (isList(given)) return given.map((value, i) => bound(value, String(i + 1)))
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, bound(value, name)]))
}

function isList(given: readonly unknown[] | Readonly<Record<string, unknown>>): given is readonly unknown[] {
  return Array.isArray(given)
}

function bound(value: unknown, name: string): BoundValue {
  if (value === null || ['string', 'number', 'bigint', 'boolean'].includes(typeof value)) {
    return { type: undefined, value: value as string | number | bigint | boolean | null }
  }
  throw new MillraceError('invalid', 'bad-parameter', `The parameter $${name} is a list or an object.`, {
    hint: 'Give a text, a number, true, false or null; a list can be sent as JSON text and taken apart with from_json().',
    context: { parameter: name },
  })
}

/** JSON with whole numbers beyond 2^53 kept exact, as bigints. Errors: `invalid`/`bad-json`. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, exactNumbers as (key: string, value: unknown) => unknown)
  } catch (error) {
    throw new MillraceError('invalid', 'bad-json', `The body is not JSON: ${(error as Error).message}.`, {
      hint: 'Send one JSON object.',
      cause: error,
    })
  }
}

function exactNumbers(_: string, value: unknown, { source }: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value
}

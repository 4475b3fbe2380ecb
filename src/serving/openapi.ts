import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import type { Endpoint } from '../project/endpoint.ts'
import type { DatasetDetail } from '../project/status.ts'
import { type JsonSchema, columnSchema, rowSchema } from './column-schema.ts'
import { JSON_TYPES, LINE_TYPES } from './ingest.ts'
import type { Platform } from './platform.ts'
import { addSchemas } from './schemas.ts'
import { isScalar } from './typed-text.ts'

type Operation = Record<string, unknown> & { operationId?: string }
type Paths = Record<string, Record<string, Operation>>

/** Collects the routes registered after it. */
export async function registerOpenApi(app: FastifyInstance, platform: Platform, needsToken: boolean): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: `Millrace: ${platform.project}`,
        version: '1',
        description: 'Streams in, published datasets out. Prose and examples: docs/http.md.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: needsToken ? [{ token: [] }] : [],
    },
    refResolver: { buildLocalReference: (json) => json['$id'] as string },
  })
  addSchemas(app)
}

/** `GET /openapi.json`: the routes, and beside the general ones a path for each stream, dataset and endpoint of the project. */
export function openApiRoute(app: FastifyInstance, platform: Platform): void {
  app.get('/openapi.json', { schema: { hide: true } }, async () => {
    const document = app.swagger() as unknown as { paths: Paths }
    const statuses = await platform.datasets()
    const details = await Promise.all(statuses.map(({ name }) => platform.dataset(name)))
    return { ...document, paths: { ...document.paths, ...projectPaths(document.paths, details, platform.endpoints()) } }
  })
}

function projectPaths(general: Paths, details: readonly DatasetDetail[], endpoints: readonly Endpoint[]): Paths {
  const append = general['/v1/streams/{name}']!['post']!
  const rows = general['/v1/datasets/{name}/rows']!['get']!
  const live = general['/v1/datasets/{name}/live']!['get']!
  const call = general['/v1/endpoints/{name}']!['get']!
  const paths: Paths = {}
  for (const detail of details) {
    const about = detail.doc === undefined ? {} : { description: detail.doc }
    if (detail.kind === 'stream') {
      const operation = {
        ...append,
        ...about,
        ...named(append, detail.name),
        requestBody: recordsBody(rowSchema(detail.fields)),
      }
      paths[`/v1/streams/${detail.name}`] = { post: { ...operation, parameters: withoutName(append) } }
    }
    paths[`/v1/datasets/${detail.name}/rows`] = {
      get: {
        ...rows,
        ...about,
        ...named(rows, detail.name),
        parameters: [...withoutName(rows), ...filterParameters(detail)],
        responses: withRows(rows, rowSchema(detail.fields)),
      },
    }
    paths[`/v1/datasets/${detail.name}/live`] = {
      get: {
        ...live,
        ...about,
        ...named(live, detail.name),
        parameters: [...withoutName(live), ...filterParameters(detail)],
      },
    }
  }
  for (const endpoint of endpoints) {
    paths[`/v1/endpoints/${endpoint.name}`] = {
      get: {
        ...call,
        ...(endpoint.doc === undefined ? {} : { description: endpoint.doc }),
        ...named(call, endpoint.name),
        parameters: [...withoutName(call), ...endpointParameters(endpoint)],
      },
    }
  }
  return paths
}

function named({ operationId, summary }: Operation, name: string) {
  return { operationId: `${operationId}_${name.replaceAll('-', '_')}`, summary: `${String(summary)}: ${name}` }
}

/** The general parameters without the one that the path now holds. */
function withoutName(operation: Operation): { name: string; in: string }[] {
  const parameters = (operation['parameters'] ?? []) as { name: string; in: string }[]
  return parameters.filter((parameter) => parameter.in !== 'path')
}

function recordsBody(record: JsonSchema) {
  const lines = { schema: { ...record, description: 'One object a line.' } }
  const json = { schema: { anyOf: [{ type: 'array', items: record }, record] } }
  return {
    required: true,
    content: {
      ...Object.fromEntries(LINE_TYPES.map((type) => [type, lines])),
      ...Object.fromEntries(JSON_TYPES.map((type) => [type, json])),
    },
  }
}

function filterParameters({ fields }: DatasetDetail) {
  return fields
    .filter((field) => isScalar(field.type))
    .map((field) => ({
      name: field.name,
      in: 'query',
      required: false,
      description: `Equal to; given several times, equal to any. With an operator: ${field.name}.gte and so on.`,
      schema: { type: 'array', items: columnSchema({ ...field, nullable: false }) },
      explode: true,
    }))
}

function endpointParameters({ params }: Endpoint) {
  return params.map((param) => ({
    name: param.name,
    in: 'query',
    required: !param.nullable,
    schema: columnSchema({ ...param, nullable: false }),
    ...(param.doc === undefined ? {} : { description: param.doc }),
  }))
}

/** The general responses, with the rows of the JSON one as they are here. */
function withRows(operation: Operation, row: JsonSchema) {
  const responses = operation['responses'] as Record<string, { content: Record<string, unknown> }>
  const answer = responses['200']!
  const schema = {
    allOf: [{ $ref: '#/components/schemas/Rows' }, { type: 'object', properties: { rows: { items: row } } }],
  }
  return { ...responses, 200: { ...answer, content: { ...answer.content, 'application/json': { schema } } } }
}

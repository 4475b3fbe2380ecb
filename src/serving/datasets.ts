import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { clientGone, formOf, sendAnswer } from './answer.ts'
import { writeCursor } from './cursor.ts'
import type { ServingLimits } from './limits.ts'
import type { Platform, Relation } from './platform.ts'
import type { Queries } from './queries.ts'
import { nextCursor, rowsQuery } from './rows.ts'
import { FORMAT, NO_PARAMETERS, jsonResponses, tableResponses } from './schemas.ts'

const NAME = { type: 'object', required: ['name'], properties: { name: { type: 'string' } } }
const PAGE = {
  type: 'object',
  properties: {
    columns: { type: 'string', description: 'Columns to give, separated by commas.' },
    order: { type: 'string', description: 'Columns to order by, separated by commas; - before one for descending.' },
    limit: { type: 'string', pattern: '^[0-9]+$', description: 'Rows of a page.' },
    cursor: { type: 'string', description: 'Where the page before ended; comes in `next`.' },
    format: FORMAT,
  },
}
type Named = FastifyRequest<{ Params: { name: string } }>

/** `GET /v1/datasets`, `…/{name}`, `…/{name}/rows`, `…/{name}/quarantine`. */
export function datasetRoutes(app: FastifyInstance, platform: Platform, queries: Queries, limits: ServingLimits): void {
  app.route({
    method: 'GET',
    url: '/v1/datasets',
    schema: {
      operationId: 'listDatasets',
      tags: ['Datasets'],
      summary: 'All streams and tables with their state',
      querystring: NO_PARAMETERS,
      response: jsonResponses(200, 'All datasets.', {
        type: 'object',
        required: ['datasets'],
        properties: { datasets: { type: 'array', items: { $ref: 'DatasetStatus#' } } },
      }),
    },
    handler: async () => ({ datasets: await platform.datasets() }),
  })
  app.route<{ Params: { name: string } }>({
    method: 'GET',
    url: '/v1/datasets/:name',
    schema: {
      operationId: 'getDataset',
      tags: ['Datasets'],
      summary: 'One dataset: state, columns, checks, lineage',
      params: NAME,
      querystring: NO_PARAMETERS,
      response: jsonResponses(200, 'The dataset.', 'DatasetDetail'),
    },
    handler: async (request) => platform.dataset(request.params.name),
  })
  app.route<{ Params: { name: string } }>({
    method: 'GET',
    url: '/v1/datasets/:name/rows',
    schema: {
      operationId: 'getRows',
      tags: ['Datasets'],
      summary: 'Published rows: filter, order, page',
      params: NAME,
      querystring: PAGE,
      response: tableResponses('A page of rows.', 'Rows'),
    },
    validatorCompiler: () => () => true,
    handler: async (request, reply) =>
      sendPage(request, reply, await platform.relation(request.params.name), queries, limits),
  })
  app.route<{ Params: { name: string } }>({
    method: 'GET',
    url: '/v1/datasets/:name/quarantine',
    schema: {
      operationId: 'getQuarantine',
      tags: ['Datasets'],
      summary: 'Rows held back from the dataset, with the reason and the bytes as received',
      params: NAME,
      querystring: PAGE,
      response: tableResponses('A page of rows.', 'Rows'),
    },
    validatorCompiler: () => () => true,
    handler: async (request, reply) =>
      sendPage(request, reply, await platform.quarantine(request.params.name), queries, limits),
  })
}

/** Answers with one page and, when there are more rows, the link to the next. Releases the relation. */
async function sendPage(
  request: Named,
  reply: FastifyReply,
  relation: Relation,
  queries: Queries,
  limits: ServingLimits,
): Promise<FastifyReply> {
  try {
    const url = new URL(request.url, 'http://millrace')
    const form = formOf(request, url.searchParams.get('format') ?? undefined)
    const query = rowsQuery(relation, url.searchParams, limits)
    const answer = await queries.ask({
      sql: query.sql,
      parameters: query.parameters,
      format: form === 'json' ? 'objects' : form,
      maxRows: query.limit,
      keys: query.keys,
      relations: [relation],
      ifNoneMatch: request.headers['if-none-match'],
      signal: clientGone(reply),
    })
    if (answer.kind === 'unchanged' || !answer.truncated) return sendAnswer(reply, form, answer)
    const last = answer.kind === 'rows' ? answer.last : undefined
    url.searchParams.set('cursor', writeCursor(nextCursor(query, relation.version, { rows: answer.rows, last })))
    return sendAnswer(reply, form, answer, url.pathname + url.search)
  } finally {
    relation.release()
  }
}

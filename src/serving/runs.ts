import type { FastifyInstance } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import type { RunsQuestion } from '../project/status.ts'
import type { Platform } from './platform.ts'
import { jsonResponses } from './schemas.ts'

const OUTCOMES = ['succeeded', 'failed', 'stopped'] as const
const LIMIT = { least: 1, most: 1_000, usual: 100 } as const

const QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    dataset: { type: 'string', description: 'Runs of this dataset only.' },
    outcome: { enum: OUTCOMES, description: 'Runs that ended so only.' },
    before: { type: 'string', description: 'Runs that began before the one of this id: the last of the page before.' },
    limit: { type: 'string', pattern: '^[0-9]+$', description: `At most so many, ${LIMIT.usual} unless said.` },
  },
}

interface Given {
  dataset?: string
  outcome?: (typeof OUTCOMES)[number]
  before?: string
  limit?: string
}

/** `GET /v1/runs`. */
export function runRoutes(app: FastifyInstance, platform: Platform): void {
  app.route<{ Querystring: Given }>({
    method: 'GET',
    url: '/v1/runs',
    schema: {
      operationId: 'listRuns',
      tags: ['Runs'],
      summary: 'What ran and how it ended, newest first',
      querystring: QUERY,
      response: jsonResponses(200, 'The runs.', {
        type: 'object',
        required: ['runs'],
        properties: { runs: { type: 'array', items: { $ref: 'Run#' } } },
      }),
    },
    handler: async ({ query }) => ({ runs: await platform.runs(questionOf(query)) }),
  })
}

function questionOf({ limit = String(LIMIT.usual), ...rest }: Given): RunsQuestion {
  const count = Number(limit)
  if (count >= LIMIT.least && count <= LIMIT.most) return { ...rest, limit: count }
  throw new MillraceError('invalid', 'bad-limit', `limit is ${limit}.`, {
    hint: `Give a whole number from ${LIMIT.least} to ${LIMIT.most}.`,
  })
}

import type { FastifyInstance } from 'fastify'
import { asMillraceError } from '../base/errors.ts'
import { type Access, authorizeControl } from './authorize.ts'
import type { Platform } from './platform.ts'
import { problemOf } from './problem.ts'
import { PROBLEM_RESPONSE } from './schemas.ts'

/**
 * `POST /v1/control/{verb}`: what the command line asks of a running server. Answers with NDJSON: lines `{"progress": …}` while
 * it works, then one `{"result": …}` or `{"problem": …}`. An error before the first line is a plain problem document.
 */
export function controlRoute(app: FastifyInstance, platform: Platform, access: Access): void {
  app.route<{ Params: { verb: string } }>({
    method: 'POST',
    url: '/v1/control/:verb',
    schema: {
      operationId: 'control',
      tags: ['Control'],
      summary: 'Run, replay, maintain: for the command line beside this server',
      security: [{ token: [] }],
      params: { type: 'object', required: ['verb'], properties: { verb: { type: 'string' } } },
      body: { type: 'object', description: 'What the verb takes.' },
      response: {
        200: {
          description: 'Lines of `{"progress": …}`, then one of `{"result": …}` or `{"problem": …}`.',
          content: { 'application/x-ndjson': { schema: { type: 'object' } } },
        },
        ...PROBLEM_RESPONSE,
      },
    },
    onRequest: async (request) => authorizeControl(request.raw, access),
    handler: async (request, reply) => {
      const response = reply.raw
      const write = (line: Record<string, unknown>) => {
        if (!response.headersSent) {
          reply.hijack()
          response.writeHead(200, {
            'content-type': 'application/x-ndjson; charset=utf-8',
            'cache-control': 'no-store',
          })
        }
        if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`)
      }
      try {
        const input = request.body as Record<string, unknown>
        const result = await platform.control(request.params.verb, input, (progress) => write({ progress }))
        write({ result: result ?? null })
      } catch (error) {
        if (!response.headersSent) throw error
        write({ problem: problemOf(asMillraceError(error)) })
      }
      response.end()
    },
  })
}

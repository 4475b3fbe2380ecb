import type { FastifyInstance, FastifyRequest } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { defaultLineLimits, jsonLines, ndjsonLines } from '../log/lines.ts'
import { contentEncoding, declaredLength, decode, readBody } from './body.ts'
import { BufferPool } from './buffer-pool.ts'
import type { ServingLimits } from './limits.ts'
import type { IncomingBatch, Platform } from './platform.ts'
import { jsonResponses } from './schemas.ts'

/** Media types of records: one a line, or a JSON array or object. */
export const LINE_TYPES = ['application/x-ndjson', 'application/ndjson', 'application/jsonl', 'text/plain']
export const JSON_TYPES = ['application/json']

/**
 * `POST /v1/streams/{name}`: records into a stream, acknowledged when they are durable. This is the hot path: Fastify parses
 * nothing here, and whatever can be refused is refused before the body is read.
 */
export function ingestRoute(app: FastifyInstance, platform: Platform, limits: ServingLimits): void {
  const pool = new BufferPool(limits.pooledBytes)
  // Encapsulated, so that the parser that reads nothing holds for this route alone.
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
    scope.route<{ Params: { name: string } }>({
      method: 'POST',
      url: '/v1/streams/:name',
      schema: {
        operationId: 'append',
        tags: ['Ingest'],
        summary: 'Append records to a stream; answered when they are durable',
        params: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
        headers: {
          type: 'object',
          properties: {
            'idempotency-key': { type: 'string', description: 'A second request with the same key changes nothing.' },
            'content-encoding': { enum: ['identity', 'gzip', 'zstd'] },
          },
        },
        consumes: [...LINE_TYPES, ...JSON_TYPES],
        body: { description: 'Records: one JSON object a line, or a JSON array or object.' },
        response: jsonResponses(202, 'The records are durable.', 'Received'),
      },
      // The schema above is for the OpenAPI document; what a request must be is checked by hand, before its body is read.
      validatorCompiler: () => () => true,
      onRequest: async (request) => refuseEarly(request, platform, limits),
      handler: async (request, reply) => {
        const encoding = contentEncoding(request.headers['content-encoding'])
        if (request.headers.expect !== undefined) reply.raw.writeContinue()
        const received = await readBody(request.raw, limits.bodyBytes, pool)
        const batch = batchOf(request, await decode(received.bytes, encoding, limits.bodyBytes), limits)
        // An empty JSON array is a batch of nothing: there is nothing to make durable.
        const appended = batch.records === 0 ? { received: 0 } : await platform.append(request.params.name, batch)
        // Only now: after an error somebody might still be reading it.
        received.release()
        return reply.code(202).send(answerOf(appended))
      },
    })
  })
}

/** Errors: `invalid` / `unknown-stream`, `unknown-parameter`, `unsupported-media-type`, `unsupported-encoding`, `body-too-large`, `bad-key`. */
function refuseEarly(
  request: FastifyRequest<{ Params: { name: string } }>,
  platform: Platform,
  limits: ServingLimits,
): void {
  const { name } = request.params
  const streams = platform.streamNames()
  if (!streams.includes(name)) {
    throw new MillraceError('invalid', 'unknown-stream', `There is no stream '${name}'.`, {
      hint: didYouMean(name, streams),
      context: { stream: name },
    })
  }
  const [parameter] = Object.keys(request.query as object)
  if (parameter !== undefined) {
    throw new MillraceError('invalid', 'unknown-parameter', `Appending has no parameter '${parameter}'.`, {
      hint: 'Leave it out; a key that makes the request safe to repeat goes into the header Idempotency-Key.',
      context: { stream: name },
    })
  }
  mediaType(request)
  contentEncoding(request.headers['content-encoding'])
  declaredLength(request.raw, limits.bodyBytes)
  idempotencyKey(request)
}

function answerOf({ received, repeated = false }: { received: number; repeated?: boolean }) {
  return repeated ? { received, repeated } : { received }
}

/** Errors: `invalid`/`empty-body`, and those of `log/lines.ts`. */
function batchOf(request: FastifyRequest, body: Buffer, limits: ServingLimits): IncomingBatch {
  if (!hasContent(body)) {
    throw new MillraceError('invalid', 'empty-body', 'The body holds no record.', {
      hint: 'Send at least one JSON object.',
    })
  }
  const lineLimits = { ...defaultLineLimits, recordBytes: limits.recordBytes }
  const lines = (mediaType(request) === 'json' ? jsonLines : ndjsonLines)(body, lineLimits)
  const key = idempotencyKey(request)
  return key === undefined ? lines : { ...lines, key }
}

function hasContent(body: Buffer): boolean {
  // Past white space at the start, which is rarely there at all.
  return body.some((byte) => byte > 0x20)
}

/** Errors: `invalid`/`unsupported-media-type`. */
function mediaType(request: FastifyRequest): 'ndjson' | 'json' {
  const header = request.headers['content-type']
  const [type = '', ...parameters] = (header ?? '').toLowerCase().split(/\s*;\s*/)
  const charset = parameters
    .find((parameter) => parameter.startsWith('charset='))
    ?.slice(8)
    .replaceAll('"', '')
  if (charset === undefined || charset === 'utf-8' || charset === 'utf8' || charset === 'us-ascii') {
    if (LINE_TYPES.includes(type)) return 'ndjson'
    if (JSON_TYPES.includes(type)) return 'json'
  }
  throw new MillraceError(
    'invalid',
    'unsupported-media-type',
    header === undefined ? 'The request has no Content-Type.' : `The content type '${header}' is not understood.`,
    { hint: `Send UTF-8 as ${LINE_TYPES[0]} (one JSON object a line) or ${JSON_TYPES[0]} (an array or one object).` },
  )
}

/** Errors: `invalid`/`bad-idempotency-key`. */
function idempotencyKey(request: FastifyRequest): string | undefined {
  const header = request.headers['idempotency-key']
  if (header === undefined) return undefined
  const key = String(header).replace(/^"(.*)"$/, '$1')
  if (/^[\x21-\x7e]{1,200}$/.test(key)) return key
  throw new MillraceError('invalid', 'bad-idempotency-key', 'The Idempotency-Key is not usable.', {
    hint: 'Give 1 to 200 printable ASCII characters without spaces, such as a UUID.',
  })
}

import { STATUS_CODES } from 'node:http'
import type { FastifyReply } from 'fastify'
import { MillraceError } from '../base/errors.ts'

/** A problem document (RFC 9457): `application/problem+json`. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  /** Stable and documented. */
  code: string
  hint?: string
  [context: string]: unknown
}

const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  'append-too-large': 413,
  'backlog-full': 429,
  'body-too-large': 413,
  'method-not-allowed': 405,
  'no-such-page': 404,
  'not-acceptable': 406,
  'queries-busy': 429,
  'record-too-large': 413,
  'too-many-live': 429,
  'token-missing': 401,
  'token-wrong': 401,
  'unknown-dataset': 404,
  'unknown-endpoint': 404,
  'unknown-stream': 404,
  'unknown-verb': 404,
  'unsupported-encoding': 415,
  'unsupported-media-type': 415,
}

/** The same query would meet the same end: no advice on when to retry. */
const SAME_AGAIN = new Set(['query-memory', 'query-timeout'])

/** The HTTP status that tells a client what a MillraceError asks of it. */
export function statusOf({ kind, code }: MillraceError): number {
  const special = STATUS_BY_CODE[code]
  if (special !== undefined) return special
  switch (kind) {
    case 'invalid':
      return 400
    case 'denied':
      return 403
    case 'conflict':
      return 409
    case 'unavailable':
      return 503
    case 'corrupt':
    case 'internal':
      return 500
  }
}

export function problemOf(error: MillraceError): Problem {
  const status = statusOf(error)
  return {
    ...error.context,
    type: `urn:millrace:problem:${error.code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: error.message,
    code: error.code,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }
}

/** Answers with the problem and the headers its status calls for. */
export function sendProblem(reply: FastifyReply, error: MillraceError): FastifyReply {
  const problem = problemOf(error)
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer realm="millrace"')
  if (problem.status === 429 || (problem.status === 503 && !SAME_AGAIN.has(error.code)))
    void reply.header('retry-after', retryAfter(error))
  if (error.code === 'unsupported-encoding') void reply.header('accept-encoding', 'gzip, zstd')
  if (typeof error.context['allow'] === 'string') void reply.header('allow', error.context['allow'])
  return reply
    .code(problem.status)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(JSON.stringify(problem))
}

/** Whole seconds: what the error says, else one. */
function retryAfter({ context }: MillraceError): string {
  const ms = context['retry_after_ms']
  return String(typeof ms === 'number' ? Math.max(1, Math.ceil(ms / 1000)) : 1)
}

/** Fastify's and Node's own errors in our terms; anything unknown is a bug and keeps its message to itself. */
export function fromServer(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const { code, message, validation, validationContext } = error as {
    code?: string
    message?: string
    validation?: Violation[]
    validationContext?: string
  }
  if (validation?.[0] !== undefined) {
    const where = validationContext === 'querystring' ? 'URL' : 'body'
    return new MillraceError('invalid', 'bad-request', `${violated(validation[0], where)}.`, {
      hint: 'The form of every request is at /openapi.json.',
    })
  }
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new MillraceError('invalid', 'body-too-large', 'The request body is too large.', {
        hint: 'Send less at once.',
      })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new MillraceError('invalid', 'unsupported-media-type', 'This content type is not understood here.', {
        hint: "Send JSON with 'Content-Type: application/json'.",
      })
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new MillraceError('invalid', 'bad-request', `${message ?? 'The request cannot be read'}.`, {
        hint: 'The form of every request is at /openapi.json.',
      })
    default:
      return new MillraceError('internal', 'unexpected', 'Something went wrong inside Millrace.', {
        hint: 'This is a bug; please report it with the request and the time.',
        cause: error,
      })
  }
}

/** What ajv says of a part of a request that does not fit its schema. */
interface Violation {
  readonly keyword: string
  readonly instancePath: string
  readonly message?: string
  readonly params: Readonly<Record<string, unknown>>
}

function violated({ keyword, instancePath, message, params }: Violation, where: string): string {
  const part = instancePath.slice(1).replaceAll('/', '.')
  switch (keyword) {
    case 'required':
      return `The ${where} lacks '${String(params['missingProperty'])}'`
    case 'additionalProperties':
      return `The ${where} has '${String(params['additionalProperty'])}', which is not known here`
    case 'enum':
      return `'${part}' must be one of ${(params['allowedValues'] as readonly unknown[]).join(', ')}`
    default:
      return `${part === '' ? `The ${where}` : `'${part}'`} ${message ?? 'does not fit'}`
  }
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import type { KeptAnswer } from './cache.ts'
import type { Answer } from './queries.ts'

/** The forms an answer can take. */
export type Form = 'json' | 'csv' | 'parquet'

const MEDIA_TYPES: Readonly<Record<Form, string>> = {
  json: 'application/json',
  csv: 'text/csv',
  parquet: 'application/vnd.apache.parquet',
}

/** The form asked for: by `format`, else by Accept, else JSON. Errors: `invalid` / `bad-format`, `not-acceptable`. */
export function formOf(request: FastifyRequest, format: string | undefined): Form {
  if (format !== undefined) {
    if (Object.hasOwn(MEDIA_TYPES, format)) return format as Form
    throw new MillraceError('invalid', 'bad-format', `There is no format '${format}'.`, {
      hint: 'Formats: json, csv, parquet.',
    })
  }
  const accept = request.headers.accept
  if (accept === undefined) return 'json'
  const wanted = accept
    .split(',')
    .map((part) => {
      const [type = '', ...parameters] = part
        .trim()
        .toLowerCase()
        .split(/\s*;\s*/)
      const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2)
      return { type, quality: quality === undefined ? 1 : Number(quality) }
    })
    .filter(({ quality }) => quality > 0)
    .toSorted((a, b) => b.quality - a.quality)
  for (const { type } of wanted) {
    const form = (Object.keys(MEDIA_TYPES) as Form[]).find(
      (each) => MEDIA_TYPES[each] === type || type === '*/*' || type === `${MEDIA_TYPES[each].split('/')[0]}/*`,
    )
    if (form !== undefined) return form
  }
  throw new MillraceError('invalid', 'not-acceptable', `None of the types in 'Accept: ${accept}' can be given.`, {
    hint: `Accept ${Object.values(MEDIA_TYPES).join(', ')}.`,
  })
}

/** Aborts when the client goes away before its answer is complete. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort()
  })
  return gone.signal
}

/** Sends an answer. `next` leads to the page after this one. */
export function sendAnswer(reply: FastifyReply, form: Form, answer: Answer, next?: string): FastifyReply {
  void reply.header('vary', 'Accept, Authorization').header('cache-control', 'private, no-cache')
  if (answer.etag !== undefined) void reply.header('etag', answer.etag)
  if (answer.kind === 'unchanged') return reply.code(304).send()
  void reply.header('content-type', form === 'parquet' ? MEDIA_TYPES.parquet : `${MEDIA_TYPES[form]}; charset=utf-8`)
  if (next !== undefined) void reply.header('link', `<${next}>; rel="next"`)
  if (form !== 'json' && next === undefined && answer.truncated) void reply.header('millrace-truncated', 'true')
  if (answer.kind === 'file') {
    void reply.header('content-length', answer.bytes)
    return reply.send(answer.handle.createReadStream())
  }
  if (form !== 'json') return reply.send(Buffer.concat(answer.parts))
  return reply.send(jsonDocument(answer, next))
}

/** The JSON document of an answer in rows: `{"columns":[{"name","type"}],"rows":[…]}`, then `next` or `truncated`. */
export function jsonDocument(answer: KeptAnswer, next?: string): Buffer {
  const head = `{"columns":${JSON.stringify(answer.columns)},"rows":[`
  const more = next !== undefined ? `,"next":${JSON.stringify(next)}` : answer.truncated ? ',"truncated":true' : ''
  return Buffer.concat([Buffer.from(head), ...answer.parts, Buffer.from(`]${more}}`)])
}

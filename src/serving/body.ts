import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import { MillraceError } from '../base/errors.ts'
import type { BufferPool } from './buffer-pool.ts'

/** How a body may be encoded. `identity` is none. */
export type ContentEncoding = 'identity' | 'gzip' | 'zstd'

/** The encoding a request declares. Errors: `invalid`/`unsupported-encoding`. */
export function contentEncoding(header: string | undefined): ContentEncoding {
  const name = header?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity' || name === '') return 'identity'
  if (name === 'gzip' || name === 'x-gzip') return 'gzip'
  if (name === 'zstd') return 'zstd'
  throw new MillraceError('invalid', 'unsupported-encoding', `The content encoding '${header}' is not understood.`, {
    hint: 'Send the body as it is, or compressed with gzip or zstd.',
  })
}

/** The declared length in bytes, or undefined. Errors: `invalid`/`body-too-large`. */
export function declaredLength(request: IncomingMessage, limit: number): number | undefined {
  const header = request.headers['content-length']
  if (header === undefined) return undefined
  const length = Number(header)
  if (length > limit) throw bodyTooLarge(limit, length)
  return length
}

/** A body, and how to hand its memory back once nobody reads it any more. */
export interface Body {
  readonly bytes: Buffer
  readonly release: () => void
}

/**
 * The body as one buffer. With a declared length each byte is copied once, into a buffer from the pool. Errors: `invalid` /
 * `body-too-large`, `body-cut-off`.
 */
export function readBody(request: IncomingMessage, limit: number, pool: BufferPool): Promise<Body> {
  const length = declaredLength(request, limit)
  return new Promise((resolve, reject) => {
    const whole = length === undefined ? undefined : pool.take(length)
    const chunks: Buffer[] = []
    let received = 0
    const settle = () => {
      request.off('data', take)
      request.off('end', finish)
      request.off('error', cut)
      request.off('close', cut)
    }
    const take = (chunk: Buffer) => {
      if (whole === undefined) {
        if (received + chunk.length > limit) {
          settle()
          return reject(bodyTooLarge(limit))
        }
        chunks.push(chunk)
      } else {
        chunk.copy(whole, received)
      }
      received += chunk.length
    }
    const finish = () => {
      settle()
      if (whole === undefined) resolve({ bytes: Buffer.concat(chunks, received), release: () => undefined })
      else resolve({ bytes: whole.subarray(0, received), release: () => pool.give(whole) })
    }
    const cut = () => {
      settle()
      if (whole !== undefined) pool.give(whole)
      reject(
        new MillraceError('invalid', 'body-cut-off', `The connection ended after ${received} bytes of the body.`, {
          hint: 'Nothing was taken; send the request again.',
        }),
      )
    }
    request.on('data', take)
    request.on('end', finish)
    request.on('error', cut)
    request.on('close', cut)
  })
}

/** The body without its encoding, cut off at the limit. Errors: `invalid` / `body-too-large`, `bad-encoding`. */
export async function decode(body: Buffer, encoding: ContentEncoding, limit: number): Promise<Buffer> {
  if (encoding === 'identity' || body.length === 0) return body
  const options = { maxOutputLength: limit, chunkSize: DECODE_CHUNK_BYTES }
  try {
    return encoding === 'gzip' ? await unzip(body, options) : await unzstd(body, options)
  } catch (error) {
    if (error instanceof RangeError) throw bodyTooLarge(limit)
    throw new MillraceError('invalid', 'bad-encoding', `The body is not whole ${encoding} data.`, {
      hint: `Compress it again, or leave out 'Content-Encoding: ${encoding}' if it is not compressed.`,
      cause: error,
    })
  }
}

const unzip = promisify(gunzip)
const unzstd = promisify(zstdDecompress)
const DECODE_CHUNK_BYTES = 256 * 1024

function bodyTooLarge(limit: number, length?: number): MillraceError {
  return new MillraceError(
    'invalid',
    'body-too-large',
    length === undefined
      ? `The body is larger than ${limit} bytes (after decompression).`
      : `The body is ${length} bytes; ${limit} are allowed.`,
    { hint: 'Send fewer records at once, or raise server.bodyLimit.', context: { limit } },
  )
}

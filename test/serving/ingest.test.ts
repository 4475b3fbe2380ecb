import http from 'node:http'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { type Fixture, startFixture } from './fixture.ts'

let shop: Fixture
const LIMIT = 64 * 1024

beforeAll(async () => {
  shop = await startFixture({ config: { server: { bodyLimit: LIMIT }, ingest: { recordLimit: 1_000 } } })
})
afterAll(() => shop.close())
beforeEach(() => {
  shop.platform.appended.length = 0
  shop.platform.appendError = undefined
})

const NDJSON = { 'content-type': 'application/x-ndjson' }

async function post(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream,
  headers: Record<string, string> = NDJSON,
  stream = 'orders',
) {
  const response = await fetch(`${shop.server.url}/v1/streams/${stream}`, {
    method: 'POST',
    headers,
    body,
    ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
  })
  const text = await response.text()
  return { status: response.status, body: JSON.parse(text), headers: response.headers }
}

const received = () => shop.platform.appended.map(({ batch }) => Buffer.concat(batch.lines).toString())
const bytes = (text: string) => new Uint8Array(Buffer.from(text))

describe('takes', () => {
  test.each([
    'application/x-ndjson',
    'application/ndjson',
    'application/jsonl',
    'text/plain',
    'Text/Plain; charset=UTF-8',
    'application/x-ndjson;charset="utf-8"',
  ])('lines as %s', async (type) => {
    expect(await post('{"a":1}\n{"a":2}\n', { 'content-type': type })).toMatchObject({
      status: 202,
      body: { received: 2 },
    })
    expect(received()).toEqual(['{"a":1}\n{"a":2}\n'])
  })

  test('lines as they come: malformed ones too, which are for the gate', async () => {
    expect((await post('{"a":\r\n\n{"b":1}')).body).toEqual({ received: 2 })
    expect(received()).toEqual(['{"a":\n{"b":1}\n'])
  })

  test.each([
    ['[{"a":1}, {"a":[2,3]}]', 2, '{"a":1}\n{"a":[2,3]}\n'],
    ['{"a":\n1}', 1, '{"a": 1}\n'],
    ['[{"n":12345678901234567890.10}]', 1, '{"n":12345678901234567890.10}\n'],
  ])('JSON %s', async (body, count, lines) => {
    expect(await post(body, { 'content-type': 'application/json' })).toMatchObject({
      status: 202,
      body: { received: count },
    })
    expect(received()).toEqual([lines])
  })

  test('an empty JSON array: nothing to do', async () => {
    expect(await post('[]', { 'content-type': 'application/json' })).toMatchObject({
      status: 202,
      body: { received: 0 },
    })
    expect(received()).toEqual([])
  })

  test.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['zstd', zstdCompressSync],
    ['identity', (buffer: Buffer) => buffer],
  ])('bodies encoded as %s', async (encoding, compress) => {
    const text = '{"a":1}\n'.repeat(1_000)
    const answer = await post(new Uint8Array(compress(Buffer.from(text))), { ...NDJSON, 'content-encoding': encoding })
    expect(answer).toMatchObject({ status: 202, body: { received: 1_000 } })
    expect(received()).toEqual([text])
  })

  test('a body without a length', async () => {
    const parts = ['{"a":1}\n{"a"', ':2}\n']
    const stream = new ReadableStream({
      pull(controller) {
        const part = parts.shift()
        if (part === undefined) controller.close()
        else controller.enqueue(bytes(part))
      },
    })
    expect(await post(stream)).toMatchObject({ status: 202, body: { received: 2 } })
    expect(received()).toEqual(['{"a":1}\n{"a":2}\n'])
  })

  test('bodies one after another, none mixed with another', async () => {
    const bodies = Array.from({ length: 200 }, (_, i) => `{"i":${i},"pad":"${'x'.repeat(i)}"}\n`.repeat(1 + (i % 7)))
    // The platform of this test keeps the buffers, which are used again: so it must look at them before it resolves.
    const seen: string[] = []
    const append = shop.platform.append.bind(shop.platform)
    shop.platform.append = async (_, batch) => {
      await wait(batch.records % 3)
      seen.push(Buffer.concat(batch.lines).toString())
      return { received: batch.records, repeated: false }
    }
    await Promise.all(bodies.map((body) => post(body)))
    shop.platform.append = append
    expect(seen.toSorted()).toEqual(bodies.toSorted())
  })
})

describe('Idempotency-Key', () => {
  test('goes to the platform; a repeated request says so', async () => {
    const headers = { ...NDJSON, 'idempotency-key': '"batch-1"' }
    expect((await post('{"a":1}', headers)).body).toEqual({ received: 1 })
    expect((await post('{"a":1}', headers)).body).toEqual({ received: 1, repeated: true })
    expect(shop.platform.appended.map(({ batch }) => batch.key)).toEqual(['batch-1'])
  })

  test.each(['has space', 'x'.repeat(201), ''])('refuses %j', async (key) => {
    expect(await post('{"a":1}', { ...NDJSON, 'idempotency-key': key })).toMatchObject({
      status: 400,
      body: { code: 'bad-idempotency-key' },
    })
  })
})

describe('refuses', () => {
  test.each<[string, string | Uint8Array<ArrayBuffer>, Record<string, string>, number, string, string]>([
    ['no body', '', NDJSON, 400, 'empty-body', 'at least one'],
    ['blank lines', '\n \r\n\n', NDJSON, 400, 'empty-body', 'at least one'],
    ['a JSON body that is blank', '  ', { 'content-type': 'application/json' }, 400, 'empty-body', 'at least one'],
    ['broken JSON', '[{"a":1}', { 'content-type': 'application/json' }, 400, 'bad-json', 'application/x-ndjson'],
    ['text that is not UTF-8', new Uint8Array([0x7b, 0xff, 0x7d]), NDJSON, 400, 'not-utf8', 'UTF-8'],
    ['a record too large', `{"a":"${'x'.repeat(1_000)}"}`, NDJSON, 413, 'record-too-large', 'Split'],
    ['XML', '<a/>', { 'content-type': 'application/xml' }, 415, 'unsupported-media-type', 'application/x-ndjson'],
    [
      'another charset',
      '{}',
      { 'content-type': 'application/x-ndjson; charset=utf-16' },
      415,
      'unsupported-media-type',
      'UTF-8',
    ],
    ['no content type', bytes('{}'), {}, 415, 'unsupported-media-type', 'application/x-ndjson'],
    ['brotli', '{}', { ...NDJSON, 'content-encoding': 'br' }, 415, 'unsupported-encoding', 'gzip or zstd'],
    [
      'two encodings',
      '{}',
      { ...NDJSON, 'content-encoding': 'gzip, zstd' },
      415,
      'unsupported-encoding',
      'gzip or zstd',
    ],
    ['a body that is not gzip', '{"a":1}', { ...NDJSON, 'content-encoding': 'gzip' }, 400, 'bad-encoding', 'leave out'],
    ['a body that is not zstd', '{"a":1}', { ...NDJSON, 'content-encoding': 'zstd' }, 400, 'bad-encoding', 'leave out'],
    [
      'half a gzip body',
      new Uint8Array(gzipSync('{"a":1}').subarray(0, 15)),
      { ...NDJSON, 'content-encoding': 'gzip' },
      400,
      'bad-encoding',
      'Compress it again',
    ],
    [
      'half a zstd body',
      new Uint8Array(zstdCompressSync('{"a":1}').subarray(0, 12)),
      { ...NDJSON, 'content-encoding': 'zstd' },
      400,
      'bad-encoding',
      'Compress it again',
    ],
    ['a body too large', 'x'.repeat(LIMIT + 1), NDJSON, 413, 'body-too-large', 'server.bodyLimit'],
    [
      'a gzip bomb',
      new Uint8Array(gzipSync(Buffer.alloc(50 * 1024 * 1024, 0x20))),
      { ...NDJSON, 'content-encoding': 'gzip' },
      413,
      'body-too-large',
      'server.bodyLimit',
    ],
    [
      'a zstd bomb',
      new Uint8Array(zstdCompressSync(Buffer.alloc(500 * 1024 * 1024, 0x20))),
      { ...NDJSON, 'content-encoding': 'zstd' },
      413,
      'body-too-large',
      'server.bodyLimit',
    ],
  ])('%s', async (_, body, headers, status, code, hint) => {
    const answer = await post(body, headers)
    expect(answer).toMatchObject({ status, body: { status, code, hint: expect.stringContaining(hint) } })
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
    expect(shop.platform.appended).toEqual([])
  })

  test('an encoding it does not know, and says which it does', async () => {
    expect((await post('{}', { ...NDJSON, 'content-encoding': 'br' })).headers.get('accept-encoding')).toBe(
      'gzip, zstd',
    )
  })

  test('a body without a length that turns out too large', async () => {
    let sent = 0
    const stream = new ReadableStream({
      pull(controller) {
        if (sent++ > 40) controller.close()
        else controller.enqueue(new Uint8Array(16 * 1024))
      },
    })
    expect(await post(stream)).toMatchObject({ status: 413, body: { code: 'body-too-large' } })
  })

  test('a stream that does not exist', async () => {
    expect(await post('{}', NDJSON, 'ordrs')).toMatchObject({
      status: 404,
      body: { code: 'unknown-stream', hint: "Did you mean 'orders'?", stream: 'ordrs' },
    })
    expect((await post('{}', NDJSON, 'numbers')).status).toBe(404)
  })

  test('a parameter, of which there is none', async () => {
    const appended = shop.platform.appended.length
    expect(await post('{}', NDJSON, 'orders?key=a')).toMatchObject({
      status: 400,
      body: { code: 'unknown-parameter', hint: expect.stringContaining('Idempotency-Key') as string },
    })
    expect(shop.platform.appended).toHaveLength(appended)
  })

  test('what the platform refuses: too much waits', async () => {
    shop.platform.appendError = new MillraceError('unavailable', 'backlog-full', 'Too much waits.', {
      hint: 'Later.',
      context: { retry_after_ms: 2_500 },
    })
    const answer = await post('{"a":1}')
    expect(answer).toMatchObject({ status: 429, body: { code: 'backlog-full' } })
    expect(answer.headers.get('retry-after')).toBe('3')
  })

  test.each([
    [new MillraceError('unavailable', 'disk-full', 'The disk is full.'), 503, '1'],
    [new MillraceError('conflict', 'exists', 'There already.'), 409, null],
    [new MillraceError('corrupt', 'io-error', 'EIO.'), 500, null],
    [new MillraceError('invalid', 'idempotency-mismatch', 'Another body had this key.'), 400, null],
    [new TypeError('a bug with a /secret/path'), 500, null],
  ])('what the platform refuses: %s', async (error, status, retryAfter) => {
    shop.platform.appendError = error as MillraceError
    const answer = await post('{"a":1}')
    expect(answer.status).toBe(status)
    expect(answer.headers.get('retry-after')).toBe(retryAfter)
    expect(JSON.stringify(answer.body)).not.toContain('/secret/path')
  })
})

describe('before it reads the body', () => {
  /** Sends the head only, and waits for an answer. */
  const headOnly = (path: string, headers: Record<string, string | number>) =>
    new Promise<{ status: number | undefined; continued: boolean }>((resolve, reject) => {
      let continued = false
      const request = http.request(shop.server.url + path, { method: 'POST', headers }, (response) => {
        response.resume()
        response.on('end', () => {
          request.destroy()
          resolve({ status: response.statusCode, continued })
        })
      })
      request.on('continue', () => {
        continued = true
        request.end('{"a":1}')
      })
      request.on('error', (error) => {
        if (!request.destroyed) reject(error)
      })
      request.flushHeaders()
    })

  test.each([
    ['/v1/streams/nothing', { 'content-length': 100, ...NDJSON }, 404],
    ['/v1/streams/orders', { 'content-length': 100, 'content-type': 'text/html' }, 415],
    ['/v1/streams/orders', { 'content-length': LIMIT + 1, ...NDJSON }, 413],
    ['/v1/streams/orders', { 'content-length': 100, 'content-encoding': 'br', ...NDJSON }, 415],
  ])('%s %j is answered', async (path, headers, status) => {
    expect(await headOnly(path, headers)).toEqual({ status, continued: false })
  })

  test('a client that asks first is told to go on, or not', async () => {
    const asks = { 'content-length': 7, expect: '100-continue', ...NDJSON }
    expect(await headOnly('/v1/streams/orders', asks)).toEqual({ status: 202, continued: true })
    expect(await headOnly('/v1/streams/nothing', asks)).toEqual({ status: 404, continued: false })
    expect(await headOnly('/v1/sql', { ...asks, 'content-type': 'application/json' })).toEqual({
      status: 400,
      continued: true,
    })
  })

  test('another expectation cannot be met', async () => {
    expect(await headOnly('/v1/streams/orders', { 'content-length': 7, expect: 'tea', ...NDJSON })).toMatchObject({
      status: 417,
    })
  })
})

test('a client that goes away in the middle of its body changes nothing', async () => {
  const socket = connect(shop.server.port, '127.0.0.1')
  socket.write(
    'POST /v1/streams/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n{"a":1}\n',
  )
  await wait(100)
  socket.destroy()
  await wait(100)
  expect(shop.platform.appended).toEqual([])
  expect((await post('{"a":1}')).status).toBe(202)
})

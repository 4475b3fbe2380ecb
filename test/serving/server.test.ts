import http from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { type RequestEvent, requestChannel, startServer } from '../../src/serving/server.ts'
import { CONTROL_TOKEN, FilePlatform, type Fixture, ask, get, startFixture } from './fixture.ts'

let shop: Fixture

beforeAll(async () => {
  shop = await startFixture()
})
afterAll(() => shop.close())

describe('without a token', () => {
  test('listens on loopback only', async () => {
    expect(shop.server.url).toBe(`http://127.0.0.1:${shop.server.port}`)
  })

  test.each(['0.0.0.0', '::', '10.1.2.3', 'example.org', '127.0.0.1.example.org'])(
    'refuses to listen on %s',
    async (host) => {
      const error: unknown = await startFixture({ config: { server: { host, port: 0 } } }).catch(
        (thrown: unknown) => thrown,
      )
      expect(error).toMatchObject({
        kind: 'invalid',
        code: 'token-required',
        hint: expect.stringContaining('MILLRACE_TOKEN'),
      })
    },
  )

  test.each([
    [{ host: 'evil.example' }, 'foreign-host'],
    [{ host: 'evil.example:80' }, 'foreign-host'],
    [{ origin: 'https://evil.example' }, 'foreign-origin'],
    [{ origin: 'null' }, 'foreign-origin'],
  ])('refuses what a web page elsewhere would send: %j', async (headers, code) => {
    expect(await raw('/v1/datasets', headers)).toMatchObject({ status: 403, body: { code } })
  })

  test.each([{ host: 'localhost:1' }, { host: '[::1]' }, { origin: 'http://localhost:5173' }])(
    'takes %j',
    async (headers) => {
      expect((await raw('/v1/datasets', headers)).status).toBe(200)
    },
  )
})

test.each(['/v1/datasets?kind=table', '/v1/datasets/orders?columns=line', '/v1/endpoints?name=x'])(
  '%s: a parameter that is not known is refused',
  async (path) => {
    const answer = await get(shop.server, path)
    expect(answer).toMatchObject({ status: 400, body: { code: 'bad-request' } })
    expect(answer.body.detail).toMatch(/^The URL has '\w+', which is not known here\.$/)
  },
)

describe('with a token', () => {
  let guarded: Fixture
  beforeAll(async () => {
    guarded = await startFixture({ config: { server: { token: 'tøken of ünusual length', port: 0 } } })
  })
  afterAll(() => guarded.close())
  const bearer = (token: string) => ({ authorization: `Bearer ${Buffer.from(token).toString('latin1')}` })

  test.each([
    [{}, 401, 'token-missing'],
    [{ authorization: 'Basic abc' }, 401, 'token-missing'],
    [{ authorization: 'Bearer ' }, 401, 'token-missing'],
    [{ authorization: 'Bearer wrong' }, 401, 'token-wrong'],
  ])('%j is refused', async (headers, status, code) => {
    for (const path of ['/v1/datasets', '/openapi.json', '/v1/endpoints/top-countries']) {
      const answer = await get(guarded.server, path, headers)
      expect(answer).toMatchObject({ status, body: { code, hint: expect.stringMatching(/./) } })
      expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="millrace"')
    }
    expect(await ask(guarded.server, 'select 1', headers)).toMatchObject({ status })
  })

  test('the right one is taken, and so is that of the command line', async () => {
    const ascii = await startFixture({ config: { server: { token: 'secret-1', port: 0 } } })
    expect((await get(ascii.server, '/v1/datasets', bearer('secret-1'))).status).toBe(200)
    expect((await get(ascii.server, '/v1/datasets', bearer(CONTROL_TOKEN))).status).toBe(200)
    expect((await ask(ascii.server, 'select 1', bearer('secret-1'))).status).toBe(200)
    await ascii.close()
  })

  test('a stream is refused before it is looked up, a body before it is read', async () => {
    const response = await fetch(`${guarded.server.url}/v1/streams/nothing`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: '{}',
    })
    expect(response.status).toBe(401)
  })

  test('probes need none', async () => {
    expect((await get(guarded.server, '/healthz')).status).toBe(200)
    expect((await get(guarded.server, '/readyz')).status).toBe(200)
  })
})

describe('probes', () => {
  test('ready, and not yet', async () => {
    expect((await get(shop.server, '/readyz')).body).toEqual({ status: 'ready', project: 'shop' })
    shop.platform.waitingFor = 'recovery of orders'
    expect(await get(shop.server, '/readyz')).toMatchObject({
      status: 503,
      body: { code: 'not-ready', detail: 'Not ready: recovery of orders.' },
    })
    expect((await get(shop.server, '/healthz')).body).toEqual({ status: 'ok' })
    shop.platform.waitingFor = undefined
  })
})

describe('requests that no route takes', () => {
  test.each([
    ['GET', '/nothing', 404, 'no-such-page'],
    ['GET', '/v1/dataset', 404, 'no-such-page'],
    ['DELETE', '/v1/datasets/orders', 405, 'method-not-allowed'],
    ['GET', '/v1/sql', 405, 'method-not-allowed'],
    ['GET', '/v1/streams/orders', 405, 'method-not-allowed'],
    ['PUT', '/v1/streams/orders', 405, 'method-not-allowed'],
    ['GET', '/v1/datasets/%zz', 400, 'bad-request'],
  ])('%s %s', async (method, path, status, code) => {
    const response = await fetch(shop.server.url + path, { method })
    expect(response.headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
    expect(await response.json()).toMatchObject({ status, code, hint: expect.stringMatching(/./) })
    expect(response.status).toBe(status)
    if (status === 405) expect(response.headers.get('allow')).toMatch(/POST|GET/)
  })

  test('a near miss is named', async () => {
    expect((await get(shop.server, '/v1/dataset')).body.hint).toContain("Did you mean '/v1/datasets'?")
  })

  test('a wrong content type', async () => {
    const response = await fetch(`${shop.server.url}/v1/sql`, {
      method: 'POST',
      body: 'select 1',
      headers: { 'content-type': 'text/plain' },
    })
    expect(response.status).toBe(415)
    expect(await response.json()).toMatchObject({
      code: 'unsupported-media-type',
      hint: expect.stringContaining('application/json'),
    })
  })

  test('SQL beyond any size', async () => {
    expect(await ask(shop.server, `select '${'x'.repeat(2_000_000)}'`)).toMatchObject({
      status: 413,
      body: { code: 'body-too-large' },
    })
  })
})

describe('control', () => {
  const control = async (
    verb: string,
    headers: Record<string, string> = { authorization: `Bearer ${CONTROL_TOKEN}` },
  ) => {
    const response = await fetch(`${shop.server.url}/v1/control/${verb}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: '{"dataset":"orders"}',
    })
    const text = await response.text()
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      lines: text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    }
  }

  test('progress, then the result', async () => {
    shop.platform.onControl = async (progress, input) => {
      progress({ rows: 1 })
      progress({ rows: 2 })
      return input
    }
    expect(await control('run')).toEqual({
      status: 200,
      type: 'application/x-ndjson; charset=utf-8',
      lines: [{ progress: { rows: 1 } }, { progress: { rows: 2 } }, { result: { dataset: 'orders' } }],
    })
  })

  test('an error in the middle is the last line', async () => {
    shop.platform.onControl = async (progress) => {
      progress({ rows: 1 })
      throw new MillraceError('conflict', 'already-running', 'A run is under way.', { hint: 'Wait.' })
    }
    const { status, lines } = await control('run')
    expect(status).toBe(200)
    expect(lines[1]).toMatchObject({ problem: { status: 409, code: 'already-running', hint: 'Wait.' } })
  })

  test('an error at once is a problem document', async () => {
    expect(await control('rn')).toMatchObject({
      status: 404,
      lines: [{ code: 'unknown-verb', hint: "Did you mean 'run'?" }],
    })
  })

  test('needs its token even here', async () => {
    expect(await control('run', {})).toMatchObject({ status: 401, lines: [{ code: 'token-missing' }] })
    expect(await control('run', { authorization: 'Bearer x' })).toMatchObject({
      status: 401,
      lines: [{ code: 'token-wrong' }],
    })
  })
})

interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, Content>>
}

interface Content {
  readonly content: Readonly<Record<string, { readonly schema: object }>>
}

describe('OpenAPI', () => {
  test('describes every route, and the streams, datasets and endpoints of the project', async () => {
    const { body } = await get(shop.server, '/openapi.json')
    expect(body.openapi).toBe('3.1.0')
    expect(Object.keys(body.paths).toSorted()).toEqual([
      '/healthz',
      '/readyz',
      '/v1/control/{verb}',
      '/v1/datasets',
      '/v1/datasets/numbers/live',
      '/v1/datasets/numbers/rows',
      '/v1/datasets/orders/live',
      '/v1/datasets/orders/rows',
      '/v1/datasets/{name}',
      '/v1/datasets/{name}/live',
      '/v1/datasets/{name}/quarantine',
      '/v1/datasets/{name}/rows',
      '/v1/endpoints',
      '/v1/endpoints/clock',
      '/v1/endpoints/top-countries',
      '/v1/endpoints/{name}',
      '/v1/runs',
      '/v1/sql',
      '/v1/streams/orders',
      '/v1/streams/{name}',
    ])
    const names = body.paths['/v1/endpoints/top-countries'].get.parameters.map(
      (each: { name: string; required: boolean }) => [each.name, each.required],
    )
    expect(names).toEqual([
      ['format', false],
      ['day', true],
      ['country', false],
      ['least', false],
    ])
  })

  test('holds together: references, operation ids, path parameters, schemas', async () => {
    const { body, text } = await get(shop.server, '/openapi.json')
    for (const [, reference] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) {
      expect(body.components.schemas).toHaveProperty(reference!)
    }
    expect(text.match(/"\$ref":"(?!#\/components\/schemas\/)/g)).toBeNull()
    const operations = Object.entries(body.paths as Record<string, Record<string, Operation>>).flatMap(
      ([path, methods]) => Object.values(methods).map((operation) => ({ path, ...operation })),
    )
    const ids = operations.map((operation) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    ajv.addSchema({ $id: 'document', ...body })
    for (const operation of operations) {
      const wanted = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      const given = (operation.parameters ?? []).filter((each) => each.in === 'path').map((each) => each.name)
      expect(given, operation.path).toEqual(wanted)
      expect(operation.summary, operation.path).toBeTruthy()
      expect(Object.keys(operation.responses)).toContain('default')
      const bodies = [...(operation.requestBody ? [operation.requestBody] : []), ...Object.values(operation.responses)]
      for (const media of bodies.flatMap((each) => Object.values(each.content))) {
        const schema = JSON.parse(JSON.stringify(media.schema).replaceAll('"#/components', '"document#/components'))
        ajv.compile(schema)
      }
    }
  })

  test('answers fit what it says of them', async () => {
    const { body } = await get(shop.server, '/openapi.json')
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    ajv.addSchema({ $id: 'document', ...body })
    const fits = (path: string, method: string, status: string, type: string, answer: unknown) => {
      const { schema } = body.paths[path][method].responses[status].content[type]
      const validate = ajv.compile(
        JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')),
      )
      expect(validate(answer), JSON.stringify(validate.errors)).toBe(true)
    }
    const rows = await get(shop.server, '/v1/datasets/orders/rows?limit=3')
    fits('/v1/datasets/orders/rows', 'get', '200', 'application/json', rows.body)
    fits('/v1/sql', 'post', '200', 'application/json', (await ask(shop.server, 'from orders')).body)
    fits('/v1/datasets', 'get', '200', 'application/json', (await get(shop.server, '/v1/datasets')).body)
    fits('/v1/sql', 'post', 'default', 'application/problem+json', (await ask(shop.server, 'selec')).body)
    const record = body.paths['/v1/streams/orders'].post.requestBody.content['application/x-ndjson'].schema
    const validate = ajv.compile(record)
    expect(validate({ ...rows.body.rows[0] }), JSON.stringify(validate.errors)).toBe(true)
    expect(validate({ ...rows.body.rows[0], line: 'one' })).toBe(false)
  })
})

test('each answered request is published', async () => {
  const events: RequestEvent[] = []
  const listen = (event: unknown) => void events.push(event as RequestEvent)
  requestChannel.subscribe(listen)
  await ask(shop.server, 'select 1')
  await get(shop.server, '/v1/datasets/nothing')
  await get(shop.server, '/nothing')
  requestChannel.unsubscribe(listen)
  expect(events.map(({ method, route, status }) => [method, route, status])).toEqual([
    ['POST', '/v1/sql', 200],
    ['GET', '/v1/datasets/:name', 404],
    ['GET', 'unknown', 404],
  ])
})

test('a port that is taken', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'serving-'))
  const error: unknown = await startServer({
    platform: new FilePlatform(folder, {}),
    config: { server: { port: shop.server.port } },
    clock: systemClock,
    directories: [folder],
    temporary: join(folder, 'tmp'),
    controlToken: CONTROL_TOKEN,
  }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ kind: 'conflict', code: 'port-taken', hint: expect.stringContaining('--port') })
  await rm(folder, { recursive: true, force: true })
})

test('a close lets requests under way end', async () => {
  const other = await startFixture()
  const running = ask(other.server, 'select count(*) from numbers a, numbers b, range(20) where a.n + b.n + range = 7')
  await new Promise((resolve) => setTimeout(resolve, 50))
  const closed = other.close()
  expect((await running).status).toBe(200)
  await closed
  await expect(ask(other.server, 'select 1')).rejects.toThrow()
})

/** fetch does not let Host and Origin be set. */
function raw(path: string, headers: Record<string, string>): Promise<{ status: number | undefined; body: unknown }> {
  return new Promise((resolve, reject) => {
    http
      .get(shop.server.url + path, { headers }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode, body: JSON.parse(text) }))
      })
      .on('error', reject)
  })
}

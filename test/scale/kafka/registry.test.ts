import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createServer, connect, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { Home } from '../../../scripts/services/home.ts'
import { down, environment, up } from '../../../scripts/services/services.ts'
import { type Json, Running, folder, project, until } from '../../cli/support.ts'
import { service } from '../support/services.ts'
import { dropTopic, makeTopic } from './home.ts'

// The registry keeps all in memory and is this file's own. What is written is written by Confluent's serializers in Python.
const home = Home.default().beside(folder())
const WRITER = fileURLToPath(new URL('./write-registered.py', import.meta.url))

beforeAll(() => up(home, ['registry'], () => {}))
afterAll(() => down(home, ['registry'], () => {}))

async function newTopic(): Promise<string> {
  const topic = `payments-${randomUUID().slice(0, 8)}`
  await makeTopic(topic, 1)
  onTestFinished(() => dropTopic(topic))
  return topic
}

/** Writes the records; returns the ids of the schemas. */
async function write(topic: string): Promise<number[]> {
  const { REGISTRY_PYTHON: python, REGISTRY_URL: url } = environment(home, ['registry'])
  const { stdout } = await promisify(execFile)(python!, [WRITER, service('KAFKA_BROKERS'), url!, topic])
  return JSON.parse(stdout) as number[]
}

function declared(topic: string, registry: Json): string {
  const log = { kind: 'kafka', brokers: service('KAFKA_BROKERS').split(','), schemaRegistry: registry }
  return project({
    'millrace.config.ts': `export default { name: 'test', targets: { kafka: { log: ${JSON.stringify(log)} } } }`,
    'payments.ts': `
import { stream, t } from 'millrace'
export const payments = stream('payments', {
  columns: {
    id: t.string(), amount: t.decimal(20, 2), at: t.timestamp(), day: t.date(), number: t.long(), currency: t.string(),
    tags: t.list(t.string()), address: t.struct({ city: t.string(), zip: t.string().nullable() }).nullable(),
    more: t.json().nullable(), note: t.string().nullable(),
  },
  topic: '${topic}',
})
`,
  })
}

function start(directory: string): Running {
  const running = new Running(['start', '--project', directory, '--target', 'kafka', '--data', folder(), '--port', '0'])
  onTestFinished(async () => void (await running.kill('SIGTERM')))
  return running
}

async function json(url: string): Promise<Json> {
  return (await (await fetch(url)).json()) as Json
}

const id = (n: number) => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`

/** A way to the registry that can be closed. */
async function gateway(): Promise<{ url: string; open(): Promise<void>; close(): Promise<void> }> {
  const { hostname, port, pathname } = new URL(environment(home, ['registry'])['REGISTRY_URL']!)
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const behind = connect(Number(port), hostname)
    for (const one of [socket, behind]) sockets.add(one.on('error', () => undefined))
    socket.pipe(behind).pipe(socket)
  })
  const open = (on: number) => new Promise<void>((done) => server.listen(on, '127.0.0.1', done))
  await open(0)
  const { port: own } = server.address() as AddressInfo
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      for (const socket of sockets) socket.destroy()
    })
  onTestFinished(close)
  return { url: `http://127.0.0.1:${own}${pathname}`, open: () => open(own), close }
}

test('records with Avro and JSON schemas are rows, exactly; what cannot be read is kept with its reason', async () => {
  const topic = await newTopic()
  const [first, second] = await write(topic)
  const { url: registry } = await gateway()
  const [, url] = await start(declared(topic, { url: registry })).says(/is ready after .* at (http:\S+)/)
  await until(
    () => json(`${url}/v1/datasets/payments`),
    ({ received, lag }) => received === 8 && lag === 0,
  )
  const answer = await fetch(`${url}/v1/datasets/payments/rows`)
  // Read as text: numbers must not be rounded on the way to being compared.
  const text = await answer.text()
  expect(text).toContain('"amount":123456789012345679.90')
  expect(text).toContain(`"number":${2n ** 62n + 1n}`)
  const { rows }: Json = JSON.parse(text)
  const byId = Object.fromEntries(rows.map((row: Json) => [`${row.id} ${row.note}`, row]))
  expect(Object.keys(byId).sort()).toEqual(
    [`${id(1)} null`, `${id(2)} märz`, `${id(3)} null`, 'json null', 'text null'].sort(),
  )
  expect(rows).toHaveLength(6)
  expect(byId[`${id(1)} null`]).toMatchObject({
    at: '2026-01-31T12:00:01.123456Z',
    day: '2026-01-01',
    currency: 'EUR',
    tags: ['a', 'ü "quoted"\n'],
    address: { city: 'Köln', zip: null },
    more: { rate: 0.5, none: null, to: { city: 'Bonn', zip: '53111' } },
  })

  const { rows: refused } = await json(`${url}/v1/datasets/payments/quarantine`)
  expect(refused.map(({ _offset, reason }: Json) => [_offset, reason.replace(/in base64.*/, '')])).toEqual([
    [5, 'a JSON string where an object is expected: schema 999999 is not in the registry; '],
    [6, expect.stringMatching(new RegExp(`: it does not fit schema ${first}: at byte \\d+ `))],
  ])
  const kept = Buffer.from(/in base64: (.*)"$/.exec(refused[0].raw)![1]!, 'base64')
  expect(kept.subarray(0, 5)).toEqual(Buffer.from([0, 0, 0x0f, 0x42, 0x3f]))
  expect(second).not.toBe(first)
})

test('a registry that does not answer is waited for, and the status says so', async () => {
  const topic = await newTopic()
  const way = await gateway()
  const running = start(declared(topic, { url: way.url }))
  const [, url] = await running.says(/is ready after .* at (http:\S+)/)
  await way.close()
  await write(topic)
  const held = await until(
    () => json(`${url}/v1/datasets/payments`),
    ({ state }) => state === 'held',
  )
  expect(held).toMatchObject({ reason: expect.stringContaining('schema registry'), quarantined: 0, accepted: 0 })
  await way.open()
  const settled = await until(
    () => json(`${url}/v1/datasets/payments`),
    ({ received, lag }) => received === 8 && lag === 0,
  )
  expect(settled).toMatchObject({ state: 'ok', accepted: 6, quarantined: 2 })
})

test('a registry that is not there, or another server, is told at the start', async () => {
  const topic = await newTopic()
  const registry = new URL(environment(home, ['registry'])['REGISTRY_URL']!)
  const cases: [Json, RegExp][] = [
    [{ url: 'http://127.0.0.1:1' }, /schema registry at http:\/\/127\.0\.0\.1:1 does not answer/],
    [{ url: `${registry.origin}/nowhere` }, /answers 404/],
    [{ url: `https://127.0.0.1:${registry.port}` }, /cannot be talked to/],
    [{ url: 'registry:8081' }, /no schema registry/],
    [{ url: registry.href, password: 'x' }, /username and password, or a token/],
    [{ url: 7 }, /log\.schemaRegistry\.url is 7/],
  ]
  for (const [wrong, message] of cases) {
    const { code, stderr } = await start(declared(topic, wrong)).ended
    expect(code, stderr).toBe(1)
    expect(stderr).toMatch(message)
  }
})

import { randomUUID } from 'node:crypto'
import { Producer, stringSerializers } from '@platformatic/kafka'
import { expect, onTestFinished, test } from 'vitest'
import { type Json, Running, folder, project, until } from '../cli/support.ts'
import { makeTopic } from './kafka/home.ts'
import { service } from './support/services.ts'

const declared = (topic: string, partitions: number) => ({
  'millrace.config.ts': `
export default { name: 'foreign', targets: { kafka: { log: { kind: 'kafka', brokers: ${JSON.stringify(service('KAFKA_BROKERS').split(','))} } } } }
`,
  'payments.ts': `
import { check, sql, stream, t, table } from 'millrace'
export const payments = stream('payments', {
  columns: { id: t.string(), amount: t.int() },
  topic: '${topic}', partitions: ${partitions}, unique: ['id'], key: 'id', checks: [check.range('amount', { min: 0 })],
})
export const totals = table('totals', { sql: sql\`select sum(amount) as total, count(*) as n from \${payments}\` })
`,
})

test('a topic of others is a stream: rows, duplicates, refused records and a table', async () => {
  const topic = `billing-${randomUUID().slice(0, 8)}`
  await makeTopic(topic, 2)
  const producer = new Producer({
    clientId: 'billing',
    // A new topic's first records are sent again: once is enough.
    idempotent: true,
    bootstrapBrokers: service('KAFKA_BROKERS').split(','),
    serializers: stringSerializers,
  })
  onTestFinished(() => producer.close())
  const send = (values: readonly string[]) =>
    producer.send({ messages: values.map((value) => ({ topic, key: value.slice(0, 12), value })) })
  const payment = (n: number, amount = n) => JSON.stringify({ id: `p${n}`, amount })
  await send([payment(1), payment(2), payment(2), payment(3, -1), 'no JSON', `{\n  "id": "p4",\n  "amount": 4\n}`])

  const directory = folder()
  const running = new Running([
    'start',
    '--project',
    project(declared(topic, 2)),
    '--target',
    'kafka',
    '--data',
    directory,
    '--port',
    '0',
  ])
  onTestFinished(async () => void (await running.kill('SIGTERM')))
  const [, url] = await running.says(/is ready after .* at (http:\S+)/)
  await send([payment(5), payment(1)])
  const counts = await until(
    async () => (await (await fetch(`${url}/v1/datasets/payments`)).json()) as Json,
    ({ received, lag }) => received === 8 && lag === 0,
  )
  expect(counts).toMatchObject({ accepted: 4, duplicates: 2, quarantined: 2 })
  const rows = await until(
    async () => ((await (await fetch(`${url}/v1/datasets/totals/rows`)).json()) as Json).rows as Json[],
    ([row]) => row?.n === 4,
  )
  expect(rows).toEqual([{ total: 12, n: 4 }])
})

test('a topic that is not there, or has other partitions, is told before anything starts', async () => {
  const missing = new Running([
    'start',
    '--project',
    project(declared('no-such-topic-x', 2)),
    '--target',
    'kafka',
    '--data',
    folder(),
  ])
  const { code, stderr } = await missing.ended
  expect(code).toBe(1)
  expect(stderr).toMatch(/no-such-topic-x/)
  const topic = `billing-${randomUUID().slice(0, 8)}`
  await makeTopic(topic, 1)
  const fewer = new Running([
    'start',
    '--project',
    project(declared(topic, 2)),
    '--target',
    'kafka',
    '--data',
    folder(),
  ])
  const ended = await fewer.ended
  expect(ended.code).toBe(1)
  expect(ended.stderr).toMatch(/1 partition/)
})

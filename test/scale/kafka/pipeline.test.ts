import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { Producer } from '@platformatic/kafka'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { stream, t } from '../../../src/index.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { openKafkaLog } from '../../../src/log/kafka/open.ts'
import { replayStream } from '../../../src/runtime/replay.ts'
import { Runtime } from '../../../src/runtime/runtime.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import { Home, query, send } from '../../runtime/home.ts'
import { BROKERS, dropTopic } from './home.ts'

const events = stream('events', { columns: { id: t.int(), word: t.string() }, unique: ['id'] })
const topicPrefix = `test-${randomUUID().slice(0, 8)}.`
const topic = `${topicPrefix}events`

afterEach(() => dropTopic(topic))

async function open(home: Home): Promise<Runtime> {
  const { clock, dataDirectory } = home
  const runtime = await Runtime.open({
    project: home.project([events]),
    dataDirectory,
    clock,
    disk: systemDisk,
    run: randomUUID(),
    eager: true,
    onFatal: (error) => home.fatal.push(error),
    parts: {
      lake: new Lake({ root: join(dataDirectory, 'lake'), disk: systemDisk, clock }),
      openLog: ({ name, partitions }, told) =>
        openKafkaLog({
          config: { brokers: BROKERS, topicPrefix },
          stream: name,
          partitions,
          directory: join(dataDirectory, 'topics', name),
          disk: systemDisk,
          clock,
          ...told,
        }),
    },
  })
  runtime.start()
  return runtime
}

/** Waits until a stream has landed and committed some number of records. */
async function received(runtime: Runtime, count: number): Promise<void> {
  const runner = runtime.stream('events')
  for (;;) {
    await runner.drain()
    if (runner.committed.counts.received >= count) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('records of ours and of others land once, whatever lies between their offsets, and replay gives the same', async () => {
  const home = await Home.make()
  let runtime = await open(home)
  onTestFinished(() => runtime.stop())
  const others = new Producer({
    clientId: 'others',
    bootstrapBrokers: BROKERS,
    idempotent: true,
    transactionalId: `test-${randomUUID()}`,
    retries: 20,
  })
  onTestFinished(() => others.close(true))
  const produce = async (end: 'commit' | 'abort', ...values: (string | null)[]) => {
    const transaction = await others.beginTransaction()
    const messages = values.map((value) => ({
      topic,
      partition: 0,
      value: value === null ? (null as unknown as Buffer) : Buffer.from(value),
    }))
    await transaction.send({ messages, acks: -1 })
    await transaction[end]()
  }
  await send(runtime, 'events', [{ id: 1, word: 'own' }, { id: 2, word: 'own' }, 'not json'])
  await produce('commit', '{"id":3,\n "word":"pretty"}', null, '{"id":1,"word":"again"}')
  await produce('abort', '{"id":4,"word":"never"}')
  await produce('commit', '{"id":"x","word":"wrong"}', '{"id":5,"word":"last"}')
  await send(runtime, 'events', [{ id: 6, word: 'own' }])
  await received(runtime, 8)

  const counts = { received: 8, accepted: 5, duplicates: 1, quarantined: 2 }
  const rows = [
    { id: 1, word: 'own' },
    { id: 2, word: 'own' },
    { id: 3, word: 'pretty' },
    { id: 5, word: 'last' },
    { id: 6, word: 'own' },
  ]
  const accepted = () => query(runtime, 'SELECT id, word FROM {events} ORDER BY _offset')
  const refused = () => query(runtime, 'SELECT raw, rule, _offset FROM {quarantine.events} ORDER BY _offset')
  expect(await accepted()).toEqual(rows)
  expect(runtime.stream('events').committed.counts).toEqual(counts)
  const quarantine = await refused()
  expect(quarantine).toMatchObject([
    { raw: 'not json', _offset: '2' },
    { raw: '{"id":"x","word":"wrong"}', _offset: '9' },
  ])

  await replayStream(runtime.stream('events'), { database: runtime.database, from: [0], superseded: [] })
  expect(await accepted()).toEqual(rows)
  expect(await refused()).toEqual(quarantine)
  expect(runtime.stream('events').committed.counts).toEqual(counts)

  await runtime.stop()
  runtime = await open(home)
  await send(runtime, 'events', [
    { id: 6, word: 'twice' },
    { id: 7, word: 'new' },
  ])
  await received(runtime, 10)
  expect(await accepted()).toEqual([...rows, { id: 7, word: 'new' }])
  expect(home.fatal).toEqual([])
})

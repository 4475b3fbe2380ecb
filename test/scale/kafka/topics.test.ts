import { createServer } from 'node:net'
import { Producer } from '@platformatic/kafka'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { partitionOf } from '../../../src/log/route.ts'
import type { KafkaLogOptions } from '../../../src/log/kafka/open.ts'
import { planKafkaTopic } from '../../../src/log/kafka/open.ts'
import { batchOf, numbered, recordsFrom, taken } from '../../log/conformance.ts'
import type { KafkaHome } from './home.ts'
import { BROKERS, dropTopic, kafkaHome, makeTopic } from './home.ts'

let home: KafkaHome

beforeEach(async () => {
  home = await kafkaHome({ partitions: 1, marks: false })
})

afterEach(() => home.remove())

/** Records as some other program would produce them. */
async function produce(
  ...values: { value: string | Buffer | null; key?: string; timestamp?: bigint }[]
): Promise<void> {
  const producer = new Producer({ clientId: 'other', bootstrapBrokers: BROKERS, retries: 20 })
  try {
    for (const { value, key, timestamp } of values) {
      const bytes = value === null ? (null as unknown as Buffer) : Buffer.from(value)
      const message = {
        topic: home.topic,
        partition: 0,
        value: bytes,
        ...(timestamp === undefined ? {} : { timestamp }),
      }
      await producer.send({ messages: [key === undefined ? message : { ...message, key: Buffer.from(key) }], acks: -1 })
    }
  } finally {
    await producer.close()
  }
}

const foreign = (): Partial<KafkaLogOptions> => ({ topic: { name: home.topic } })

describe('topics of others', () => {
  test('values that are no lines become lines, and those without a value are passed over', async () => {
    await makeTopic(home.topic, 1)
    await produce(
      { value: '{"a":1}' },
      { value: '{\n  "a": 2\n}' },
      { value: null, key: 'k' },
      { value: 'no\njson' },
      { value: '' },
      { value: Buffer.from([0xff, 0xfe]) },
      { value: '{"a":3}' },
    )
    const log = await home.open(foreign())
    onTestFinished(() => log.close())
    const partition = log.partitions[0]!
    expect(partition.end).toBe(7)
    expect(await recordsFrom(partition)).toEqual([
      '{"a":1}',
      '{   "a": 2 }',
      '"no\\njson"',
      '""',
      '"not UTF-8, in base64: //4="',
      '{"a":3}',
    ])
    expect(partition).toMatchObject({ tombstones: 1 })
  })

  test('a compacted topic gives what is left, with its offsets', async () => {
    const soon = { 'segment.ms': '100', 'min.cleanable.dirty.ratio': '0.001', 'max.compaction.lag.ms': '100' }
    await makeTopic(home.topic, 1, { 'cleanup.policy': 'compact', 'delete.retention.ms': '1', ...soon })
    for (let i = 0; i < 6; i++) await produce({ key: String(i % 3), value: `{"n":${i}}` })
    const plan = await planKafkaTopic({ ...home.options, ...foreign() })
    expect(plan.notes).toEqual([expect.stringContaining('is compacted')])
    // The cleaner looks every 15 seconds, and never at the segment that is written to.
    for (let offset = 6; ; offset++) {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      await produce({ key: 'last', value: `{"n":${offset}}` })
      const log = await home.open(foreign())
      const found: (readonly [number, number])[] = []
      const [partition] = log.partitions
      for await (const segment of taken(partition!, 0)) {
        for (const frame of await partition!.frames(segment)) {
          const offsets = Array.from({ length: frame.records }, (_, i) => frame.offset + i)
          const records = await partition!.readRecords(segment, offsets)
          found.push(...offsets.map((own, i) => [own, (JSON.parse(String(records[i])) as { n: number }).n] as const))
        }
      }
      await log.close()
      for (const [own, n] of found) expect(n).toBe(own)
      if (found.length > offset) continue
      const left = found.map(([own]) => own)
      expect(left).toEqual(expect.arrayContaining([3, 4, 5, offset]))
      expect(left).not.toContain(0)
      break
    }
  })

  test('a topic with other partitions than declared, or none, is refused, and nothing is made', async () => {
    await expect(home.open(foreign())).rejects.toMatchObject({ kind: 'invalid', code: 'topic-missing' })
    await makeTopic(home.topic, 3)
    for (const partitions of [1, 4]) {
      await expect(home.open({ ...foreign(), partitions })).rejects.toMatchObject({
        kind: 'invalid',
        code: 'topic-partitions',
        message: `Topic '${home.topic}' has 3 partitions; stream 'orders' declares ${partitions}.`,
        hint: expect.stringContaining('partitions: 3'),
      })
    }
    const log = await home.open({ ...foreign(), partitions: 3 })
    expect(log.partitions).toHaveLength(3)
    await log.close()
  })
})

describe('topics of streams', () => {
  test('a plan tells what would be done, and does nothing', async () => {
    expect(await planKafkaTopic(home.options)).toMatchObject({ topic: home.topic, action: 'create' })
    expect(await planKafkaTopic(home.options)).toMatchObject({ action: 'create' })
    await (await home.open()).close()
    expect(await planKafkaTopic(home.options)).toMatchObject({ action: 'none', notes: [] })
    expect(await planKafkaTopic({ ...home.options, partitions: 3 })).toMatchObject({ action: 'add-partitions' })
  })

  test('partitions are added, never taken away', async () => {
    const log = await home.open()
    await log.partitions[0]!.append(batchOf(numbered(0, 3)))
    await log.close()
    const more = await home.open({ partitions: 3 })
    await more.partitions[2]!.append(batchOf(numbered(3, 5)))
    expect(more.partitions.map(({ end }) => end)).toEqual([3, 0, 2])
    await more.close()
    await expect(home.open({ partitions: 2 })).rejects.toMatchObject({ kind: 'invalid', code: 'partitions-decreased' })
  })

  test('a compacted topic, or one with too few copies, is refused', async () => {
    await makeTopic(home.topic, 1, { 'cleanup.policy': 'compact' })
    await expect(home.open()).rejects.toMatchObject({ kind: 'invalid', code: 'topic-compacted' })
    await dropTopic(home.topic)
    const apart = await kafkaHome({ partitions: 1 })
    await (await apart.open()).close()
    const config = { ...apart.options.config, replication: 3 }
    await expect(apart.open({ config })).rejects.toMatchObject({ kind: 'invalid', code: 'topic-replication' })
    await apart.remove()
  })

  test('more copies than brokers: the broker says why not', async () => {
    const config = { ...home.options.config, replication: 99 }
    await expect(home.open({ config })).rejects.toMatchObject({
      kind: 'invalid',
      code: 'kafka-refused',
      message: expect.stringMatching(/replication/i),
    })
  })

  test('records carry their key, and a large append goes as one', async () => {
    const log = await home.open({ key: ['id'], partitions: 2 })
    onTestFinished(() => log.close())
    const records = Array.from({ length: 40_000 }, (_, i) => `{"id":${i},"text":"${'x'.repeat(100)}"}`)
    const partition = log.partitions[partitionOf([1], 2)]!
    expect(await partition.append(batchOf(records, { key: 'large' }))).toEqual({ from: 0, to: 40_000, repeated: false })
    expect(await partition.append(batchOf(records, { key: 'large' }))).toMatchObject({ repeated: true })
    const got = await recordsFrom(partition)
    expect(got).toHaveLength(records.length)
    expect(got.every((record, i) => record === records[i])).toBe(true)
    await expect(partition.append(batchOf(['x'.repeat(65 * 1024 * 1024)]))).rejects.toMatchObject({
      kind: 'invalid',
      code: 'append-too-large',
    })
  })

  test('a key of a process that died is looked for in the topic', async () => {
    const log = await home.open()
    await log.partitions[0]!.append(batchOf(numbered(0, 5)))
    await log.close()
    // It wrote the records, and died before it could say so.
    const requests = home.options.requests!
    const dying = {
      begin: requests.begin.bind(requests),
      finish: async () => undefined,
      abandon: async () => undefined,
    }
    const dead = await home.open({ requests: dying })
    const batch = batchOf(numbered(5, 6), { key: 'k' })
    await dead.partitions[0]!.append(batch)
    await expect(dead.partitions[0]!.append(batch)).rejects.toMatchObject({ kind: 'conflict', code: 'request-pending' })
    await dead.close()
    home.advance(10 * 60_000)
    const again = await home.open()
    const [partition] = again.partitions
    expect(await partition!.append(batch)).toEqual({ from: 5, to: 6, repeated: true })
    expect(await partition!.append(batch)).toEqual({ from: 5, to: 6, repeated: true })
    expect(partition!.end).toBe(6)
    await again.close()
  })

  test('retention takes what is old and below the checkpoint; then it is gone', async () => {
    const log = await home.open()
    onTestFinished(() => log.close())
    const partition = log.partitions[0]!
    await partition.append(batchOf(numbered(0, 5)))
    home.advance(60_000)
    await partition.append(batchOf(numbered(5, 8)))
    expect(await partition.retain({ ageMs: 30_000 })).toBe(0)
    partition.checkpointed(8)
    expect(await partition.retain({ ageMs: 120_000 })).toBe(0)
    expect(await partition.retain({ ageMs: 30_000 })).toBe(5)
    expect([partition.start, partition.end]).toEqual([5, 8])
    await expect(partition.take(4)).rejects.toMatchObject({
      kind: 'invalid',
      code: 'offset-gone',
      hint: expect.stringContaining('later'),
    })
    expect(await recordsFrom(partition, 5)).toEqual(numbered(5, 8))
    home.advance(60_000)
    expect(await partition.retain({ ageMs: 30_000 })).toBe(8)
    expect([partition.start, partition.end]).toEqual([8, 8])
    expect(await partition.append(batchOf(numbered(8, 9)))).toMatchObject({ from: 8 })
  })
})

describe('clusters that cannot be used', () => {
  const opened = (config: Partial<KafkaLogOptions['config']>) =>
    home.open({ config: { ...home.options.config, ...config }, limits: { requestMs: 2_000 } })

  test('nobody listens, or it is no broker', async () => {
    await expect(opened({ brokers: ['127.0.0.1:1'] })).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'kafka-unreachable',
    })
    await expect(opened({ brokers: ['nowhere'] })).rejects.toMatchObject({ kind: 'invalid', code: 'bad-brokers' })
    await expect(opened({ brokers: [] })).rejects.toMatchObject({ kind: 'invalid', code: 'bad-brokers' })
    const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const { port } = silent.address() as { port: number }
    await expect(opened({ brokers: [`127.0.0.1:${port}`] })).rejects.toMatchObject({ kind: 'unavailable' })
    await new Promise((resolve) => silent.close(resolve))
  })

  test('one broker of several that answers is enough', async () => {
    const log = await opened({ brokers: ['127.0.0.1:1', ...BROKERS] })
    expect(await log.partitions[0]!.append(batchOf(numbered(0, 1)))).toMatchObject({ to: 1 })
    await log.close()
  })

  test('a login or TLS where there is none', async () => {
    await expect(opened({ tls: true })).rejects.toMatchObject({
      code: expect.stringMatching(/^kafka-(?:tls|unreachable)$/),
      hint: expect.stringMatching(/tls/i),
    })
    const sasl = { mechanism: 'PLAIN', username: 'u', password: 'secret' } as const
    const refused = opened({ sasl })
    await expect(refused).rejects.toMatchObject({ kind: 'denied', code: 'kafka-login' })
    await expect(refused).rejects.not.toThrow(/secret/)
  })
})

import { randomUUID } from 'node:crypto'
import { Producer } from '@platformatic/kafka'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { PartitionLog, StreamLog } from '../../../src/log/log.ts'
import { recordsFrom, segmentsOf, taken } from '../../log/conformance.ts'
import type { KafkaHome } from './home.ts'
import { BROKERS, kafkaHome } from './home.ts'

let home: KafkaHome
const producers: Producer[] = []

beforeEach(async () => {
  home = await kafkaHome({ partitions: 1 })
})

afterEach(async () => {
  await Promise.all(producers.splice(0).map((producer) => producer.close(true)))
  await home.remove()
})

/** A producer that writes in transactions. */
function transactional(): Producer {
  const producer = new Producer({
    clientId: 'test',
    bootstrapBrokers: BROKERS,
    idempotent: true,
    transactionalId: `test-${randomUUID()}`,
    // Not the library's default of waiting for others.
    retries: 20,
  })
  producers.push(producer)
  return producer
}

/** One transaction of some sends, of one value each; committed or rolled back. */
async function transaction(producer: Producer, end: 'commit' | 'abort', ...values: string[]): Promise<void> {
  const begun = await producer.beginTransaction()
  for (const value of values) {
    await begun.send({ messages: [{ topic: home.topic, partition: 0, value: Buffer.from(value) }], acks: -1 })
  }
  await begun[end]()
}

/** Everything readable, in a log opened anew with these limits: fetched in the background, and read again. */
async function readable(limits: { fetchBytes?: number } = {}): Promise<string[]> {
  return withLog(limits, async (partition) => {
    const records = await recordsFrom(partition)
    const again: string[] = []
    for await (const segment of partition.segments(0)) {
      const offsets = (await partition.frames(segment)).flatMap((frame) =>
        Array.from({ length: frame.records }, (_, i) => frame.offset + i),
      )
      again.push(...(await partition.readRecords(segment, offsets)).map(String))
    }
    expect(again).toEqual(records)
    return records
  })
}

async function withLog<T>(
  limits: { fetchBytes?: number },
  work: (partition: PartitionLog, log: StreamLog) => Promise<T>,
): Promise<T> {
  const log = await home.open({ limits: { ...home.options.limits, ...limits } })
  try {
    return await work(log.partitions[0]!, log)
  } finally {
    await log.close()
  }
}

const line = (name: string) => `{"n":"${name}"}`

test('two aborts in one fetch hide both', async () => {
  await withLog({}, async () => undefined)
  const producer = transactional()
  await transaction(producer, 'abort', line('a1'), line('a2'))
  await transaction(producer, 'abort', line('b1'), line('b2'))
  await transaction(producer, 'commit', line('c1'))
  expect(await readable()).toEqual([line('c1')])
})

test('a commit between two aborts is seen, and only it', async () => {
  await withLog({}, async () => undefined)
  const producer = transactional()
  await transaction(producer, 'abort', line('a1'))
  await transaction(producer, 'commit', line('b1'), line('b2'))
  await transaction(producer, 'abort', line('c1'), line('c2'))
  expect(await readable()).toEqual([line('b1'), line('b2')])
})

test('an aborted transaction is hidden in fetches that do not reach its marker', async () => {
  await withLog({}, async () => undefined)
  const producer = transactional()
  const long = (name: string) => `{"n":"${name}","pad":"${'x'.repeat(2_000)}"}`
  await transaction(producer, 'abort', ...Array.from({ length: 6 }, (_, i) => long(`a${i}`)))
  await transaction(producer, 'commit', line('b1'))
  // A batch and a half at a time.
  for (const fetchBytes of [1, 3_000, 5_000]) expect(await readable({ fetchBytes })).toEqual([line('b1')])
})

test('transactions of several producers, whatever is fetched at once', async () => {
  await withLog({}, async () => undefined)
  const [one, two, three] = [transactional(), transactional(), transactional()]
  const expected: string[] = []
  let n = 0
  // Two at a time, their records one after the other, and one of them ends first.
  for (const [first, second] of [
    ['commit', 'abort'],
    ['abort', 'commit'],
    ['abort', 'abort'],
    ['commit', 'commit'],
    ['abort', 'commit'],
  ] as const) {
    const a = await one.beginTransaction()
    const b = await two.beginTransaction()
    for (const [begun, end] of [
      [a, first],
      [b, second],
      [a, first],
      [b, second],
    ] as const) {
      const value = line(String(n++))
      await begun.send({ messages: [{ topic: home.topic, partition: 0, value: Buffer.from(value) }], acks: -1 })
      if (end === 'commit') expected.push(value)
    }
    await a[first]()
    await transaction(three, n % 3 === 0 ? 'commit' : 'abort', line(`t${n}`))
    if (n % 3 === 0) expected.push(line(`t${n}`))
    await b[second]()
  }
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2_000 }), async (fetchBytes) => {
      expect(await readable({ fetchBytes })).toEqual(expected)
    }),
    { numRuns: 12 },
  )
})

test('an open transaction holds back what comes behind it, and its end lets it through', async () => {
  await withLog({}, async (partition, log) => {
    await partition.follow(0)
    const begun = await transactional().beginTransaction()
    await begun.send({ messages: [{ topic: home.topic, partition: 0, value: Buffer.from(line('open')) }], acks: -1 })
    const { from } = await partition.append({ lines: Buffer.from(`${line('own')}\n`), records: 1 })
    expect([from, partition.end]).toEqual([1, 2])
    const records = recordsFrom(partition, 0)
    await begun.commit()
    expect(await records).toEqual([line('open'), line('own')])
    expect(log.marks()).toEqual([])
  })
})

test('offsets skip markers and what was rolled back, and frames tell', async () => {
  await withLog({}, async (partition) => {
    const producer = transactional()
    await partition.follow(0)
    await transaction(producer, 'commit', line('0'), line('1'))
    await transaction(producer, 'abort', line('3'))
    await partition.append({ lines: Buffer.from(`${line('5')}\n${line('6')}\n`), records: 2 })
    const segments = []
    const offsets: number[] = []
    for await (const segment of taken(partition, 0)) {
      segments.push(segment)
      for (const frame of await partition.frames(segment)) {
        for (let i = 0; i < frame.records; i++) offsets.push(frame.offset + i)
      }
    }
    expect(offsets).toEqual([0, 1, 5, 6])
    expect([segments[0]!.from, segments.at(-1)!.to]).toEqual([0, 7])
    expect(home.grown.length).toBeGreaterThan(0)
  })
})

test('a topic that ends with a marker has an end that can be reached', async () => {
  await withLog({}, async () => undefined)
  const producer = transactional()
  await transaction(producer, 'commit', line('0'))
  await transaction(producer, 'abort', line('2'))
  await withLog({}, async (partition) => {
    expect(partition.end).toBe(4)
    expect(await recordsFrom(partition, 0)).toEqual([line('0')])
    // What was read up to the last record, and no further, goes on into the gap.
    expect((await segmentsOf(partition, 1)).map(({ from, to }) => [from, to])).toEqual([[1, 4]])
    const rest = await partition.take(1)
    expect([rest[0]!.from <= 1, rest.at(-1)!.to]).toEqual([true, 4])
  })
})

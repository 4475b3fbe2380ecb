import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Home } from '../../../scripts/services/home.ts'
import { down, environment, killProcess, restartProcess, status, up } from '../../../scripts/services/services.ts'
import { openKafkaLog } from '../../../src/log/kafka/open.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import { recordsFrom } from '../../log/conformance.ts'

/** A home of its own: the cluster that others use stays whole. */
let home: Home
let brokers: string[]

beforeAll(async () => {
  home = Home.default().beside(await mkdtemp(join(tmpdir(), 'kafka-brokers-')))
  await up(home, ['kafka'], () => {}, { brokers: 3 })
  brokers = environment(home, ['kafka'])['KAFKA_BROKERS']!.split(',')
})

afterAll(async () => {
  await down(home, ['kafka'], () => {})
  await rm(home.directory, { recursive: true })
})

test('each broker of three dies and comes back while records come and go: none is lost, none is there twice', async () => {
  const log = await openKafkaLog({
    config: { brokers, replication: 3 },
    stream: 'ledger',
    partitions: 2,
    directory: join(home.directory, 'log'),
    disk: systemDisk,
    clock: systemClock,
    onGrown: () => undefined,
    onFatal: (error) => {
      throw error
    },
  })
  const ledger = log.partitions.map(() => new Map<number, string[]>())
  for (const partition of log.partitions) await partition.follow(0)
  let [n, done] = [0, false]
  const senders = log.partitions.flatMap((partition) =>
    [1, 20, 200].map(async (size) => {
      while (!done) {
        const records = Array.from({ length: size }, () => `{"n":${n++}}`)
        const lines = Buffer.from(records.map((record) => `${record}\n`).join(''))
        // Each is retried within; one that failed would fail the test.
        const { from } = await partition.append({ lines, records: size })
        ledger[partition.partition]!.set(from, records)
        await systemClock.sleep(20)
      }
    }),
  )
  for (const node of [1, 2, 3]) {
    await killProcess(home, `kafka-${node}`)
    const before = n
    while (n < before + 3_000) await systemClock.sleep(20)
    await restartProcess(home, `kafka-${node}`)
  }
  done = true
  await Promise.all(senders)
  const found = new Set<string>()
  let count = 0
  for (const partition of log.partitions) {
    const records = await recordsFrom(partition, 0)
    for (const [from, sent] of ledger[partition.partition]!) {
      expect(records.slice(from, from + sent.length)).toEqual(sent)
    }
    for (const record of records) found.add(record)
    count += records.length
  }
  expect([count, found.size]).toEqual([n, n])
  await log.close()
})

test('brokers that stand still leave appends undecided, and once they go on each is there once', async () => {
  const log = await openKafkaLog({
    config: { brokers, replication: 3 },
    stream: 'stalled',
    partitions: 1,
    directory: join(home.directory, 'stalled'),
    disk: systemDisk,
    clock: systemClock,
    limits: { appendMs: 500, requestMs: 1_500 },
    onFatal: (error) => {
      throw error
    },
  })
  const partition = log.partitions[0]!
  const batch = (i: number) => ({ lines: Buffer.from(`{"n":${i}}\n`), records: 1, key: `key-${i}` })
  await partition.append(batch(0))
  const { pids } = status(home, 'kafka')
  const codes = new Set<string>()
  const repeating = async (i: number) => {
    for (;;) {
      try {
        return await partition.append(batch(i))
      } catch (error) {
        codes.add((error as { code: string }).code)
        await systemClock.sleep(100)
      }
    }
  }
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  const appends = Array.from({ length: 20 }, (_, i) => repeating(i + 1))
  try {
    while (!codes.has('append-unknown')) await systemClock.sleep(50)
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
  const appended = await Promise.all(appends)
  const records = await recordsFrom(partition, 0)
  expect(records.toSorted()).toEqual(Array.from({ length: 21 }, (_, i) => `{"n":${i}}`).toSorted())
  appended.forEach(({ from }, i) => expect(records[from]).toBe(`{"n":${i + 1}}`))
  await log.close()
})

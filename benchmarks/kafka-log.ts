import { randomUUID } from 'node:crypto'
import { Admin } from '@platformatic/kafka'
import { systemClock } from '../src/base/clock.ts'
import { openKafkaLog } from '../src/log/kafka/open.ts'
import { openLocalLog } from '../src/log/local/open.ts'
import type { PartitionLog, StreamLog } from '../src/log/log.ts'
import { systemDisk } from '../src/storage/disk.ts'
import { clickEvents } from './events.ts'
import { inTemporary, round } from './harness.ts'
import type { BenchOptions } from './run.ts'

/** Records of one append, and appends under way at once: as the clients of the benchmark `ingest` send them. */
const RECORDS = 1_000
const AT_ONCE = 8

/**
 * Records appended to a log until all are acknowledged and there to be processed: on the broker of KAFKA_BROKERS, and beside it
 * the embedded log, before and after, in this process. What is taken is let go at once.
 */
export async function run({ events = 1_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  const brokers = process.env['KAFKA_BROKERS']
  if (brokers === undefined) throw new Error('KAFKA_BROKERS is not set: `npm run --silent services -- env` tells it.')
  const appends = eventLines()
  const bytes = appends.reduce((sum, lines) => sum + lines.length, 0) / (appends.length * RECORDS)
  return inTemporary(async (directory) => {
    const embedded = async (place: string) => {
      const log = await openLocalLog({
        directory: `${directory}/${place}`,
        stream: 'events',
        partitions: 1,
        disk: systemDisk,
        clock: systemClock,
        onFatal: fatal,
      })
      return measured(log, appends, events)
    }
    say(`appending ${events} records to the embedded log`)
    const before = await embedded('before')
    const rates: Record<string, number> = {}
    for (const compression of ['none', 'lz4', 'zstd'] as const) {
      say(`appending ${events} records to Kafka, ${compression}`)
      const topicPrefix = `bench-${randomUUID().slice(0, 8)}.`
      const log = await openKafkaLog({
        config: { brokers: brokers.split(','), topicPrefix, compression },
        directory: `${directory}/kafka`,
        stream: 'events',
        partitions: 1,
        disk: systemDisk,
        clock: systemClock,
        onGrown: () => undefined,
        onFatal: fatal,
      })
      rates[compression] = await measured(log, appends, events)
      await dropTopic(brokers, `${topicPrefix}events`)
    }
    const after = await embedded('after')
    const reference = (before + after) / 2
    return {
      events,
      bytes_per_event: round(bytes, 1),
      records_per_second: Math.round(rates['lz4']!),
      records_per_second_zstd: Math.round(rates['zstd']!),
      records_per_second_uncompressed: Math.round(rates['none']!),
      embedded_records_per_second: Math.round(reference),
      ratio: round(rates['lz4']! / reference),
    }
  })
}

/** Some appends' worth of lines, to be sent again and again. */
function eventLines(): Buffer[] {
  const lines = [...clickEvents(50 * RECORDS)].map(({ line }) => `${line}\n`)
  return Array.from({ length: 50 }, (_, i) => Buffer.from(lines.slice(i * RECORDS, (i + 1) * RECORDS).join('')))
}

/** Records a second, appended and taken. */
async function measured(log: StreamLog, appends: readonly Buffer[], events: number): Promise<number> {
  const partition = log.partitions[0]!
  await partition.follow(0)
  const begun = performance.now()
  await Promise.all([append(partition, appends, events), take(partition, events)])
  const seconds = (performance.now() - begun) / 1_000
  await log.close()
  return events / seconds
}

async function append(partition: PartitionLog, appends: readonly Buffer[], events: number): Promise<void> {
  let next = 0
  const sender = async () => {
    while (next < events / RECORDS) {
      await partition.append({ lines: appends[next++ % appends.length]!, records: RECORDS })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, sender))
}

async function take(partition: PartitionLog, events: number): Promise<void> {
  for (let reached = 0; reached < events;) {
    await systemClock.sleep(20)
    const segments = reached < partition.end ? await partition.take(reached) : []
    reached = segments.at(-1)?.to ?? reached
    partition.checkpointed(reached)
  }
}

async function dropTopic(brokers: string, topic: string): Promise<void> {
  const admin = new Admin({ clientId: 'bench', bootstrapBrokers: brokers.split(',') })
  await admin.deleteTopics({ topics: [topic] })
  await admin.close()
}

function fatal(error: Error): void {
  throw error
}

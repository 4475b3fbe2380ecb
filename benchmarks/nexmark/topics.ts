import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import { systemClock } from '../../src/base/clock.ts'
import { openKafkaLog, topicOf } from '../../src/log/kafka/open.ts'
import type { StreamLog } from '../../src/log/log.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import type { Written } from './files.ts'
import type { StreamName } from './generator.ts'
import { turns } from './turns.ts'

/** As many as there are processors to read them. */
const PARTITIONS = 2
const AT_ONCE = 8

/** New topics of Kafka, one for each of some streams; gone when closed. */
export class Topics {
  readonly names: Readonly<Partial<Record<StreamName, string>>>
  readonly #brokers: string
  readonly #logs: ReadonlyMap<StreamName, StreamLog>

  private constructor(brokers: string, names: Topics['names'], logs: ReadonlyMap<StreamName, StreamLog>) {
    this.#brokers = brokers
    this.names = names
    this.#logs = logs
  }

  static async create(brokers: string, streams: readonly StreamName[], directory: string): Promise<Topics> {
    const config = { brokers: brokers.split(','), topicPrefix: `nexmark-${randomUUID().slice(0, 8)}.` }
    const logs = new Map<StreamName, StreamLog>()
    for (const stream of streams)
      logs.set(
        stream,
        await openKafkaLog({
          config,
          directory: join(directory, `log-${stream}`),
          stream,
          partitions: PARTITIONS,
          disk: systemDisk,
          clock: systemClock,
          onFatal: (error) => {
            throw error
          },
        }),
      )
    return new Topics(brokers, Object.fromEntries(streams.map((stream) => [stream, topicOf({ config, stream })])), logs)
  }

  /** Sends files of lines, all equally far in event time, each batch to the next partition; ends when all are acknowledged. */
  async fill(files: Record<StreamName, Written>, records: Record<StreamName, number>): Promise<void> {
    const source = turns(
      [...this.#logs.keys()].map((stream) => ({ stream, path: files[stream].path, records: records[stream] })),
    )
    let next = 0
    const sender = async () => {
      for await (const { stream, batch } of { [Symbol.asyncIterator]: () => ({ next: () => source.next() }) })
        await this.#logs
          .get(stream)!
          .partitions[next++ % PARTITIONS]!.append({ lines: batch.body, records: batch.records })
    }
    await Promise.all(Array.from({ length: AT_ONCE }, sender))
  }

  async close(): Promise<void> {
    for (const log of this.#logs.values()) await log.close()
    const admin = new Admin({ clientId: 'bench', bootstrapBrokers: this.#brokers.split(',') })
    await admin.deleteTopics({ topics: Object.values(this.names) })
    await admin.close()
  }
}

import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection, createTopicsV7, deleteTopicsV6 } from '@platformatic/kafka'
import type { MillraceError } from '../../../src/base/errors.ts'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { defaultKafkaLimits } from '../../../src/log/kafka/config.ts'
import type { KafkaLogOptions } from '../../../src/log/kafka/open.ts'
import { openKafkaLog, topicOf } from '../../../src/log/kafka/open.ts'
import { MemoryRequests } from '../../../src/log/kafka/requests.ts'
import type { StreamLog } from '../../../src/log/log.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import type { LogHome } from '../../log/conformance.ts'

export const BROKERS = (process.env['KAFKA_BROKERS'] ?? 'KAFKA_BROKERS-is-not-set:0').split(',')

export interface KafkaHome extends LogHome {
  readonly topic: string
  readonly directory: string
  readonly options: KafkaLogOptions
  readonly grown: number[]
  readonly fatal: MillraceError[]
  open(options?: Partial<KafkaLogOptions>): Promise<StreamLog>
}

/** A topic of its own, a clock that moves when told, and keys that outlive the log. */
export async function kafkaHome(more: Partial<KafkaLogOptions> = {}): Promise<KafkaHome> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-kafka-'))
  const grown: number[] = []
  const fatal: MillraceError[] = []
  // Brokers refuse times of tomorrow.
  let now = Date.now() - 7 * 24 * 3_600_000
  const clock: Clock = { ...systemClock, now: () => now }
  const options: KafkaLogOptions = {
    config: { brokers: BROKERS, topicPrefix: `test-${randomUUID().slice(0, 8)}.` },
    stream: 'orders',
    partitions: 2,
    directory,
    disk: systemDisk,
    clock,
    marks: true,
    requests: new MemoryRequests(clock, defaultKafkaLimits),
    onGrown: (partition) => grown.push(partition),
    onFatal: (error) => fatal.push(error),
    ...more,
    // A busy machine must not make a test find half of what there is.
    limits: { takeMs: 20_000, fetchWaitMs: 100, ...more.limits },
  }
  const topic = topicOf(options)
  return {
    topic,
    directory,
    options,
    grown,
    fatal,
    open: (own = {}) => openKafkaLog({ ...options, ...own }),
    advance: (ms) => {
      now += ms
    },
    remove: async () => {
      await dropTopic(topic)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function withBroker<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = new Connection('test')
  const [host, port] = BROKERS[0]!.split(':')
  await connection.connect(host!, Number(port))
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}

export async function makeTopic(name: string, partitions: number, configs: Record<string, string> = {}): Promise<void> {
  await withBroker((connection) =>
    createTopicsV7.api.async(
      connection,
      [
        {
          name,
          numPartitions: partitions,
          replicationFactor: 1,
          assignments: [],
          configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
        },
      ],
      10_000,
      false,
    ),
  )
}

/** Removes a topic; one that is not there is removed already. */
export async function dropTopic(name: string): Promise<void> {
  await withBroker((connection) => deleteTopicsV6.api.async(connection, [{ name }], 10_000)).catch(() => undefined)
}

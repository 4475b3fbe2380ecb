import type { Clock } from '../../base/clock.ts'
import type { MillraceError } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import type { StreamLog } from '../log.ts'
import { KafkaCluster } from './cluster.ts'
import type { ForeignTopic, KafkaConfig, KafkaLimits } from './config.ts'
import { DEFAULT_PREFIX, defaultKafkaLimits } from './config.ts'
import type { Codec } from './decode.ts'
import { offsetsOf } from './offsets.ts'
import { KafkaPartition } from './partition.ts'
import { keysOfLines } from './record-keys.ts'
import { SchemaRegistry } from './registry/client.ts'
import { RegistryValues } from './registry/values.ts'
import type { RequestStore } from './requests.ts'
import { MemoryRequests } from './requests.ts'
import type { TopicPlan, TopicSpec } from './topic.ts'
import { checkTopic, ensureTopic, presentTopic } from './topic.ts'

export interface KafkaTopicOptions {
  readonly config: KafkaConfig
  readonly stream: string
  /** May grow, never shrink. Records of one key that came before and after may then be in different partitions. */
  readonly partitions: number
  /** A topic of somebody else's to read instead of the stream's own. */
  readonly topic?: ForeignTopic
  readonly clock: Clock
  readonly limits?: Partial<KafkaLimits>
}

export interface KafkaLogOptions extends KafkaTopicOptions {
  /** For copies of what is being processed; what is there is removed. */
  readonly directory: string
  readonly disk: Disk
  /** Columns whose values become the records' keys. Default: none. */
  readonly key?: readonly string[]
  /** Whether the stream has sources whose marks must be known: then all headers are read when it is opened. */
  readonly marks?: boolean
  /** Only looks: the topic must be there, and is neither made nor changed. */
  readonly looking?: boolean
  /** Idempotency keys that must outlive this process, or be known to others. Default: in memory. */
  readonly requests?: RequestStore
  /** Called when a partition's end has moved because records came. Without it, nothing is fetched before it is taken. */
  onGrown?(partition: number): void
  /** Called when local files cannot be written. The process should end. */
  onFatal(error: MillraceError): void
}

/** The name of a stream's topic. */
export function topicOf({ config, stream, topic }: Pick<KafkaTopicOptions, 'config' | 'stream' | 'topic'>): string {
  return topic?.name ?? `${config.topicPrefix ?? DEFAULT_PREFIX}${stream}`
}

/** What opening a stream's log would do to its topic; changes nothing. Errors: as `openKafkaLog`. */
export async function planKafkaTopic(options: KafkaTopicOptions): Promise<TopicPlan> {
  const limits = { ...defaultKafkaLimits, ...options.limits }
  const cluster = await KafkaCluster.connect(options.config, options.clock, limits.requestMs)
  try {
    return await checkTopic(cluster, specOf(options, limits))
  } finally {
    await cluster.close()
  }
}

/**
 * The records that each partition of a stream's topic holds, from the first offset to the one after the last; none where the topic is yet to
 * be made. Changes nothing. Errors: as `openKafkaLog`.
 */
export async function kafkaExtents(options: KafkaTopicOptions): Promise<{ from: number; to: number }[]> {
  const limits = { ...defaultKafkaLimits, ...options.limits }
  const cluster = await KafkaCluster.connect(options.config, options.clock, limits.requestMs)
  try {
    const topic = topicOf(options)
    const found = (await cluster.metadata(topic)) ?? []
    return await Promise.all(
      found.map(async ({ partition }) => {
        const { start, end } = await offsetsOf(cluster, { topic, partition })
        return { from: start, to: end }
      }),
    )
  } finally {
    await cluster.close()
  }
}

/**
 * Opens a stream's log on Kafka; makes its topic when it is missing (docs/kafka.md).
 *
 * Errors: `invalid`/`driver-missing`, `bad-brokers`, `kafka-tls`, `kafka-too-old`, `topic-missing`, `topic-partitions`,
 * `partitions-decreased`, `topic-compacted`, `topic-replication`; `denied`/`kafka-login`, `kafka-denied`; `unavailable`/`kafka-unreachable`;
 * with a schema registry `invalid`/`bad-registry`, `registry-tls`; `denied`/`registry-login`; `unavailable`/`registry-unreachable`.
 */
export async function openKafkaLog(options: KafkaLogOptions): Promise<StreamLog> {
  const limits = { ...defaultKafkaLimits, ...options.limits }
  const cluster = await KafkaCluster.connect(options.config, options.clock, limits.requestMs)
  const partitions: KafkaPartition[] = []
  const close = async () => {
    await Promise.all(partitions.map((partition) => partition.close()))
    await cluster.close()
  }
  try {
    const codec = await codecFor(options, cluster, limits)
    const plan = await (options.looking ? presentTopic : ensureTopic)(cluster, specOf(options, limits))
    await options.disk.removeTree(options.directory)
    const numbers = Array.from({ length: options.partitions }, (_, partition) => partition)
    const opened = await Promise.all(
      numbers.map((partition) => openPartition(options, cluster, codec, limits, plan, partition)),
    )
    partitions.push(...opened)
    if (options.marks) await Promise.all(partitions.map((partition) => partition.recoverMarks()))
  } catch (error) {
    await close()
    throw error
  }
  return {
    stream: options.stream,
    partitions,
    marks: () => partitions.flatMap((partition) => partition.marks.list()),
    waitingFor: () => partitions.find((partition) => partition.waitingFor !== undefined)?.waitingFor,
    close,
  }
}

/** Others may write with schemas. Errors: those of the registry. */
async function codecFor(
  { topic, config, clock }: KafkaLogOptions,
  { codec }: KafkaCluster,
  { requestMs }: KafkaLimits,
): Promise<Codec> {
  if (topic === undefined || config.schemaRegistry === undefined) return codec
  const registry = new SchemaRegistry(config.schemaRegistry, requestMs)
  await registry.check()
  return { ...codec, values: new RegistryValues(registry, clock) }
}

async function openPartition(
  options: KafkaLogOptions,
  cluster: KafkaCluster,
  codec: Codec,
  limits: KafkaLimits,
  plan: TopicPlan,
  partition: number,
): Promise<KafkaPartition> {
  const { stream, config, disk, key = [], clock } = options
  const place = { stream, topic: plan.topic, partition }
  const { start, end } = await offsetsOf(cluster, place)
  const directory = `${options.directory}/${partition}`
  await disk.makeDirectory(directory)
  return new KafkaPartition({
    cluster,
    codec,
    limits,
    place,
    compression: config.compression ?? 'lz4',
    batchBytes: plan.batchBytes,
    foreign: options.topic !== undefined,
    keepsMarks: options.marks ?? false,
    start,
    end,
    requests: options.requests ?? new MemoryRequests(clock, limits),
    disk,
    directory,
    keysOf: (lines) => (key.length === 0 ? undefined : keysOfLines(lines, key)),
    onGrown: options.onGrown,
    onFatal: options.onFatal,
  })
}

function specOf(options: KafkaTopicOptions, limits: KafkaLimits): TopicSpec {
  const { config, stream, partitions, topic } = options
  return { topic: topicOf(options), stream, partitions, foreign: topic !== undefined, config, limits }
}

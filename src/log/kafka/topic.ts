import { durationMs } from '../../base/duration.ts'
import { MillraceError } from '../../base/errors.ts'
import type { KafkaCluster } from './cluster.ts'
import type { KafkaConfig, KafkaLimits } from './config.ts'
import { batchBytesMax } from './config.ts'
import { protocolErrorOf } from './errors.ts'

/** A stream's topic as it should be. */
export interface TopicSpec {
  readonly topic: string
  readonly stream: string
  readonly partitions: number
  /** Somebody else's: it is taken as it is, and never made or changed. */
  readonly foreign: boolean
  readonly config: KafkaConfig
  readonly limits: KafkaLimits
}

/** What is to be done about a topic, and what somebody should know of it. */
export interface TopicPlan {
  readonly topic: string
  readonly action: 'none' | 'create' | 'add-partitions'
  readonly notes: readonly string[]
  /** Largest record batch it takes, bytes. */
  readonly batchBytes: number
}

/** What brokers take where a topic says nothing (`message.max.bytes`). */
const BATCH_BYTES_DEFAULT = 1_048_588
const TOPIC = 2
const READY_MS = 30_000
const LOOK_MS = 100

/**
 * Compares a stream's topic with what is declared. Changes nothing.
 *
 * Errors: `invalid`/`topic-missing` (a foreign one), `topic-partitions`, `partitions-decreased`, `topic-compacted`, `topic-replication`,
 * `topic-message-size`; those of `kafkaError`.
 */
export async function checkTopic(cluster: KafkaCluster, spec: TopicSpec): Promise<TopicPlan> {
  const { topic, config, foreign, limits } = spec
  const found = await cluster.metadata(topic)
  if (found === undefined) {
    if (foreign) throw missing(spec)
    return { topic, action: 'create', notes: [], batchBytes: batchBytesMax(limits) }
  }
  checkPartitions(spec, found.length)
  const settings = await settingsOf(cluster, topic)
  const batchBytes = Number(settings.get('max.message.bytes') ?? BATCH_BYTES_DEFAULT)
  const isCompacted = settings.get('cleanup.policy')?.includes('compact') ?? false
  const notes: string[] = []
  if (isCompacted && !foreign) throw compacted(spec)
  if (isCompacted) notes.push(`'${topic}' is compacted: records that brokers remove before they are read never arrive.`)
  const replicas = Math.min(...found.map((partition) => partition.replicas))
  if (!foreign && config.replication !== undefined && replicas < config.replication) throw tooFewCopies(spec, replicas)
  const retentionMs = Number(settings.get('retention.ms') ?? -1)
  const isDeleted = settings.get('cleanup.policy')?.includes('delete') ?? true
  if (isDeleted && retentionMs >= 0)
    notes.push(`Brokers remove records of '${topic}' after ${retentionMs} ms, processed or not.`)
  const wantedMs = config.retention === undefined ? undefined : durationMs(config.retention, 'log.retention')
  if (!foreign && wantedMs !== undefined && wantedMs !== retentionMs)
    notes.push(
      `'${topic}' was made with another retention than '${config.retention}': set its retention.ms to ${wantedMs}.`,
    )
  if (!foreign && batchBytes < batchBytesMax(limits)) {
    notes.push(`'${topic}' takes at most ${batchBytes} bytes at once (max.message.bytes): larger appends are refused.`)
  }
  const action = !foreign && found.length < spec.partitions ? 'add-partitions' : 'none'
  return { topic, action, notes, batchBytes }
}

/** Makes a stream's topic what is declared: makes it, or adds partitions. Errors: those of `checkTopic`. */
export async function ensureTopic(cluster: KafkaCluster, spec: TopicSpec): Promise<TopicPlan> {
  const plan = await checkTopic(cluster, spec)
  if (plan.action === 'create') await createTopic(cluster, spec)
  if (plan.action === 'add-partitions') await addPartitions(cluster, spec)
  if (plan.action !== 'none') await ready(cluster, spec)
  return plan
}

/** A stream's topic as it is, for those who only read. Errors: `unavailable`/`topic-not-ready` when it is yet to be made; those of `checkTopic`. */
export async function presentTopic(cluster: KafkaCluster, spec: TopicSpec): Promise<TopicPlan> {
  const plan = await checkTopic(cluster, spec)
  if (plan.action === 'none') return plan
  const { topic, stream, partitions } = spec
  throw new MillraceError(
    'unavailable',
    'topic-not-ready',
    `Topic '${topic}' of stream '${stream}' ${plan.action === 'create' ? 'is not there' : `has fewer than ${partitions} partitions`} yet.`,
    { hint: 'The first process that is started makes it.', context: { topic, dataset: stream } },
  )
}

function checkPartitions(spec: TopicSpec, found: number): void {
  const { topic, stream, partitions, foreign } = spec
  if (found === partitions || (found < partitions && !foreign)) return
  const context = { topic, dataset: stream, found, declared: partitions }
  if (foreign) {
    throw new MillraceError(
      'invalid',
      'topic-partitions',
      `Topic '${topic}' has ${found} partitions; stream '${stream}' declares ${partitions}.`,
      { hint: `Declare \`partitions: ${found}\` of the stream: each partition has a lane.`, context },
    )
  }
  throw new MillraceError(
    'invalid',
    'partitions-decreased',
    `Stream '${stream}' has ${found} partitions in topic '${topic}', ${partitions} are declared.`,
    { hint: `Declare ${found} or more: a partition holds records and cannot go away.`, context },
  )
}

async function settingsOf(cluster: KafkaCluster, topic: string): Promise<Map<string, string>> {
  const { describeConfigsV4 } = cluster.driver
  const wanted = [{ resourceType: TOPIC, resourceName: topic, configurationKeys: null }]
  try {
    const { results } = await cluster.anywhere(
      (connection) => describeConfigsV4.api.async(connection, wanted as never),
      topic,
    )
    const configs = results[0]?.configs ?? []
    return new Map(configs.flatMap(({ name, value }) => (typeof value === 'string' ? [[name, value] as const] : [])))
  } catch (error) {
    // A reader may lack the right to look: what a topic takes is then found out when it refuses.
    if ((error as MillraceError).kind === 'denied') return new Map()
    throw error
  }
}

async function createTopic(cluster: KafkaCluster, spec: TopicSpec): Promise<void> {
  const { topic, partitions, config, limits } = spec
  const { replication = -1, retention } = config
  const settings: Readonly<Record<string, string>> = {
    'cleanup.policy': 'delete',
    'retention.ms': retention === undefined ? '-1' : String(durationMs(retention, 'log.retention')),
    'retention.bytes': '-1',
    'max.message.bytes': String(batchBytesMax(limits)),
    'message.timestamp.type': 'CreateTime',
    // An acknowledged record is on two brokers where there are three.
    ...(replication > 2 ? { 'min.insync.replicas': '2' } : {}),
  }
  const wanted = {
    name: topic,
    numPartitions: partitions,
    replicationFactor: replication,
    assignments: [],
    configs: Object.entries(settings).map(([name, value]) => ({ name, value })),
  }
  await tolerating(cluster, spec, 'TOPIC_ALREADY_EXISTS', () =>
    cluster.anywhere(
      (connection) => cluster.driver.createTopicsV7.api.async(connection, [wanted], READY_MS / 2, false),
      topic,
    ),
  )
}

async function addPartitions(cluster: KafkaCluster, spec: TopicSpec): Promise<void> {
  const wanted = [{ name: spec.topic, count: spec.partitions, assignments: null }]
  await tolerating(cluster, spec, 'INVALID_PARTITIONS', () =>
    cluster.anywhere(
      (connection) => cluster.driver.createPartitionsV3.api.async(connection, wanted, READY_MS / 2, false),
      spec.topic,
    ),
  )
}

/** Another process may do the same at this moment: then what it did is checked. */
async function tolerating(
  cluster: KafkaCluster,
  spec: TopicSpec,
  expected: string,
  work: () => Promise<unknown>,
): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (protocolErrorOf((error as MillraceError).cause) !== expected) throw error
    await ready(cluster, spec)
    await checkTopic(cluster, spec)
  }
}

/** Waits until every partition has a leader. */
async function ready(cluster: KafkaCluster, { topic, partitions }: TopicSpec): Promise<void> {
  const until = cluster.clock.monotonic() + READY_MS
  for (;;) {
    const found = (await cluster.metadata(topic)) ?? []
    if (found.length >= partitions && found.every(({ led }) => led)) return
    if (cluster.clock.monotonic() > until) {
      throw new MillraceError(
        'unavailable',
        'topic-not-ready',
        `Topic '${topic}' has no leaders after ${READY_MS} ms.`,
        {
          hint: 'See the logs of the brokers.',
          context: { topic },
        },
      )
    }
    await cluster.clock.sleep(LOOK_MS)
  }
}

function missing({ topic, stream }: TopicSpec): MillraceError {
  return new MillraceError(
    'invalid',
    'topic-missing',
    `Stream '${stream}' reads topic '${topic}', which is not there.`,
    {
      hint: "Check the name and the brokers, or leave `topic` out: then Millrace makes the stream's topic.",
      context: { topic, dataset: stream },
    },
  )
}

function compacted({ topic, stream }: TopicSpec): MillraceError {
  return new MillraceError(
    'invalid',
    'topic-compacted',
    `Topic '${topic}' of stream '${stream}' is compacted: records would vanish.`,
    {
      hint: `Set its cleanup.policy to delete, or declare it as somebody else's: topic: { name: '${topic}' }.`,
      context: { topic, dataset: stream },
    },
  )
}

function tooFewCopies({ topic, stream, config }: TopicSpec, found: number): MillraceError {
  return new MillraceError(
    'invalid',
    'topic-replication',
    `Topic '${topic}' of stream '${stream}' has ${found} replicas; the target asks for ${config.replication}.`,
    {
      hint: 'Raise it with kafka-reassign-partitions, or lower `replication`.',
      context: { topic, dataset: stream, found },
    },
  )
}

import { MillraceError } from '../../base/errors.ts'
import type { AbortedTransaction } from './aborted.ts'
import type { TopicPlace } from './batch.ts'
import type { KafkaCluster, RawRequest } from './cluster.ts'
import type { KafkaLimits } from './config.ts'
import { kafkaError } from './errors.ts'
import type { WireReader } from './wire.ts'

/** What a broker has of a partition from some offset on. */
export interface Fetched {
  readonly bytes: Buffer
  readonly aborted: readonly AbortedTransaction[]
  /** First offset that is kept. */
  readonly start: number
  /** Offset up to which every transaction is decided. */
  readonly stable: number
}

/** Committed records alone; or all that replicas have. */
export type Isolation = 'committed' | 'all'

const OFFSET_OUT_OF_RANGE = 1

/**
 * Fetches from a partition's leader; empty when nothing comes for `waitMs`.
 *
 * Errors: those of `kafkaError`; `invalid`/`offset-gone` when the offset is not, or no longer, in the topic.
 */
export async function fetchRecords(
  cluster: KafkaCluster,
  place: TopicPlace,
  purpose: string,
  from: number,
  options: { readonly isolation: Isolation; readonly waitMs: number; readonly limits: KafkaLimits },
): Promise<Fetched> {
  const { code, ...fetched } = await cluster.onLeader(
    place.topic,
    place.partition,
    purpose,
    request(place, from, options),
  )
  if (code === OFFSET_OUT_OF_RANGE) throw offsetGone(place, from)
  if (code === 0) return fetched
  cluster.forgetLeader(place.topic, place.partition)
  throw kafkaError(new cluster.driver.ProtocolError(code), { brokers: cluster.brokers, topic: place.topic })
}

/** A fetch of one partition outside any session (version 12). */
function request(
  { topic, partition }: TopicPlace,
  from: number,
  { isolation, waitMs, limits }: { isolation: Isolation; waitMs: number; limits: KafkaLimits },
): RawRequest<Fetched & { readonly code: number }> {
  return {
    api: 1,
    version: 12,
    write: (writer) =>
      writer
        .appendInt32(-1)
        .appendInt32(waitMs)
        .appendInt32(1)
        .appendInt32(limits.fetchBytes)
        .appendInt8(isolation === 'committed' ? 1 : 0)
        .appendInt32(0)
        .appendInt32(-1)
        .appendArray([topic], (topics, name) => {
          topics.appendString(name).appendArray([partition], (partitions, index) => {
            partitions
              .appendInt32(index)
              .appendInt32(-1)
              .appendInt64(BigInt(from))
              .appendInt32(-1)
              .appendInt64(-1n)
              .appendInt32(limits.fetchBytes)
          })
        })
        .appendArray([], () => undefined)
        .appendString('')
        .appendTaggedFields(),
    read: readResponse,
  }
}

function readResponse(reader: WireReader): Fetched & { readonly code: number } {
  reader.int32()
  const failure = reader.int16()
  reader.int32()
  const [topic] = reader.array(() => {
    reader.compactString()
    const partitions = reader.array(() => readPartition(reader))
    reader.skipTags()
    return partitions[0]
  })
  if (failure !== 0 || topic === undefined) return { ...NOTHING, code: failure }
  return topic
}

const NOTHING: Fetched = { bytes: Buffer.alloc(0), aborted: [], start: 0, stable: 0 }

function readPartition(reader: WireReader): Fetched & { readonly code: number } {
  reader.int32()
  const code = reader.int16()
  reader.long()
  const stable = reader.long()
  const start = reader.long()
  const aborted = reader.array(() => {
    const transaction = { producer: reader.bigint(), from: reader.long() }
    reader.skipTags()
    return transaction
  })
  reader.int32()
  const bytes = reader.compactBytes() ?? NOTHING.bytes
  reader.skipTags()
  return { code, stable, start, aborted, bytes }
}

function offsetGone({ topic, partition }: TopicPlace, offset: number): MillraceError {
  return new MillraceError(
    'invalid',
    'offset-gone',
    `Topic '${topic}', partition ${partition}: offset ${offset} is not in the topic.`,
    {
      hint: 'Its retention has removed the record, or the topic was made anew. Start from a later offset, or keep records longer.',
      context: { topic, partition, offset },
    },
  )
}

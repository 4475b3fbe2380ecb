import type { TopicPlace } from './batch.ts'
import type { KafkaCluster } from './cluster.ts'
import { patiently } from './cluster.ts'

const READ_COMMITTED = 1
const LATEST = -1n
const EARLIEST = -2n

/** First offset a partition keeps, and the one up to which all is decided. Errors: those of `kafkaError`. */
export async function offsetsOf(cluster: KafkaCluster, place: TopicPlace): Promise<{ start: number; end: number }> {
  return { start: await list(cluster, place, EARLIEST), end: await list(cluster, place, LATEST) }
}

/** Offset of the first record whose time is `atMs` or later; undefined for none. */
export async function offsetAt(cluster: KafkaCluster, place: TopicPlace, atMs: number): Promise<number | undefined> {
  const offset = await list(cluster, place, BigInt(Math.ceil(atMs)))
  return offset < 0 ? undefined : offset
}

async function list(cluster: KafkaCluster, { topic, partition }: TopicPlace, timestamp: bigint): Promise<number> {
  const { listOffsetsV6 } = cluster.driver
  const wanted = [{ name: topic, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }] }]
  const { topics } = await patiently(cluster, () =>
    cluster.withLeader(topic, partition, 'control', (connection) =>
      listOffsetsV6.api.async(connection, -1, READ_COMMITTED, wanted),
    ),
  )
  return Number(topics[0]!.partitions[0]!.offset)
}

/** Removes the records below an offset; returns the first offset kept. */
export async function deleteBelow(
  cluster: KafkaCluster,
  { topic, partition }: TopicPlace,
  offset: number,
): Promise<number> {
  const { deleteRecordsV2 } = cluster.driver
  const wanted = [{ name: topic, partitions: [{ partitionIndex: partition, offset: BigInt(offset) }] }]
  const { topics } = await cluster.withLeader(topic, partition, 'control', (connection) =>
    deleteRecordsV2.api.async(connection, wanted, 10_000),
  )
  return Number(topics[0]!.partitions[0]!.lowWatermark)
}

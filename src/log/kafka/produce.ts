import type { TopicPlace } from './batch.ts'
import type { RawRequest } from './cluster.ts'
import type { WireReader } from './wire.ts'

/** How a broker took a batch. */
export interface Produced {
  /** 0, or the protocol's error. */
  readonly code: number
  /** Offset of the batch's first record. */
  readonly from: number
  readonly message: string | undefined
}

/** One batch for one partition, acknowledged by all replicas in sync (version 9). */
export function produceRequest(
  { topic, partition }: TopicPlace,
  batch: Buffer,
  timeoutMs: number,
): RawRequest<Produced> {
  return {
    api: 0,
    version: 9,
    write: (writer) =>
      writer
        .appendString(null)
        .appendInt16(-1)
        .appendInt32(timeoutMs)
        .appendArray([topic], (topics, name) => {
          topics.appendString(name).appendArray([partition], (partitions, index) => {
            partitions
              .appendInt32(index)
              .appendUnsignedVarInt(batch.length + 1)
              .append(batch)
          })
        })
        .appendTaggedFields(),
    read: readResponse,
  }
}

function readResponse(reader: WireReader): Produced {
  const [topic] = reader.array(() => {
    reader.compactString()
    const partitions = reader.array(() => readPartition(reader))
    reader.skipTags()
    return partitions[0]!
  })
  return topic!
}

function readPartition(reader: WireReader): Produced {
  reader.int32()
  const code = reader.int16()
  const from = reader.long()
  reader.long()
  reader.long()
  reader.array(() => {
    reader.int32()
    reader.compactString()
    reader.skipTags()
  })
  const message = reader.compactString()
  reader.skipTags()
  return { code, from, message }
}

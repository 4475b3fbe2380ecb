import { MillraceError } from '../../base/errors.ts'
import { varintBytes, writeVarint } from './varint.ts'

/** Bytes of a record batch before its records (https://kafka.apache.org/documentation/#recordbatch). */
export const BATCH_HEADER = 61
/** Base offset and length: what must be there to know how long a batch is. */
const PREFIX = 12
/** The CRC covers everything from here on. */
const CHECKED = 21

const COMPRESSION = 0x07
const LOG_APPEND_TIME = 0x08
const TRANSACTIONAL = 0x10
const CONTROL = 0x20

/** Name of the record header in which an append keeps its key and source mark; on the first of its records. */
export const APPEND_HEADER = 'millrace'

export type Crc32c = (bytes: Buffer) => number

/** Compressions by their number in a batch's attributes. */
export const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** An append as part of a record batch. */
export interface BatchAppend {
  /** Complete lines, each ending in `\n`. */
  readonly lines: Buffer
  readonly records: number
  readonly atMs: number
  /** Key of each record, undefined for none. */
  readonly keys: readonly (Buffer | undefined)[] | undefined
  /** Value of the header `APPEND_HEADER` on its first record. */
  readonly header: Buffer | undefined
}

/** Records of a batch, behind room for its header. */
export interface EncodedRecords {
  /** `BATCH_HEADER` bytes of room, then the records. */
  readonly bytes: Buffer
  /** What `bytes` is the beginning of; to be used again once they are not needed. */
  readonly room: Buffer
  readonly records: number
  readonly firstMs: number
  readonly newestMs: number
}

const APPEND_HEADER_NAME = Buffer.from(APPEND_HEADER)
const NEWLINE = 10

/**
 * Lines as Kafka records, in one pass: values are the lines without their newlines. An append without lines but with a header
 * becomes one record without a value, which carries the header. They are written to `spare` if they fit.
 */
export function encodeRecords(appends: readonly BatchAppend[], spare?: Buffer): EncodedRecords {
  const firstMs = appends[0]!.atMs
  const room = BATCH_HEADER + appends.reduce((sum, append) => sum + roomOf(append), 0)
  const out = spare !== undefined && spare.length >= room ? spare : Buffer.allocUnsafe(room)
  let at = BATCH_HEADER
  let delta = 0
  let newestMs = firstMs
  for (const { lines, keys, atMs, header } of appends) {
    newestMs = Math.max(newestMs, atMs)
    const sinceMs = atMs - firstMs
    let headers = header === undefined ? NO_HEADERS : headersOf(header)
    let record = 0
    for (let from = 0; from < lines.length; record++) {
      const to = lines.indexOf(NEWLINE, from)
      at = writeHead(out, at, sinceMs, delta++, keys?.[record], to - from, headers)
      at += lines.copy(out, at, from, to)
      at += headers.copy(out, at)
      headers = NO_HEADERS
      from = to + 1
    }
    if (record === 0) {
      at = writeHead(out, at, sinceMs, delta++, undefined, -1, headers)
      at += headers.copy(out, at)
    }
  }
  return { bytes: out.subarray(0, at), room: out, records: delta, firstMs, newestMs }
}

/** A record without headers says that it has none. */
const NO_HEADERS = Buffer.from([0])

function headersOf(value: Buffer): Buffer {
  const head = Buffer.allocUnsafe(1 + 5 + APPEND_HEADER_NAME.length + 5)
  let at = writeVarint(head, 0, 1)
  at = writeVarint(head, at, APPEND_HEADER_NAME.length)
  at += APPEND_HEADER_NAME.copy(head, at)
  at = writeVarint(head, at, value.length)
  return Buffer.concat([head.subarray(0, at), value])
}

/** Most bytes that the records of an append may take. */
function roomOf({ lines, records, keys, header }: BatchAppend): number {
  const keyBytes = keys?.reduce((sum, key) => sum + (key?.length ?? 0), 0) ?? 0
  return lines.length + keyBytes + Math.max(1, records) * 32 + (header?.length ?? 0) + 64
}

/** A record up to its value, whose length is -1 when there is none; returns the position behind it. */
function writeHead(
  out: Buffer,
  from: number,
  sinceMs: number,
  delta: number,
  key: Buffer | undefined,
  valueBytes: number,
  headers: Buffer,
): number {
  const keyBytes = key === undefined ? -1 : key.length
  const bytes =
    1 +
    varintBytes(sinceMs) +
    varintBytes(delta) +
    varintBytes(keyBytes) +
    Math.max(0, keyBytes) +
    varintBytes(valueBytes) +
    Math.max(0, valueBytes) +
    headers.length
  let at = writeVarint(out, from, bytes)
  out[at++] = 0
  at = writeVarint(out, at, sinceMs)
  at = writeVarint(out, at, delta)
  at = writeVarint(out, at, keyBytes)
  if (key !== undefined) at += key.copy(out, at)
  return writeVarint(out, at, valueBytes)
}

/** Who produces a batch, and its place among the producer's batches for the partition: the broker drops what comes twice. */
export interface ProducerPlace {
  readonly id: bigint
  readonly epoch: number
  readonly sequence: number
}

/** Completes a batch: its header, and the CRC over it. `compressed` takes the place of the records. */
export function sealBatch(
  records: EncodedRecords,
  producer: ProducerPlace,
  crc32c: Crc32c,
  compressed?: { readonly by: Compression; readonly bytes: Buffer },
): Buffer {
  const batch =
    compressed === undefined ? records.bytes : Buffer.concat([Buffer.allocUnsafe(BATCH_HEADER), compressed.bytes])
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - PREFIX, 8)
  batch.writeInt32BE(-1, 12)
  batch[16] = 2
  batch.writeInt16BE(COMPRESSIONS.indexOf(compressed?.by ?? 'none'), CHECKED)
  batch.writeInt32BE(records.records - 1, 23)
  batch.writeBigInt64BE(BigInt(records.firstMs), 27)
  batch.writeBigInt64BE(BigInt(records.newestMs), 35)
  batch.writeBigInt64BE(producer.id, 43)
  batch.writeInt16BE(producer.epoch, 51)
  batch.writeInt32BE(producer.sequence, 53)
  batch.writeInt32BE(records.records, 57)
  batch.writeUInt32BE(crc32c(batch.subarray(CHECKED)), 17)
  return batch
}

/** A whole batch within fetched bytes. */
export interface BatchView {
  /** Offset of the first record it was written with; compaction may have removed it. */
  readonly from: number
  /** Offset after the last one it was written with. */
  readonly to: number
  readonly records: number
  readonly producer: ProducerPlace
  readonly compression: Compression
  readonly isTransactional: boolean
  readonly isControl: boolean
  /** Base of the records' timestamps, ms. */
  readonly firstMs: number
  /** The broker's time of the batch, ms; undefined when records carry the producer's. */
  readonly appendedMs: number | undefined
  /** The records, compressed perhaps. */
  readonly payload: Buffer
}

/** Where bytes came from, for messages. */
export interface TopicPlace {
  readonly topic: string
  readonly partition: number
}

/**
 * The whole batches at the start of fetched bytes, each with its CRC checked; a batch that was cut off at the end is left out.
 *
 * Errors: `corrupt`/`log-corrupt` naming topic, partition and offset; `invalid`/`old-record-format`.
 */
export function* batchesOf(bytes: Buffer, place: TopicPlace, crc32c: Crc32c): Generator<BatchView> {
  for (let at = 0; at + PREFIX <= bytes.length;) {
    const end = at + PREFIX + bytes.readInt32BE(at + 8)
    const from = Number(bytes.readBigInt64BE(at))
    if (end < at + BATCH_HEADER) throw corruptBatch(place, from, 'its length is impossible')
    if (end > bytes.length) return
    if (bytes[at + 16] !== 2) throw oldFormat(place, from)
    const batch = bytes.subarray(at, end)
    if (crc32c(batch.subarray(CHECKED)) !== batch.readUInt32BE(17)) {
      throw corruptBatch(place, from, 'its CRC does not match')
    }
    yield viewOf(batch, from, place)
    at = end
  }
}

function viewOf(batch: Buffer, from: number, place: TopicPlace): BatchView {
  const attributes = batch.readInt16BE(CHECKED)
  const compression = COMPRESSIONS[attributes & COMPRESSION]
  if (compression === undefined) throw corruptBatch(place, from, `compression ${attributes & COMPRESSION} is unknown`)
  return {
    from,
    to: from + batch.readInt32BE(23) + 1,
    records: batch.readInt32BE(57),
    producer: { id: batch.readBigInt64BE(43), epoch: batch.readInt16BE(51), sequence: batch.readInt32BE(53) },
    compression,
    isTransactional: (attributes & TRANSACTIONAL) !== 0,
    isControl: (attributes & CONTROL) !== 0,
    firstMs: Number(batch.readBigInt64BE(27)),
    appendedMs: (attributes & LOG_APPEND_TIME) === 0 ? undefined : Number(batch.readBigInt64BE(35)),
    payload: batch.subarray(BATCH_HEADER),
  }
}

/** `corrupt`/`log-corrupt` at an offset of a topic. */
export function corruptBatch({ topic, partition }: TopicPlace, offset: number, what: string): MillraceError {
  return new MillraceError(
    'corrupt',
    'log-corrupt',
    `Topic '${topic}', partition ${partition}: the batch at offset ${offset} is damaged: ${what}.`,
    {
      hint: 'Look at the disks of the broker that leads the partition; let a replica that is whole lead it.',
      context: { topic, partition, offset },
    },
  )
}

function oldFormat({ topic, partition }: TopicPlace, offset: number): MillraceError {
  return new MillraceError(
    'invalid',
    'old-record-format',
    `Topic '${topic}', partition ${partition}: offset ${offset} is in a record format older than Kafka 0.11.`,
    {
      hint: 'Copy the topic with a current producer, or begin behind its old records.',
      context: { topic, partition, offset },
    },
  )
}

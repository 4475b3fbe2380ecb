import { deflateRawSync, inflateRawSync, zstdDecompressSync } from 'node:zlib'
import avsc from 'avsc'
import { MillraceError, messageOf } from '../base/errors.ts'
import { unpooled } from './cache.ts'

/** An Avro schema in JSON. Longs marked `{ type: 'long', wide: true }` are bigint in values, the others are number. */
export type AvroSchema = string | readonly AvroSchema[] | { readonly [key: string]: unknown }

const MAGIC = Buffer.from([0x4f, 0x62, 0x6a, 1])
const SYNC_BYTES = 16

const wideLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer(value: bigint) {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: (value: number | string) => BigInt(value),
  toJSON: (value: bigint) => value.toString(),
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

/** Compiles a schema. */
export function avroType(schema: AvroSchema): avsc.Type {
  return avsc.Type.forSchema(schema as avsc.Schema, {
    wrapUnions: 'never',
    omitRecordMethods: true,
    typeHook: (part) => (typeof part === 'object' && 'wide' in part ? wideLong : undefined),
  })
}

/** The schema as other readers see it: without our marks, primitive types by their bare names. */
export function publicSchema(schema: AvroSchema): string {
  return JSON.stringify(schema, (_key, value: unknown) => {
    if (typeof value !== 'object' || value === null || !('wide' in value)) return value
    const { wide: _wide, ...rest } = value
    return Object.keys(rest).length === 1 ? 'long' : rest
  })
}

/** How one record of a file is read from a block: its value, and the offset after it (negative when it is cut short). */
export type RecordReader<T> = (block: Buffer, at: number) => { value: T; offset: number }

/**
 * An Avro object container file (spec 1.12, "Object Container Files") of one deflated block, from records that are
 * encoded already. `schema` is their schema in public form, `sync` 16 random bytes.
 */
export function encodeAvro(
  schema: string,
  records: readonly Uint8Array[],
  count: number,
  metadata: Readonly<Record<string, string>>,
  sync: Uint8Array,
): Buffer {
  const entries = Object.entries({ 'avro.schema': schema, 'avro.codec': 'deflate', ...metadata })
  const parts: Uint8Array[] = [MAGIC, varint(entries.length)]
  for (const [key, value] of entries) parts.push(text(key), text(value))
  parts.push(varint(0), sync)
  if (count > 0) {
    const block = deflateRawSync(Buffer.concat(records), { level: 1 })
    parts.push(varint(count), varint(block.length), block, sync)
  }
  return Buffer.concat(parts)
}

/**
 * The records of an Avro container file, and their size uncompressed. `readerOf` gives the reader for the writer's
 * schema. Throws `corrupt` / `bad-avro` naming `path`.
 */
export function decodeAvro<T>(
  bytes: Buffer,
  path: string,
  readerOf: (schema: string) => RecordReader<T>,
): { records: T[]; size: number } {
  try {
    if (!bytes.subarray(0, 4).equals(MAGIC)) throw new Error('the file does not begin as an Avro file')
    const reader = { bytes, at: 4 }
    const metadata = readMetadata(reader)
    const sync = take(reader, SYNC_BYTES)
    const read = readerOf(metadata['avro.schema'] ?? '')
    const records: T[] = []
    let size = 0
    while (reader.at < bytes.length) {
      const count = readVarint(reader)
      const block = inflate(take(reader, readVarint(reader)), metadata['avro.codec'] ?? 'null')
      if (!take(reader, SYNC_BYTES).equals(sync)) throw new Error(`the sync marker before byte ${reader.at} is wrong`)
      for (let i = 0, at = 0; i < count; i++) {
        const { value, offset } = read(block, at)
        if (offset < 0) throw new Error(`record ${records.length} is cut short`)
        records.push(value)
        at = offset
      }
      size += block.length
    }
    return { records, size }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw new MillraceError('corrupt', 'bad-avro', `${path} is not a readable Avro file: ${messageOf(error)}.`, {
      hint: 'Restore the file from a backup; every snapshot that refers to it is affected.',
      context: { path },
      cause: error,
    })
  }
}

const COMPILED_MAX = 64

/** Remembers what was made for the last few schemas: making it costs a millisecond, and the files of a table share theirs. */
export function perSchema<T>(make: (schema: string) => T): (schema: string) => T {
  const made = new Map<string, T>()
  return (schema) => {
    let one = made.get(schema)
    if (one === undefined) {
      if (made.size >= COMPILED_MAX) made.clear()
      made.set(schema, (one = make(schema)))
    }
    return one
  }
}

function inflate(block: Buffer, codec: string): Buffer {
  switch (codec) {
    case 'null':
      return block
    // Copied, because zlib's output is a part of a larger buffer, which a cached record would hold on to.
    case 'deflate':
      return unpooled(inflateRawSync(block))
    case 'zstandard':
      return unpooled(zstdDecompressSync(block))
    default:
      throw new Error(`its codec ${codec} is not supported`)
  }
}

interface Reader {
  readonly bytes: Buffer
  at: number
}

function readMetadata(reader: Reader): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (let count = readVarint(reader); count !== 0; count = readVarint(reader)) {
    // A negative count comes with the block's size, for readers that skip.
    if (count < 0) readVarint(reader)
    for (let i = Math.abs(count); i > 0; i--) {
      const key = take(reader, readVarint(reader)).toString('utf8')
      metadata[key] = take(reader, readVarint(reader)).toString('utf8')
    }
  }
  return metadata
}

function take(reader: Reader, length: number): Buffer {
  if (length < 0 || reader.at + length > reader.bytes.length) throw new Error('it is cut short')
  const part = reader.bytes.subarray(reader.at, reader.at + length)
  reader.at += length
  return part
}

function readVarint(reader: Reader): number {
  let value = 0n
  for (let shift = 0n; ; shift += 7n) {
    const byte = take(reader, 1)[0]!
    value |= BigInt(byte & 0x7f) << shift
    if (byte < 0x80) break
  }
  return Number((value >> 1n) ^ -(value & 1n))
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt(value) << 1n
  if (value < 0) rest = ~rest
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8')
  return Buffer.concat([varint(bytes.length), bytes])
}

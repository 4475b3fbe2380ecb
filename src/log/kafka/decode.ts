import { isUtf8 } from 'node:buffer'
import type { AbortedTransaction } from './aborted.ts'
import { AbortedBatches } from './aborted.ts'
import type { BatchView, Compression, Crc32c, TopicPlace } from './batch.ts'
import { APPEND_HEADER, batchesOf, corruptBatch } from './batch.ts'
import { lineOf } from './lines.ts'
import { VarintReader } from './varint.ts'

/** Records with consecutive offsets that arrived together and came from one source: what becomes a frame. */
export interface Run {
  /** Offset of the first. */
  readonly offset: number
  readonly records: number
  /** Complete lines. */
  readonly lines: Buffer
  readonly atMs: number
  readonly mark: unknown
}

/** What an append says of itself in a record header. */
export interface AppendNote {
  readonly records: number
  readonly key?: string
  readonly mark?: unknown
}

export interface Decoded {
  readonly runs: readonly Run[]
  /** Offset to fetch next: after the last whole batch. */
  readonly next: number
  readonly notes: readonly { readonly offset: number; readonly note: AppendNote }[]
  /** Records without a value, which are passed over. */
  readonly tombstones: number
  /** Schemas that are to be loaded before this is decoded again: what it says is not to be used then. */
  readonly missing: ReadonlySet<string>
}

export interface Codec {
  readonly crc32c: Crc32c
  decompress(by: Compression, bytes: Buffer): Buffer
  /** Reads values that are not text themselves, where there may be any. */
  readonly values?: ValueReader
}

/** Turns values that were written with a schema into lines. */
export interface ValueReader {
  /**
   * The line of a value, there until the next call; `header` is its record's `SCHEMA_HEADER`. Undefined when the value is text itself, or when
   * its schema has to be loaded first, which is then added to `missing`.
   */
  text(value: Buffer, header: Buffer | undefined, missing: Set<string>): Buffer | undefined
  /** Loads schemas. Errors: `unavailable` ones pass by themselves. */
  load(missing: ReadonlySet<string>): Promise<void>
}

export interface FetchedBytes extends TopicPlace {
  readonly bytes: Buffer
  /** Records below were had before. */
  readonly from: number
  readonly aborted: readonly AbortedTransaction[]
}

/** Room for the lines of one fetch after the other: new room each time would keep the garbage collector busy. */
export class Arena {
  #bytes = Buffer.alloc(0)
  #used = 0
  #wanted = 0

  /** What was taken is taken back. */
  reset(): void {
    if (this.#wanted > this.#bytes.length) this.#bytes = Buffer.allocUnsafe(Math.ceil(this.#wanted * 1.25))
    this.#used = this.#wanted = 0
  }

  take(bytes: number): Buffer {
    this.#wanted += bytes
    if (this.#used + bytes > this.#bytes.length) return Buffer.allocUnsafe(bytes)
    this.#used += bytes
    return this.#bytes.subarray(this.#used - bytes, this.#used)
  }
}

/** Within a batch, arrivals this close, ms, count as one: else each record of a slow producer would be a frame. */
const ARRIVAL_MS = 100
const NEWLINE = 10
const RETURN = 13
const NOTE_NAME = Buffer.from(APPEND_HEADER)
/** Name of the record header in which newer clients of a schema registry name a value's schema. */
const SCHEMA_HEADER = Buffer.from('__value_schema_id')
/** No text begins with such a byte: values with a schema may. */
const FRAMED_MAX = 1

/**
 * The committed records of fetched bytes as lines, in one pass. Runs depend on what the topic holds alone, not on how it was
 * fetched, but that a run may begin later when `from` lies within it. Lines are in the arena: there until the next call with it.
 *
 * Errors: those of `batchesOf`; `corrupt`/`log-corrupt` where a batch cannot be decompressed or read.
 */
export function decodeRecords(fetched: FetchedBytes, codec: Codec, arena = new Arena()): Decoded {
  arena.reset()
  const visible = new AbortedBatches(fetched.aborted)
  const decoded = {
    runs: [] as Run[],
    next: fetched.from,
    notes: [] as Decoded['notes'][number][],
    tombstones: 0,
    missing: new Set<string>(),
  }
  for (const batch of batchesOf(fetched.bytes, fetched, codec.crc32c)) {
    decoded.next = Math.max(decoded.next, batch.to)
    // A fetch begins with the batch that holds its offset: one wholly below says nothing new, but a marker ends its transaction.
    if (!visible.isVisible(batch) || batch.records === 0 || batch.to <= fetched.from) continue
    try {
      new BatchDecoder(batch, payloadOf(batch, codec), fetched.from, codec.values, arena).decode(decoded)
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause
      throw corruptBatch(fetched, batch.from, cause.message)
    }
  }
  return decoded
}

function payloadOf({ compression, payload }: BatchView, codec: Codec): Buffer {
  if (compression === 'none') return payload
  try {
    return codec.decompress(compression, payload)
  } catch (cause) {
    throw new RangeError(`it cannot be decompressed (${compression})`, { cause })
  }
}

interface Output {
  readonly runs: Run[]
  readonly notes: { offset: number; note: AppendNote }[]
  tombstones: number
  readonly missing: Set<string>
}

class BatchDecoder {
  readonly #batch: BatchView
  readonly #payload: Buffer
  readonly #from: number
  readonly #values: ValueReader | undefined
  readonly #arena: Arena
  /** Lines so far. Records are longer than their lines, unless a value had to be changed. */
  #out: Buffer
  #length = 0
  /** The run that is being gathered: where it began, and its first offset. */
  #runStart = 0
  #runOffset = 0
  #runRecords = 0
  #runMs = 0
  /** Offset after the record before. */
  #following = -1
  #mark: unknown
  /** Offset after the records that the mark is for. */
  #markTo = 0

  constructor(batch: BatchView, payload: Buffer, from: number, values: ValueReader | undefined, arena: Arena) {
    this.#batch = batch
    this.#payload = payload
    this.#from = from
    this.#values = values
    this.#arena = arena
    this.#out = arena.take(payload.length)
  }

  decode(output: Output): void {
    const whole = output.runs.length
    const before = { notes: output.notes.length, tombstones: output.tombstones }
    this.#records(output, false)
    // Rarely is anything else among them: then each value is looked at for itself.
    const lines = this.#out.subarray(0, this.#length)
    if (isUtf8(lines) && !lines.includes(RETURN)) return
    output.runs.length = whole
    output.notes.length = before.notes
    output.tombstones = before.tombstones
    this.#out = this.#arena.take(this.#payload.length)
    this.#length = this.#runStart = this.#runRecords = 0
    this.#following = -1
    this.#mark = undefined
    this.#records(output, true)
  }

  #records(output: Output, exact: boolean): void {
    const { records, from: base, firstMs, appendedMs } = this.#batch
    const reader = new VarintReader(this.#payload)
    for (let i = 0; i < records; i++) {
      const end = reader.int() + reader.at
      if (end > this.#payload.length) throw new RangeError('a record goes beyond its end')
      reader.at++
      const sinceMs = reader.long()
      const offset = base + reader.int()
      const keyBytes = reader.int()
      if (keyBytes > 0) reader.at += keyBytes
      const valueBytes = reader.int()
      const valueAt = reader.at
      if (valueBytes > 0) reader.at += valueBytes
      const headers = reader.int()
      const schema = headers > 0 ? this.#note(reader, headers, offset, output) : undefined
      reader.at = end
      if (valueBytes < 0) {
        if (offset >= this.#from) output.tombstones++
        continue
      }
      this.#place(offset, appendedMs ?? firstMs + sinceMs, output)
      if (offset < this.#from) continue
      this.#add(valueAt, valueBytes, schema, exact, output.missing)
      this.#runRecords++
    }
    this.#endRun(output)
  }

  /** Begins a run where the one before does not go on. Records below `from` count too: a run's arrival must not depend on it. */
  #place(offset: number, atMs: number, output: Output): void {
    const isMarked = offset < this.#markTo
    const goesOn =
      offset === this.#following && Math.abs(atMs - this.#runMs) < ARRIVAL_MS && (isMarked || this.#mark === undefined)
    this.#following = offset + 1
    if (!goesOn) {
      this.#endRun(output)
      if (!isMarked) this.#mark = undefined
      this.#runMs = atMs
    }
    if (this.#runRecords === 0) this.#runOffset = offset
  }

  #endRun({ runs }: Output): void {
    if (this.#runRecords === 0) return
    runs.push({
      offset: this.#runOffset,
      records: this.#runRecords,
      lines: this.#out.subarray(this.#runStart, this.#length),
      atMs: this.#runMs,
      mark: this.#mark,
    })
    this.#runStart = this.#length
    this.#runRecords = 0
  }

  #add(at: number, bytes: number, schema: Buffer | undefined, exact: boolean, missing: Set<string>): void {
    if (this.#values !== undefined && (schema !== undefined || this.#payload[at]! <= FRAMED_MAX)) {
      const line = this.#values.text(this.#payload.subarray(at, at + bytes), schema, missing)
      if (line !== undefined) return this.#addLine(line)
    }
    const end = this.#length + bytes
    if (!exact && end < this.#out.length && this.#payload[at]! > 0x20) {
      this.#payload.copy(this.#out, this.#length, at, at + bytes)
      this.#out[end] = NEWLINE
      if (this.#out.indexOf(NEWLINE, this.#length) === end) {
        this.#length = end + 1
        return
      }
    }
    this.#addLine(lineOf(this.#payload.subarray(at, at + bytes)))
  }

  #addLine(line: Buffer): void {
    const needed = this.#length + line.length + 1
    if (needed > this.#out.length) {
      // Runs that have ended keep the buffer they are part of.
      const larger = Buffer.allocUnsafe(2 * needed + this.#payload.length)
      this.#out.copy(larger, 0, 0, this.#length)
      this.#out = larger
    }
    this.#length += line.copy(this.#out, this.#length)
    this.#out[this.#length++] = NEWLINE
  }

  /** Reads a record's headers; returns the one that names its schema. */
  #note(reader: VarintReader, headers: number, offset: number, output: Output): Buffer | undefined {
    let schema: Buffer | undefined
    for (let i = 0; i < headers; i++) {
      const nameBytes = reader.int()
      const name = this.#payload.subarray(reader.at, (reader.at += nameBytes))
      const valueBytes = reader.int()
      const value = this.#payload.subarray(reader.at, (reader.at += Math.max(0, valueBytes)))
      if (name.equals(SCHEMA_HEADER)) schema = value
      if (!name.equals(NOTE_NAME)) continue
      const note = parseNote(value)
      if (note === undefined) continue
      output.notes.push({ offset, note })
      if (note.mark === undefined) continue
      // A new mark ends the run before it, whatever that was for.
      this.#endRun(output)
      this.#following = -1
      this.#mark = note.mark
      this.#markTo = offset + note.records
    }
    return schema
  }
}

/** A header of that name may be anybody's. */
function parseNote(value: Buffer): AppendNote | undefined {
  try {
    const note = JSON.parse(value.toString('utf8')) as AppendNote | null
    return typeof note === 'object' && note !== null && Number.isSafeInteger(note.records) ? note : undefined
  } catch {
    return undefined
  }
}

import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { MillraceError, assert } from '../../base/errors.ts'
import type { Disk, DiskFile } from '../../storage/disk.ts'
import { encodeHeader } from '../local/frame.ts'
import type { Frame, Segment } from '../log.ts'
import type { Run } from './decode.ts'

/** A frame, and where its records are in the file. */
interface StoredFrame extends Frame {
  readonly position: number
  readonly bytes: number
}

interface StoredSegment {
  readonly path: string
  readonly from: number
  /** Offset after the last record, or after the gap behind it. */
  to: number
  bytes: number
  lines: number
  records: number
  readonly frames: StoredFrame[]
}

interface Tail {
  readonly segment: StoredSegment
  readonly file: DiskFile
}

const NEWLINE = 10

/**
 * Fetched records of one partition as segment files (docs/formats/log.md), a frame for each run. They are a copy of what the topic
 * has: never synced, and thrown away once nobody needs them. Segments follow each other without a hole; gaps between
 * offsets are between frames. Calls that write come one at a time.
 */
export class SegmentCache {
  readonly #disk: Disk
  readonly #directory: string
  readonly #partition: number
  #sealed: StoredSegment[] = []
  #tail: Tail | undefined
  #files = 0
  /** Every segment whose file is there, by path. */
  readonly #byPath = new Map<string, StoredSegment>()
  /** Who keeps files, and files out of use with those who kept them at that time. */
  readonly #holders = new Set<symbol>()
  #retired: { readonly path: string; readonly holders: Set<symbol> }[] = []
  /** Offset at which the next segment begins: where the last one ended. */
  #next: number
  /** Offset up to which all is here. */
  #to: number

  constructor(disk: Disk, directory: string, partition: number, from: number) {
    this.#disk = disk
    this.#directory = directory
    this.#partition = partition
    this.#next = this.#to = from
  }

  /** Where what is here begins. */
  get from(): number {
    return this.#sealed[0]?.from ?? this.#next
  }

  /** Offset up to which records, or gaps, are here. */
  get to(): number {
    return this.#to
  }

  /** Bytes on disk, of what is in use. */
  get bytes(): number {
    return this.bytesFrom(0)
  }

  /** Bytes of segments that hold something at or after an offset. */
  bytesFrom(offset: number): number {
    const sealed = this.#sealed.filter(({ to }) => to > offset)
    return sealed.reduce((sum, { bytes }) => sum + bytes, this.tailBytes)
  }

  /** Bytes of the file that is written to. */
  get tailBytes(): number {
    return this.#tail?.segment.bytes ?? 0
  }

  /** Adds runs; what lies between them and up to `to` is a gap. */
  async add(runs: readonly Run[], to: number): Promise<void> {
    if (runs.length > 0) {
      const { segment, file } = (this.#tail ??= await this.#begin())
      const buffers: Uint8Array[] = []
      for (const run of runs) buffers.push(this.#frame(segment, run), run.lines)
      await file.writeAll(buffers)
    }
    this.#to = to
    if (this.#tail !== undefined) this.#tail.segment.to = to
  }

  /** Closes the file that is written to. With `to`, the gap up to there becomes a segment without records when there is none. */
  async seal(covered?: number): Promise<void> {
    if (this.#tail === undefined && covered !== undefined && this.#next < covered) await this.#addEmpty(covered)
    const tail = this.#tail
    if (tail === undefined) return
    this.#tail = undefined
    await tail.file.close()
    this.#sealed.push(tail.segment)
    this.#next = tail.segment.to
  }

  /** Sealed segments with records at or after `from`. */
  segments(from: number): Segment[] {
    return this.#sealed.filter(({ to }) => to > from).map((segment) => this.#view(segment))
  }

  has({ path }: Segment): boolean {
    return this.#byPath.has(path)
  }

  frames({ path }: Segment): readonly Frame[] {
    return this.#stored(path).frames.map(({ offset, records, line, atMs, mark }) =>
      mark === undefined ? { offset, records, line, atMs } : { offset, records, line, atMs, mark },
    )
  }

  /** The exact bytes of records, in the order asked. Errors: `invalid`/`not-in-segment`. */
  async readRecords(segment: Segment, offsets: readonly number[]): Promise<Buffer[]> {
    const { frames } = this.#stored(segment.path)
    const found = new Map<number, Buffer>()
    const file = await this.#disk.open(segment.path, 'read')
    try {
      for (const offset of [...new Set(offsets)].sort((a, b) => a - b)) {
        if (found.has(offset)) continue
        const frame = frames.find(
          (candidate) => offset >= candidate.offset && offset < candidate.offset + candidate.records,
        )
        if (frame === undefined) throw notInSegment(segment, offset)
        const wanted = offsets.filter((own) => own >= frame.offset && own < frame.offset + frame.records)
        linesAt(await file.read(frame.position, frame.bytes), frame.offset, wanted, found)
      }
    } finally {
      await file.close()
    }
    return offsets.map((offset) => found.get(offset)!)
  }

  /** Keeps the files that are here now until the returned function is called. */
  hold(): () => void {
    const holder = Symbol('hold')
    this.#holders.add(holder)
    return () => {
      if (!this.#holders.delete(holder)) return
      for (const { holders } of this.#retired) holders.delete(holder)
      // What cannot be removed now is removed with the directory.
      void this.#sweep().catch(() => undefined)
    }
  }

  /** Forgets segments that end at or below `offset`. */
  async retire(offset: number): Promise<void> {
    const out = this.#sealed.filter(({ to }) => to <= offset)
    this.#sealed = this.#sealed.filter(({ to }) => to > offset)
    for (const { path } of out) this.#retired.push({ path, holders: new Set(this.#holders) })
    await this.#sweep()
  }

  /** Forgets everything and goes on from another offset. */
  async restart(from: number): Promise<void> {
    await this.seal()
    await this.retire(Infinity)
    this.#next = this.#to = from
  }

  async #begin(): Promise<Tail> {
    const from = this.#next
    const path = join(this.#directory, `${String(from).padStart(16, '0')}-${this.#files++}.ndjson`)
    const segment: StoredSegment = { path, from, to: from, bytes: 0, lines: 0, records: 0, frames: [] }
    const file = await this.#disk.open(path, 'create')
    this.#byPath.set(path, segment)
    return { segment, file }
  }

  async #addEmpty(to: number): Promise<void> {
    this.#tail = await this.#begin()
    const { segment, file } = this.#tail
    const empty = { offset: segment.from, records: 0, lines: Buffer.alloc(0), atMs: 0, mark: undefined }
    await file.write(this.#frame(segment, empty))
    segment.to = to
  }

  /** Notes a frame and returns its header. */
  #frame(segment: StoredSegment, { offset, records, lines, atMs, mark }: Run): Buffer {
    const header = encodeHeader({
      offset,
      records,
      bytes: lines.length,
      atMs,
      key: undefined,
      markJson: mark === undefined ? undefined : JSON.stringify(mark),
      crc: crc32(lines),
      write: offset,
    })
    const position = segment.bytes + header.length
    segment.frames.push({ offset, records, line: segment.lines, atMs, mark, position, bytes: lines.length })
    segment.bytes = position + lines.length
    segment.lines += 1 + records
    segment.records += records
    return header
  }

  #stored(path: string): StoredSegment {
    const segment = this.#byPath.get(path)
    assert(segment !== undefined, 'a segment is asked for while its file is held')
    return segment
  }

  #view({ path, from, to, bytes }: StoredSegment): Segment {
    return { partition: this.#partition, path, compression: 'none', from, to, bytes, rawBytes: bytes }
  }

  async #sweep(): Promise<void> {
    const free = this.#retired.filter(({ holders }) => holders.size === 0)
    this.#retired = this.#retired.filter(({ holders }) => holders.size > 0)
    for (const { path } of free) {
      this.#byPath.delete(path)
      await this.#disk.remove(path)
    }
  }
}

/** Finds the lines of records, whose offsets ascend, in a frame's payload. */
function linesAt(payload: Buffer, first: number, offsets: readonly number[], found: Map<number, Buffer>): void {
  const wanted = new Set(offsets)
  for (let at = 0, offset = first; at < payload.length && wanted.size > 0; offset++) {
    const end = payload.indexOf(NEWLINE, at)
    if (wanted.delete(offset)) found.set(offset, Buffer.from(payload.subarray(at, end)))
    at = end + 1
  }
}

function notInSegment({ path, from, to }: Segment, offset: number): MillraceError {
  return new MillraceError(
    'invalid',
    'not-in-segment',
    `${path} holds offsets ${from} to ${to - 1}, and not ${offset} among them.`,
  )
}

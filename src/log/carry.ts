import { createHash } from 'node:crypto'
import { MillraceError } from '../base/errors.ts'
import type { Disk } from '../storage/disk.ts'
import { rawChunks } from './local/read.ts'
import type { Frame, PartitionLog, RecordBatch, Segment, StreamLog } from './log.ts'

/** What a range of a partition holds. */
export interface LogContent {
  readonly records: number
  /** SHA-256 of the records' lines, in order. */
  readonly digest: string
}

/** Appends under way at once: as many as go out together. */
const WINDOW_BYTES = 1024 * 1024
const WINDOW_APPENDS = 512
const FILLER_RECORDS = 50_000
const NEWLINE = 10

/**
 * Appends to `target` what `source` holds and `target` does not yet, so that each record has the same offset in both, with its time and its
 * mark. Where `target` ends is where an earlier call stopped. Offsets that retention has removed from `source` are filled, and removed there too.
 *
 * Errors: `conflict`/`log-diverged` when a record gets another offset; `invalid`/`log-retained`; those of both logs.
 */
export async function carryPartition(
  stream: string,
  source: PartitionLog,
  target: PartitionLog,
  disk: Disk,
): Promise<void> {
  if (source.start > 0) await fillBelow(stream, source.start, target)
  if (target.end >= source.end) return
  const sender = new Sender(stream, target)
  const from = target.end
  for await (const { offset, lines, records, atMs, mark } of framesOf(source, disk, from, source.end)) {
    // Marks of what held no record follow: some logs would give them an offset.
    if (records === 0) continue
    await sender.send(offset, { lines, records, atMs, ...(mark === undefined ? {} : { source: mark }) })
  }
  await sender.sent()
}

/** Appends the marks of appends without records, those that are not there. They are known by themselves, not by where they are. */
export async function carryEmptyMarks(source: StreamLog, target: StreamLog): Promise<void> {
  const known = new Set(target.marks().map(({ mark }) => JSON.stringify(mark)))
  for (const { partition, offset, to, mark } of source.marks()) {
    if (offset !== to || known.has(JSON.stringify(mark))) continue
    await target.partitions[partition]!.append({ lines: [], records: 0, source: mark })
  }
}

/** What the records of [from, to) are. */
export async function contentOf(log: PartitionLog, disk: Disk, from: number, to: number): Promise<LogContent> {
  const hash = createHash('sha256')
  let records = 0
  for await (const frame of framesOf(log, disk, from, to)) {
    hash.update(frame.lines)
    records += frame.records
  }
  return { records, digest: hash.digest('hex') }
}

/** Sends appends in order, some at once, and makes sure that each begins where it should. */
class Sender {
  readonly #stream: string
  readonly #target: PartitionLog
  #window: { readonly offset: number; readonly batch: RecordBatch }[] = []
  #bytes = 0

  constructor(stream: string, target: PartitionLog) {
    this.#stream = stream
    this.#target = target
  }

  async send(offset: number, batch: RecordBatch & { readonly lines: Buffer }): Promise<void> {
    this.#window.push({ offset, batch })
    this.#bytes += batch.lines.length
    if (this.#bytes >= WINDOW_BYTES || this.#window.length >= WINDOW_APPENDS) await this.sent()
  }

  async sent(): Promise<void> {
    const window = this.#window.splice(0)
    this.#bytes = 0
    const results = await Promise.allSettled(window.map(({ batch }) => this.#target.append(batch)))
    for (const [i, result] of results.entries()) {
      if (result.status === 'rejected') throw result.reason
      if (result.value.from !== window[i]!.offset) throw diverged(this.#stream, this.#target, window[i]!.offset)
    }
  }
}

/** Records that nobody reads, older than any, take the offsets below `start`, and go. */
async function fillBelow(stream: string, start: number, target: PartitionLog): Promise<void> {
  if (target.start === start) return
  const sender = new Sender(stream, target)
  while (target.end < start) {
    const records = Math.min(FILLER_RECORDS, start - target.end)
    await sender.send(target.end, { lines: Buffer.from('{}\n'.repeat(records)), records, atMs: 0 })
    await sender.sent()
  }
  target.checkpointed(start)
  if ((await target.retain({ ageMs: 0 })) === start) return
  throw new MillraceError(
    'invalid',
    'log-retained',
    `The log of stream '${stream}', partition ${target.partition}, begins at ${start}, and the target's cannot.`,
    {
      hint: 'Kafka can where the stream loads no files. Report this, or begin anew on the target.',
      context: { stream },
    },
  )
}

interface CarriedFrame extends Frame {
  /** Its records, complete lines. */
  readonly lines: Buffer
}

/** The frames of [from, to) with their records; those that reach over are cut. */
async function* framesOf(log: PartitionLog, disk: Disk, from: number, to: number): AsyncGenerator<CarriedFrame> {
  if (from >= to) return
  for await (const segment of log.segments(from, to)) {
    const frames = (await log.frames(segment)).filter((frame) => frame.offset < to)
    for await (const frame of linesOf(disk, segment, frames)) {
      const skipped = Math.max(0, from - frame.offset)
      const records = Math.min(frame.records, to - frame.offset) - skipped
      if (skipped === 0 && records === frame.records) yield frame
      else if (records > 0)
        yield { ...frame, offset: frame.offset + skipped, records, lines: cut(frame.lines, skipped, records) }
    }
  }
}

/** Lines [skipped, skipped + count). */
function cut(lines: Buffer, skipped: number, count: number): Buffer {
  let [from, at] = [0, 0]
  for (let line = 0; line < skipped + count; line++) {
    if (line === skipped) from = at
    at = lines.indexOf(NEWLINE, at) + 1
  }
  return lines.subarray(from, at)
}

/** Each frame of a segment with its lines: as many as it has records, behind its header. */
async function* linesOf(disk: Disk, segment: Segment, frames: readonly Frame[]): AsyncGenerator<CarriedFrame> {
  let rest: Buffer = Buffer.alloc(0)
  let [next, line, scanned, start] = [0, 0, 0, 0]
  for await (const chunk of rawChunks(disk, segment)) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    for (let end = rest.indexOf(NEWLINE, scanned); end !== -1; end = rest.indexOf(NEWLINE, scanned)) {
      scanned = end + 1
      const frame = frames[next]
      if (frame === undefined) return
      if (line === frame.line) start = scanned
      if (line === frame.line + frame.records) {
        yield { ...frame, lines: Buffer.from(rest.subarray(start, scanned)) }
        next++
      }
      line++
    }
    // What was handed over goes; the start of the frame under way stays.
    const keep = frames[next] !== undefined && line > frames[next]!.line ? start : scanned
    rest = rest.subarray(keep)
    scanned -= keep
    start -= keep
  }
}

function diverged(stream: string, target: PartitionLog, offset: number): MillraceError {
  return new MillraceError(
    'conflict',
    'log-diverged',
    `Stream '${stream}', partition ${target.partition}: the record at offset ${offset} got another one in the target.`,
    {
      hint: 'Something else was written there meanwhile. Delete the topics and the lake of the target, and migrate again.',
      context: { stream, partition: target.partition, offset },
    },
  )
}

import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import { crcOf, hex } from '../local/frame.ts'
import type { Appended, Frame, PartitionLog, RecordBatch, Retention, Segment, Verification } from '../log.ts'
import type { BatchAppend } from './batch.ts'
import { SegmentCache } from './cache.ts'
import type { AppendNote } from './decode.ts'
import { KeyedAppends } from './keyed.ts'
import { MarkList } from './marks.ts'
import { deleteBelow, offsetAt, offsetsOf } from './offsets.ts'
import type { ProducerOptions } from './producer.ts'
import { PartitionProducer } from './producer.ts'
import { PartitionReader } from './reader.ts'
import type { RequestStore } from './requests.ts'
import type { Part, TopicReader } from './scan.ts'
import { scanTopic } from './scan.ts'

export interface KafkaPartitionOptions extends TopicReader {
  readonly place: ProducerOptions['place']
  readonly compression: ProducerOptions['compression']
  readonly batchBytes: number
  /** The topic is somebody else's: its records are theirs to remove. */
  readonly foreign: boolean
  /** Source marks are kept, and with them the records that carry them. */
  readonly keepsMarks: boolean
  readonly start: number
  readonly end: number
  readonly requests: RequestStore
  readonly disk: Disk
  /** For segment files of this partition; empty. */
  readonly directory: string
  /** Keys for the records of these lines. */
  keysOf(lines: Buffer): BatchAppend['keys']
  /** The end has moved because of records that came. Without it nothing is read before `take`. */
  readonly onGrown: ((partition: number) => void) | undefined
  onFatal(error: MillraceError): void
}

/** What a record is taken to weigh before any was read, bytes. */
const RECORD_BYTES_GUESS = 200

/** A partition of a topic as a partition of a log. Offsets are those of the topic: they ascend, with gaps. */
export class KafkaPartition implements PartitionLog {
  readonly partition: number
  readonly marks: MarkList
  readonly #options: KafkaPartitionOptions
  readonly #producer: PartitionProducer
  readonly #keyed: KeyedAppends
  readonly #cache: SegmentCache
  readonly #reader: PartitionReader
  /** The caches of ranges that are read again. */
  readonly #scans = new Set<SegmentCache>()
  #scanned = 0
  #start: number
  #end: number
  #checkpoint: number
  #told = false
  /** What was read, for what a record weighs. */
  readonly #weighed = { records: 0, bytes: 0 }
  /** Records without a value that were passed over. */
  tombstones = 0

  constructor(options: KafkaPartitionOptions) {
    const { place, disk, directory, start, end, requests, limits } = options
    this.#options = options
    this.partition = place.partition
    this.marks = new MarkList(place.partition)
    this.#start = this.#checkpoint = start
    this.#end = end
    this.#producer = new PartitionProducer({
      ...options,
      onAcknowledged: (to) => this.#grow(to),
    })
    this.#keyed = new KeyedAppends({
      stream: place.stream,
      partition: place.partition,
      requests,
      abandonedMs: 2 * (limits.appendMs + limits.requestMs),
      end: () => this.#end,
      send: (append) => this.#producer.append(append),
      find: (key, from) => this.#find(key, from),
    })
    this.#cache = new SegmentCache(disk, directory, place.partition, end)
    this.#reader = new PartitionReader({
      ...options,
      cache: this.#cache,
      onPart: (part) => this.#arrived(part),
      onStuck: (offset) => this.#grow(offset + 1),
    })
  }

  get start(): number {
    return this.#start
  }

  get end(): number {
    return this.#end
  }

  get checkpoint(): number {
    return this.#checkpoint
  }

  /** A process that only appends is never told of checkpoints, and counts what came since it began. */
  get backlogRecords(): number {
    return this.#end - (this.#told ? this.#checkpoint : this.#options.end)
  }

  get backlogBytes(): number {
    const { records, bytes } = this.#weighed
    return Math.round(this.backlogRecords * (records === 0 ? RECORD_BYTES_GUESS : bytes / records))
  }

  get waitingFor(): MillraceError | undefined {
    return this.#reader.waitingFor
  }

  get bytes(): number {
    return this.#cache.bytes
  }

  async append(batch: RecordBatch): Promise<Appended> {
    const { key, records, source } = batch
    if (records === 0 && key === undefined && source === undefined) {
      return { from: this.#end, to: this.#end, repeated: false }
    }
    const lines = joined(batch.lines)
    const note = this.#noteOf(batch)
    const append: BatchAppend = {
      lines,
      records,
      atMs: batch.atMs ?? this.#options.cluster.clock.now(),
      keys: this.#options.keysOf(lines),
      header: note === undefined ? undefined : Buffer.from(JSON.stringify(note)),
    }
    const appended =
      key === undefined
        ? await this.#producer.append(append).answer.then((from) => ({ from, to: from + records, repeated: false }))
        : await this.#keyed.append(key, `${lines.length}-${hex(crcOf([lines]))}`, append)
    if (note?.mark !== undefined) this.marks.add(appended.from, appended.to, note.mark)
    return appended
  }

  async take(from: number): Promise<Segment[]> {
    this.#checkReadable(from)
    if (from === this.#end) return []
    const segments = await this.#reader.take(from, this.#end)
    // The last one may reach over a gap at the end, and its reader as far.
    this.#end = Math.max(this.#end, segments.at(-1)?.to ?? 0)
    return segments
  }

  async *segments(from: number, to = this.#end): AsyncGenerator<Segment> {
    this.#checkReadable(from)
    if (from >= to) return
    const { disk, limits, place } = this.#options
    const directory = `${this.#options.directory}/again-${this.#scanned++}`
    await disk.makeDirectory(directory)
    const cache = new SegmentCache(disk, directory, place.partition, from)
    this.#scans.add(cache)
    try {
      for await (const part of scanTopic(this.#options, from, to, { purpose: 'again' })) {
        await cache.add(part.runs, part.next)
        const isLast = part.next >= to
        if (cache.tailBytes < limits.segmentBytes && !isLast) continue
        await cache.seal(isLast ? part.next : undefined)
        yield* cache.segments(0)
        await cache.retire(part.next)
      }
    } finally {
      await cache.restart(to)
      this.#scans.delete(cache)
      await disk.removeTree(directory)
    }
  }

  async frames(segment: Segment): Promise<readonly Frame[]> {
    return this.#cacheOf(segment).frames(segment)
  }

  readRecords(segment: Segment, offsets: readonly number[]): Promise<Buffer[]> {
    return this.#cacheOf(segment).readRecords(segment, offsets)
  }

  async offsetAt(atMs: number): Promise<number> {
    return (await offsetAt(this.#options.cluster, this.#options.place, atMs)) ?? this.#end
  }

  hold(): () => void {
    return this.#cache.hold()
  }

  async look(): Promise<void> {
    const { start, end } = await offsetsOf(this.#options.cluster, this.#options.place)
    this.#start = Math.max(this.#start, start)
    this.#grow(end)
  }

  async follow(offset: number): Promise<void> {
    await this.look()
    if (offset > this.#end) throw this.#behind(offset)
    // What goes wrong with files is told as fatal.
    this.#reader.start(offset).catch(() => undefined)
  }

  leave(): Promise<void> {
    return this.#reader.stop()
  }

  checkpointed(offset: number): void {
    if (offset > this.#end) throw this.#behind(offset)
    this.#checkpoint = Math.max(this.#checkpoint, offset)
    this.#told = true
  }

  /** Brokers keep the records: there is nothing to merge. */
  async compact(): Promise<number> {
    return 0
  }

  async retain(policy: Retention): Promise<number> {
    const { foreign, keepsMarks, cluster, place } = this.#options
    if (foreign || keepsMarks) return this.#start
    const wanted = Math.max(await this.#pastAge(policy.ageMs), this.#pastBytes(policy.bytes))
    const below = Math.min(wanted, this.#checkpoint)
    if (below > this.#start) this.#start = await deleteBelow(cluster, place, below)
    return this.#start
  }

  async verify(): Promise<Verification> {
    const seen = { files: 0, frames: 0, records: 0, rawBytes: 0 }
    try {
      for await (const { runs } of scanTopic(this.#options, this.#start, this.#end, { purpose: 'verify' })) {
        seen.frames += runs.length
        for (const { records, lines } of runs) {
          seen.records += records
          seen.rawBytes += lines.length
        }
      }
      return seen
    } catch (error) {
      const corruption = asMillraceError(error)
      if (corruption.kind !== 'corrupt') throw corruption
      return { ...seen, corruption }
    }
  }

  /** Reads the marks of all records there are. */
  async recoverMarks(): Promise<void> {
    for await (const part of scanTopic(this.#options, this.#start, this.#end, { purpose: 'marks' })) this.#note(part)
  }

  async close(): Promise<void> {
    await this.#producer.close()
    await this.#reader.close()
  }

  #arrived(part: Part): void {
    this.#start = Math.max(this.#start, part.start)
    this.tombstones += part.tombstones
    for (const { records, lines } of part.runs) {
      this.#weighed.records += records
      this.#weighed.bytes += lines.length
    }
    this.#note(part)
    const last = part.runs.at(-1)
    this.#grow(last === undefined ? 0 : last.offset + last.records)
    // More is there than one fetch brings: how much tells how far reading is behind.
    if (part.next < part.stable) this.#grow(part.stable)
  }

  #note({ notes }: Part): void {
    for (const { offset, note } of notes) {
      if (note.mark !== undefined) this.marks.add(offset, offset + note.records, note.mark)
    }
  }

  #grow(end: number): void {
    if (end <= this.#end) return
    this.#end = end
    this.#options.onGrown?.(this.partition)
  }

  #noteOf({ key, source, records }: RecordBatch): AppendNote | undefined {
    const { limits, place } = this.#options
    if (key !== undefined && (key.length === 0 || key.length > limits.keyLength)) {
      throw new MillraceError(
        'invalid',
        'bad-key',
        `An idempotency key has 1 to ${limits.keyLength} characters; this one has ${key.length}.`,
      )
    }
    // A copy: what readers are given must be what a restart would give them.
    const mark: unknown = source === undefined || source === null ? undefined : JSON.parse(JSON.stringify(source))
    if (mark !== undefined && Buffer.byteLength(JSON.stringify(mark)) > limits.markBytes) {
      throw new MillraceError(
        'invalid',
        'bad-mark',
        `A source mark for stream '${place.stream}' is longer than ${limits.markBytes} bytes.`,
      )
    }
    if (key === undefined && mark === undefined) return records === 0 ? { records } : undefined
    return { records, ...(key === undefined ? {} : { key }), ...(mark === undefined ? {} : { mark }) }
  }

  /** Looks from an offset on for an append with this key. */
  async #find(key: string, from: number): Promise<{ from: number; to: number } | undefined> {
    const { cluster, place } = this.#options
    const { start, end } = await offsetsOf(cluster, place)
    for await (const { notes } of scanTopic(this.#options, Math.max(start, from), end, { purpose: 'look' })) {
      const found = notes.find(({ note }) => note.key === key)
      if (found) return { from: found.offset, to: found.offset + found.note.records }
    }
    return undefined
  }

  async #pastAge(ageMs: number | undefined): Promise<number> {
    return ageMs === undefined ? 0 : this.offsetAt(this.#options.cluster.clock.now() - ageMs)
  }

  /** About: records are taken to weigh what those read did. */
  #pastBytes(bytes: number | undefined): number {
    if (bytes === undefined || this.#weighed.records === 0) return 0
    return this.#end - Math.floor((bytes * this.#weighed.records) / this.#weighed.bytes)
  }

  #cacheOf(segment: Segment): SegmentCache {
    return [...this.#scans].find((cache) => cache.has(segment)) ?? this.#cache
  }

  #checkReadable(from: number): void {
    if (from > this.#end) throw this.#behind(from)
    if (from >= this.#start) return
    const { stream, topic } = this.#options.place
    throw new MillraceError(
      'invalid',
      'offset-gone',
      `Stream '${stream}', partition ${this.partition}: offset ${from} was removed from topic '${topic}', which starts at ${this.#start}.`,
      {
        hint: 'Start from a later offset, or keep records longer: the retention of the topic removed them.',
        context: { stream, topic, partition: this.partition, offset: from, start: this.#start },
      },
    )
  }

  #behind(offset: number): MillraceError {
    const { stream, topic } = this.#options.place
    return new MillraceError(
      'corrupt',
      'log-behind',
      `Stream '${stream}', partition ${this.partition}: the lake holds records up to offset ${offset}, the log ends at ${this.#end}.`,
      {
        hint: `Topic '${topic}' has lost records, was made anew, or belongs to another lake. Restore it, or name another topic.`,
        context: { stream, topic, partition: this.partition, offset, end: this.#end },
      },
    )
  }
}

function joined(lines: RecordBatch['lines']): Buffer {
  const pieces = [lines].flat().map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength))
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
}

import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Disk } from '../../storage/disk.ts'
import type { Appended, Frame, PartitionLog, RecordBatch, Retention, Segment, Verification } from '../log.ts'
import type { FrameCache, StoredFile } from './files.ts'
import { frameOf, storedHeaders } from './files.ts'
import { headerBytesMax } from './frame.ts'
import type { LogLimits } from './limits.ts'
import { MarkLedger } from './marks.ts'
import { planMerge, temporaryPath, writeMerged } from './merged.ts'
import { indexName } from './names.ts'
import { readRecords, verifyFile } from './scan.ts'
import { SegmentWriter, stopped } from './writer.ts'
import type { Tail, WriterOptions } from './writer.ts'

export interface PartitionState {
  readonly files: readonly StoredFile[]
  readonly marks: MarkLedger
  readonly cache: FrameCache
  readonly writer: Omit<WriterOptions, 'onSealed' | 'onMark'>
  /** Records have been made durable. */
  onGrown(): void
}

/** A partition of the embedded log: sealed files, the segment being written, and what keeps them in order. */
export class LocalPartition implements PartitionLog {
  readonly partition: number
  readonly #place: WriterOptions['place']
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #limits: LogLimits
  readonly #headerMax: number
  readonly #writer: SegmentWriter
  readonly #marks: MarkLedger
  readonly #cache: FrameCache
  readonly #onGrown: () => void
  /** Merging and removing, one at a time. */
  readonly #maintenance = new SerialQueue()
  #files: readonly StoredFile[]
  #checkpoint: number
  #holds = 0
  /**
   * Files out of use, which somebody may still read, in groups to be removed one after the other: a later group must not be
   * gone while an earlier one is back after a power loss.
   */
  readonly #garbage: string[][] = []
  #closed = false

  constructor(state: PartitionState) {
    const { place, disk, clock, limits } = state.writer
    this.partition = place.partition
    this.#place = place
    this.#disk = disk
    this.#clock = clock
    this.#limits = limits
    this.#headerMax = headerBytesMax(limits)
    this.#marks = state.marks
    this.#cache = state.cache
    this.#onGrown = state.onGrown
    this.#files = state.files
    this.#writer = new SegmentWriter({
      ...state.writer,
      onSealed: (tail) => this.#sealed(tail),
      onMark: (from, to, mark) => this.#marks.add(from, to, mark),
    })
    this.#checkpoint = this.start
  }

  get start(): number {
    return this.#files[0]?.from ?? this.#writer.tail?.from ?? this.#writer.end
  }

  get end(): number {
    return this.#writer.end
  }

  get checkpoint(): number {
    return this.#checkpoint
  }

  get backlogRecords(): number {
    return this.end - this.#checkpoint
  }

  get backlogBytes(): number {
    let bytes = 0
    const tail = this.#writer.tail
    if (tail !== undefined) bytes += this.#share(tail)
    for (let i = this.#files.length - 1; i >= 0 && this.#files[i]!.to > this.#checkpoint; i--) {
      const { from, to, rawBytes } = this.#files[i]!
      bytes += this.#share({ from, to, bytes: rawBytes })
    }
    return bytes
  }

  get bytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, this.#writer.tail?.bytes ?? 0)
  }

  get marks(): MarkLedger {
    return this.#marks
  }

  async append(batch: RecordBatch): Promise<Appended> {
    const appended = await this.#writer.append(batch)
    this.#onGrown()
    return appended
  }

  async take(from: number): Promise<Segment[]> {
    this.#checkReadable(from)
    if (this.#writer.failure !== undefined) throw this.#writer.failure
    await this.#writer.seal()
    return this.#sealedFrom(from)
  }

  async *segments(from: number, to = this.end): AsyncGenerator<Segment> {
    this.#checkReadable(from)
    const sealed = this.#files.at(-1)?.to ?? this.start
    const segments = to > sealed ? await this.take(from) : this.#sealedFrom(from)
    yield* segments.filter((segment) => segment.from < to)
  }

  /** Walks the frames from the start: for people, who seldom ask. */
  async offsetAt(atMs: number): Promise<number> {
    const release = this.hold()
    try {
      for await (const segment of this.segments(this.start)) {
        const found = (await this.frames(segment)).find((frame) => frame.atMs >= atMs)
        if (found) return found.offset
      }
      return this.end
    } finally {
      release()
    }
  }

  async frames(segment: Segment): Promise<readonly Frame[]> {
    const cached = this.#cache.get(segment.path)
    if (cached !== undefined) return cached
    const frames = (await storedHeaders(this.#disk, segment, this.#headerMax)).map(frameOf)
    this.#cache.set(segment.path, frames)
    return frames
  }

  readRecords(segment: Segment, offsets: readonly number[]): Promise<Buffer[]> {
    return readRecords(this.#disk, segment, offsets, this.#headerMax)
  }

  hold(): () => void {
    this.#holds++
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#holds--
      // What cannot be removed now is removed with the next garbage, or on open.
      if (this.#garbage.length > 0) void this.#maintenance.run(() => this.#sweep()).catch(() => undefined)
    }
  }

  /** Nobody else appends. */
  async look(): Promise<void> {}

  async follow(offset: number): Promise<void> {
    if (offset > this.end) throw this.#behind(offset)
  }

  async leave(): Promise<void> {}

  checkpointed(offset: number): void {
    if (offset > this.end) throw this.#behind(offset)
    this.#checkpoint = Math.max(this.#checkpoint, offset)
  }

  compact(): Promise<number> {
    return this.#maintenance.run(async () => {
      await this.#sweep()
      let merged = 0
      // Not what comes meanwhile: under load there would be no end to it.
      const end = this.#checkpoint
      for (let run = this.#nextRun(end); run !== undefined && !this.#closed; run = this.#nextRun(end)) {
        await this.#merge(run)
        merged += run.length
      }
      return merged
    })
  }

  retain(policy: Retention): Promise<number> {
    return this.#maintenance.run(async () => {
      await this.#sweep()
      const expired = await this.#expired(policy)
      const last = expired.at(-1)
      if (last === undefined) return this.start
      await this.#vital(() => this.#marks.cover(last.to))
      if (expired.length === this.#files.length) await this.#vital(() => this.#writer.keepOffset())
      this.#replace(expired, [])
      this.#garbage.push(...expired.map(pathsOf))
      await this.#sweep()
      return this.start
    })
  }

  async verify(): Promise<Verification> {
    const release = this.hold()
    const files = [...this.#files]
    const tail = this.#writer.tail
    if (tail !== undefined && tail.bytes > 0) files.push(fileOf(tail))
    const seen = { files: 0, frames: 0, records: 0, rawBytes: 0 }
    try {
      for (const file of files) {
        const { frames, records } = await verifyFile(this.#disk, file, this.#headerMax)
        seen.files++
        seen.frames += frames
        seen.records += records
        seen.rawBytes += file.rawBytes
      }
      await MarkLedger.open(this.#disk, this.#place.directory, this.partition)
      return seen
    } catch (error) {
      const corruption = asMillraceError(error)
      if (corruption.kind !== 'corrupt') throw corruption
      return { ...seen, corruption }
    } finally {
      release()
    }
  }

  /** Ends this partition's life because another one of the stream failed. */
  fail(error: MillraceError): void {
    this.#writer.fail(error)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#writer.close()
    await this.#maintenance.idle()
  }

  #sealed(tail: Tail): void {
    this.#files = [...this.#files, fileOf(tail)]
    this.#cache.set(tail.path, tail.frames)
  }

  #sealedFrom(from: number): Segment[] {
    const first = this.#files.findLastIndex((file) => file.to <= from) + 1
    return this.#files.slice(first).map((file) => ({ partition: this.partition, ...file }))
  }

  /** The part of a file's bytes that its records above the checkpoint make up. */
  #share({ from, to, bytes }: { from: number; to: number; bytes: number }): number {
    if (this.#checkpoint >= to) return 0
    if (this.#checkpoint <= from) return bytes
    return Math.round((bytes * (to - this.#checkpoint)) / (to - from))
  }

  #checkReadable(from: number): void {
    if (from > this.end) throw this.#behind(from)
    if (from >= this.start) return
    throw new MillraceError(
      'invalid',
      'offset-gone',
      `Stream '${this.#place.stream}', partition ${this.partition}: offset ${from} was removed by retention; the log starts at ${this.start}.`,
      {
        hint: 'Start from a later offset, or keep records longer.',
        context: { stream: this.#place.stream, partition: this.partition, offset: from, start: this.start },
      },
    )
  }

  #behind(offset: number): MillraceError {
    return new MillraceError(
      'corrupt',
      'log-behind',
      `Stream '${this.#place.stream}', partition ${this.partition}: the lake holds records up to offset ${offset}, the log ends at ${this.end}.`,
      {
        hint: 'The log has lost records or belongs to another lake. Restore it from a copy.',
        context: { stream: this.#place.stream, partition: this.partition, offset, end: this.end },
      },
    )
  }

  #nextRun(end: number): StoredFile[] | undefined {
    if (this.#writer.failure !== undefined) throw this.#writer.failure
    return planMerge(
      this.#files.filter((file) => file.to <= end),
      this.#limits,
    )
  }

  async #merge(run: readonly StoredFile[]): Promise<void> {
    await this.#vital(() => this.#marks.cover(run.at(-1)!.to))
    const merged = await writeMerged(this.#disk, this.#place.directory, run, {
      level: this.#limits.compressionLevel,
      headerMax: this.#headerMax,
    })
    await this.#vital(() => this.#disk.rename(temporaryPath(merged.path), merged.path))
    this.#replace(run, [merged])
    this.#garbage.push(run.flatMap(pathsOf))
    await this.#sweep()
  }

  /** Work after whose failure nobody knows what is durable: it ends the log's life, as a failed append does. */
  async #vital(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const failure = stopped(asMillraceError(error), this.#place)
      this.#writer.fail(failure)
      throw failure
    }
  }

  /** Oldest files below the checkpoint that a retention policy lets go. */
  async #expired({ ageMs, bytes }: Retention): Promise<StoredFile[]> {
    const expired: StoredFile[] = []
    let held = this.bytes
    for (const file of this.#files) {
      if (file.to > this.#checkpoint) break
      const isOver = bytes !== undefined && held > bytes
      if (!isOver && (ageMs === undefined || (await this.#newestMs(file)) >= this.#clock.now() - ageMs)) break
      expired.push(file)
      held -= file.bytes
    }
    return expired
  }

  async #newestMs(file: StoredFile): Promise<number> {
    const frames = await this.frames({ partition: this.partition, ...file })
    return frames.reduce((newest, { atMs }) => Math.max(newest, atMs), 0)
  }

  /** Puts one file in the place of others, or none, in the list of what there is to read. */
  #replace(old: readonly StoredFile[], replacement: readonly StoredFile[]): void {
    const first = this.#files.indexOf(old[0]!)
    this.#files = this.#files.toSpliced(first, old.length, ...replacement)
    for (const file of old) this.#cache.delete(file.path)
  }

  /** Removes garbage when nobody holds files. What it goes for, a merged file or a line of marks, is under its name first. */
  async #sweep(): Promise<void> {
    while (this.#holds === 0 && this.#garbage.length > 0) {
      await this.#vital(() => this.#disk.syncDirectory(this.#place.directory))
      const group = this.#garbage[0]!
      for (let path = group[0]; path !== undefined; path = group[0]) {
        await this.#disk.remove(path)
        group.shift()
      }
      this.#garbage.shift()
    }
  }
}

function fileOf({ path, from, to, bytes }: Readonly<Tail>): StoredFile {
  return { path, compression: 'none', from, to, bytes, rawBytes: bytes }
}

function pathsOf(file: StoredFile): string[] {
  return file.compression === 'zstd' ? [file.path, indexName(file.path)] : [file.path]
}

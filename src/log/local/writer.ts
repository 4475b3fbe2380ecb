import { join } from 'node:path'
import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Disk, DiskFile } from '../../storage/disk.ts'
import type { Appended, Frame, RecordBatch } from '../log.ts'
import { crcOf, encodeHeader } from './frame.ts'
import type { KeyTable, KnownAppend } from './keys.ts'
import type { LogLimits } from './limits.ts'
import { segmentName } from './names.ts'

/** The segment that is appended to. It becomes a file with its first write. */
export interface Tail {
  readonly path: string
  readonly from: number
  /** What is acknowledged: offset after it, and length. */
  to: number
  bytes: number
  lines: number
  readonly frames: Frame[]
}

export interface WriterOptions {
  readonly place: { readonly stream: string; readonly partition: number; readonly directory: string }
  readonly disk: Disk
  readonly clock: Clock
  readonly limits: LogLimits
  readonly keys: KeyTable
  /** Offset of the next record. */
  readonly end: number
  /** The unsealed segment found on open. */
  readonly tail: Tail | undefined
  /** The tail will not change any more. */
  onSealed(tail: Tail): void
  /** A frame with a source mark is durable. */
  onMark(from: number, to: number, mark: unknown): void
  /** Called once, when the log can never acknowledge again. */
  onFatal(error: MillraceError): void
}

interface Pending {
  readonly pieces: readonly Uint8Array[]
  readonly bytes: number
  readonly crc: number
  readonly records: number
  readonly offset: number
  readonly atMs: number
  readonly key: string | undefined
  /** Its entry in the key table. */
  readonly known: KnownAppend | undefined
  readonly mark: unknown
  readonly markJson: string | undefined
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: MillraceError) => void
}

/**
 * The writing end of a partition: group commit. While one write and its `fdatasync` run, appends gather; then they are
 * written together. Writes, seals and the end of the log's life happen one at a time.
 */
export class SegmentWriter {
  readonly #options: WriterOptions
  readonly #steps = new SerialQueue()
  #tail: Tail | undefined
  #file: DiskFile | undefined
  #waiting: Pending[] = []
  #pendingBytes = 0
  #writeDue = false
  /** Offset after everything acknowledged. */
  #end: number
  /** Offset after everything accepted. */
  #reserved: number
  #failure: MillraceError | undefined
  #closed = false

  constructor(options: WriterOptions) {
    this.#options = options
    this.#tail = options.tail
    this.#end = options.end
    this.#reserved = options.end
  }

  get end(): number {
    return this.#end
  }

  get tail(): Readonly<Tail> | undefined {
    return this.#tail
  }

  get failure(): MillraceError | undefined {
    return this.#failure
  }

  async append(batch: RecordBatch): Promise<Appended> {
    this.#assertOpen()
    const { key, records, source } = batch
    const pieces = batch.lines instanceof Uint8Array ? [batch.lines] : batch.lines
    if (records === 0 && key === undefined && source === undefined) {
      return { from: this.#reserved, to: this.#reserved, repeated: false }
    }
    const bytes = this.#measured(pieces, records)
    const markJson = this.#checkedMark(source)
    const crc = crcOf(pieces)
    const atMs = batch.atMs ?? this.#options.clock.now()
    if (key !== undefined) {
      const repeated = this.#repetition(key, bytes, crc, atMs)
      if (repeated !== undefined) return repeated
    }
    this.#admit(bytes)
    const offset = this.#reserved
    const to = (this.#reserved += records)
    const known: KnownAppend | undefined = key === undefined ? undefined : { from: offset, to, bytes, crc, atMs }
    // A copy: what readers are given must be what a restart would give them.
    const mark: unknown = markJson === undefined ? undefined : JSON.parse(markJson)
    const durable = new Promise<Appended>((resolve, reject) => {
      this.#waiting.push({ pieces, bytes, crc, records, offset, atMs, key, known, mark, markJson, resolve, reject })
    })
    if (known !== undefined) {
      known.durable = durable
      this.#options.keys.add(key!, known, atMs)
    }
    this.#writeSoon()
    return durable
  }

  /** Seals the tail when it holds records; returns when everything acknowledged before the call is sealed. */
  seal(): Promise<void> {
    return this.#steps.run(() => this.#sealTail())
  }

  /** Makes the tail a file even without a record, so that its name keeps the offset. */
  keepOffset(): Promise<void> {
    return this.#steps.run(async () => {
      await this.#openTail()
      await this.#options.disk.syncDirectory(this.#options.place.directory)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    while (this.#writeDue) await this.#steps.idle()
    await this.#steps.run(() => this.#closeFile())
  }

  /** Ends the log's life for a reason outside the writer: it never acknowledges again. */
  fail(error: MillraceError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#refuse(this.#waiting.splice(0))
    this.#options.onFatal(error)
  }

  #assertOpen(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#closed) {
      throw new MillraceError(
        'unavailable',
        'log-closed',
        `The log of stream '${this.#options.place.stream}' is closed.`,
        {
          hint: 'Millrace is stopping; send again when it is back.',
        },
      )
    }
  }

  #measured(pieces: readonly Uint8Array[], records: number): number {
    const { limits, place } = this.#options
    let bytes = 0
    for (const piece of pieces) bytes += piece.length
    if (bytes > limits.appendBytes) {
      throw new MillraceError(
        'invalid',
        'append-too-large',
        `${bytes} bytes at once for stream '${place.stream}'; the limit is ${limits.appendBytes}.`,
        {
          hint: 'Send fewer records at a time.',
        },
      )
    }
    const last = pieces.findLast((piece) => piece.length > 0)
    if (bytes < 2 * records || (records === 0) !== (bytes === 0) || (last !== undefined && last.at(-1) !== 10)) {
      throw new MillraceError(
        'internal',
        'bad-batch',
        `${records} records in ${bytes} bytes that are not complete lines.`,
        {
          hint: 'This is a bug in Millrace; please report it.',
          context: { stream: place.stream, partition: place.partition },
        },
      )
    }
    return bytes
  }

  #checkedMark(source: unknown): string | undefined {
    if (source === undefined || source === null) return undefined
    const json = JSON.stringify(source)
    const { limits, place } = this.#options
    if (Buffer.byteLength(json) <= limits.markBytes) return json
    throw new MillraceError(
      'invalid',
      'bad-mark',
      `A source mark for stream '${place.stream}' is longer than ${limits.markBytes} bytes.`,
    )
  }

  /** The first append with this key, if there was one; it must have carried the same bytes. */
  #repetition(key: string, bytes: number, crc: number, nowMs: number): Appended | Promise<Appended> | undefined {
    const { keys, limits, place } = this.#options
    if (key.length === 0 || key.length > limits.keyLength) {
      throw new MillraceError(
        'invalid',
        'bad-key',
        `An idempotency key has 1 to ${limits.keyLength} characters; this one has ${key.length}.`,
      )
    }
    const known = keys.find(key, nowMs)
    if (known === undefined) return undefined
    if (known.bytes !== bytes || known.crc !== crc) {
      throw new MillraceError(
        'invalid',
        'idempotency-mismatch',
        `The idempotency key '${key}' came before with other records for stream '${place.stream}'.`,
        {
          hint: 'Repeat a request with the very same body, or use a new key.',
          context: { stream: place.stream, partition: place.partition, offset: known.from },
        },
      )
    }
    const again: Appended = { from: known.from, to: known.to, repeated: true }
    return known.durable === undefined ? again : known.durable.then(() => again)
  }

  #admit(bytes: number): void {
    const { limits, place } = this.#options
    if (this.#pendingBytes + bytes > limits.pendingBytes) {
      throw new MillraceError(
        'unavailable',
        'backlog-full',
        `${this.#pendingBytes} bytes wait to be written to the log of stream '${place.stream}'.`,
        {
          hint: 'The disk is slower than the senders; send again in a moment.',
          context: { stream: place.stream, partition: place.partition, limit: limits.pendingBytes },
        },
      )
    }
    this.#pendingBytes += bytes
  }

  #writeSoon(): void {
    if (this.#writeDue) return
    this.#writeDue = true
    void this.#steps.run(() => this.#write())
  }

  async #write(): Promise<void> {
    const group = this.#nextGroup()
    try {
      const { tail, file, isNew } = await this.#openTail()
      const { buffers, frames } = this.#encode(group, tail)
      await file.writeAll(buffers)
      await both(file.dataSync(), isNew ? this.#options.disk.syncDirectory(this.#options.place.directory) : undefined)
      if (this.#failure !== undefined) throw this.#failure
      this.#acknowledge(group, tail, buffers, frames)
      if (tail.bytes >= this.#options.limits.segmentBytes) await this.#sealTail()
    } catch (error) {
      await this.#die(asMillraceError(error), group)
    }
    this.#writeDue = false
    if (this.#waiting.length > 0) this.#writeSoon()
  }

  #nextGroup(): Pending[] {
    let bytes = 0
    let count = 0
    while (count < this.#waiting.length && bytes < this.#options.limits.writeBytes)
      bytes += this.#waiting[count++]!.bytes
    return this.#waiting.splice(0, count)
  }

  /** The bytes of a group's frames, payloads by reference, and how readers will see the frames. */
  #encode(group: readonly Pending[], tail: Tail): { buffers: Uint8Array[]; frames: Frame[] } {
    const buffers: Uint8Array[] = []
    const frames: Frame[] = []
    let line = tail.lines
    for (const pending of group) {
      const { offset, records, atMs, mark } = pending
      buffers.push(encodeHeader({ ...pending, write: this.#end }), ...pending.pieces)
      frames.push({ offset, records, line, atMs, ...(mark === undefined ? {} : { mark }) })
      line += 1 + records
    }
    return { buffers, frames }
  }

  #acknowledge(group: readonly Pending[], tail: Tail, buffers: readonly Uint8Array[], frames: readonly Frame[]): void {
    for (const buffer of buffers) tail.bytes += buffer.length
    for (const frame of frames) tail.frames.push(frame)
    for (const { records } of group) {
      tail.to += records
      tail.lines += 1 + records
    }
    this.#end = tail.to
    for (const { bytes, known, mark, offset, records, resolve } of group) {
      this.#pendingBytes -= bytes
      if (known !== undefined) known.durable = undefined
      if (mark !== undefined) this.#options.onMark(offset, offset + records, mark)
      resolve({ from: offset, to: offset + records, repeated: false })
    }
  }

  async #openTail(): Promise<{ tail: Tail; file: DiskFile; isNew: boolean }> {
    if (this.#failure !== undefined) throw this.#failure
    const isNew = this.#tail === undefined
    this.#tail ??= newTail(join(this.#options.place.directory, segmentName(this.#end)), this.#end)
    this.#file ??= await this.#options.disk.open(this.#tail.path, 'append')
    return { tail: this.#tail, file: this.#file, isNew }
  }

  async #sealTail(): Promise<void> {
    const tail = this.#tail
    // Frames without records stay in the tail: a segment is named by its first offset, which the next one would share.
    if (this.#failure !== undefined || tail === undefined || tail.to === tail.from) return
    await this.#closeFile()
    this.#tail = undefined
    this.#options.onSealed(tail)
  }

  async #closeFile(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  async #die(error: MillraceError, group: readonly Pending[]): Promise<void> {
    const isFirst = this.#failure === undefined
    const failure = (this.#failure ??= stopped(error, this.#options.place))
    await this.#cutBack()
    this.#refuse(group)
    this.#refuse(this.#waiting.splice(0))
    if (isFirst) this.#options.onFatal(failure)
  }

  /**
   * Tries to take back what was written and not acknowledged, so that refused records do not come back after a restart.
   * The error that brought us here is the one to report, and reopening copes with a tail that could not be cut.
   */
  async #cutBack(): Promise<void> {
    const file = this.#file
    if (file === undefined || this.#tail === undefined) return
    this.#file = undefined
    try {
      await file.truncate(this.#tail.bytes)
      await file.dataSync()
    } catch {
    } finally {
      await file.close().catch(() => undefined)
    }
  }

  #refuse(group: readonly Pending[]): void {
    for (const { reject } of group) reject(this.#failure!)
  }
}

/** An error of the disk's as the end of a partition's life. */
export function stopped(error: MillraceError, place: WriterOptions['place']): MillraceError {
  const { stream, partition } = place
  const what = `The log of stream '${stream}', partition ${partition}, has stopped: ${error.message}`
  return new MillraceError(error.kind, error.code, what, {
    hint: error.hint ?? 'Restart Millrace once the cause is mended; nothing acknowledged is lost.',
    context: { ...error.context, stream, partition },
    cause: error,
  })
}

export function newTail(path: string, from: number): Tail {
  return { path, from, to: from, bytes: 0, lines: 0, frames: [] }
}

/** Waits for both even when one fails: nothing may still be running on a file that is about to be cut or closed. */
async function both(first: Promise<void>, second: Promise<void> | undefined): Promise<void> {
  const results = await Promise.allSettled([first, second])
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

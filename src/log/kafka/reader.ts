import { Bell } from '../../base/bell.ts'
import { type MillraceError, asMillraceError } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Segment } from '../log.ts'
import type { SegmentCache } from './cache.ts'
import { Arena } from './decode.ts'
import type { Part, TopicReader } from './scan.ts'
import { readPart } from './scan.ts'

export interface ReaderOptions extends TopicReader {
  readonly cache: SegmentCache
  /** Records came, or something is known of those that will. */
  onPart(part: Part): void
  /** The record at this offset cannot be read; `take` says why. */
  onStuck(offset: number): void
  /** The files cannot be written: the process should end. */
  onFatal(error: MillraceError): void
}

/**
 * Fetches a partition in the background, into segment files, as far ahead of what was taken as the limit allows. While brokers
 * do not answer it waits for them; what does not pass by itself is thrown by `take`.
 */
export class PartitionReader {
  readonly #options: ReaderOptions
  readonly #changed = new Bell()
  /** Whatever changes the files, one at a time. */
  readonly #steps = new SerialQueue()
  /** Ends when reading goes on elsewhere, or not at all. */
  #going: AbortController | undefined
  #running: Promise<void> = Promise.resolve()
  /** Offset after what was handed out. */
  #taken = 0
  #failure: MillraceError | undefined
  /** What it waits for. */
  waitingFor: MillraceError | undefined

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  get isReading(): boolean {
    return this.#going !== undefined
  }

  /** Reads on from an offset. */
  start(from: number): Promise<void> {
    this.#going?.abort()
    this.#changed.ring()
    const { signal } = (this.#going = new AbortController())
    this.#failure = undefined
    this.#taken = from
    const restarted = this.#running.then(() => this.#write(() => this.#options.cache.restart(from)))
    this.#running = restarted.then(
      () => this.#read(from, signal),
      () => undefined,
    )
    return restarted
  }

  /**
   * Segments with the records from an offset on: waits for those below `to`, but for no more than `takeBytes`, and no longer than
   * `takeMs`. What lies below the offset is let go.
   */
  async take(from: number, to: number): Promise<Segment[]> {
    const { cache, limits, cluster } = this.#options
    if (!this.isReading || from < cache.from || from > cache.to) await this.start(from)
    else await this.#write(() => cache.retire(from))
    const isEnough = () => cache.to >= to || cache.bytesFrom(from) >= limits.takeBytes || this.#failure !== undefined
    const over = new AbortController()
    void cluster.clock.sleep(limits.takeMs, over.signal).then(() => {
      over.abort()
      this.#changed.ring()
    })
    while (!isEnough() && !over.signal.aborted) await this.#changed.wait()
    over.abort()
    if (this.#failure !== undefined && cache.to <= from) throw this.#failure
    await this.#write(() => cache.seal(cache.to >= to ? to : undefined))
    const segments = cache.segments(from)
    this.#taken = segments.at(-1)?.to ?? this.#taken
    this.#changed.ring()
    return segments
  }

  /** Reads no further; what was read is kept until reading begins again. */
  async stop(): Promise<void> {
    this.#going?.abort()
    this.#going = undefined
    this.#changed.ring()
    await this.#running
  }

  async close(): Promise<void> {
    await this.stop()
    await this.#steps.run(() => this.#options.cache.seal())
  }

  async #read(from: number, signal: AbortSignal): Promise<void> {
    const { cache, limits, place, onPart, onStuck } = this.#options
    const purpose = `fetch/${place.topic}/${place.partition}`
    const onWaiting = (error?: MillraceError) => {
      this.waitingFor = error
    }
    const options = { purpose, waitMs: limits.fetchWaitMs, arena: new Arena(), signal, onWaiting }
    let next = from
    try {
      while (!signal.aborted) {
        if (cache.bytesFrom(this.#taken) >= limits.aheadBytes) {
          await this.#changed.wait()
          continue
        }
        const part = await readPart(this.#options, next, options)
        if (signal.aborted) return
        await this.#write(() => this.#keep(part))
        next = part.next
        onPart(part)
        this.#changed.ring()
      }
    } catch (error) {
      if (signal.aborted) return
      this.#failure = asMillraceError(error)
      onStuck(next)
      this.#changed.ring()
    } finally {
      this.waitingFor = undefined
    }
  }

  async #keep(part: Part): Promise<void> {
    const { cache, limits } = this.#options
    await cache.add(part.runs, part.next)
    if (cache.tailBytes >= limits.segmentBytes) await cache.seal()
  }

  /** Changes files, after whatever else does. A file that cannot be written is for the process to end over. */
  #write(work: () => Promise<void>): Promise<void> {
    return this.#steps.run(async () => {
      try {
        await work()
      } catch (error) {
        this.#options.onFatal(asMillraceError(error))
        throw error
      }
    })
  }
}

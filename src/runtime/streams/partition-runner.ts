import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bell } from '../../base/bell.ts'
import type { Clock } from '../../base/clock.ts'
import { type MillraceError, asMillraceError } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { Frame, PartitionLog, Segment } from '../../log/log.ts'
import type { EventTime } from '../../project/event-time.ts'
import type { Stream } from '../../project/stream.ts'
import type { Gate } from '../../quality/gate.ts'
import { groupsOf, joinedSegment, writeJoined } from './joined-segments.ts'
import { batchJob, laneName, remembers, restoreLane, sourcesOf } from './lane-job.ts'
import type { BatchJob, BatchResult } from './lane-messages.ts'
import type { Lanes } from './lanes.ts'

export interface PartitionRunnerOptions {
  readonly stream: Stream
  readonly log: PartitionLog
  /** Next offset to gate. */
  readonly from: number
  /** Newest event time accepted below it, ms; -Infinity for none. */
  readonly newestMs: number
  /** How time moves, when the stream has an event time. */
  readonly eventTime: EventTime | undefined
  readonly lanes: Lanes
  readonly clock: Clock
  /** Rings when there is something to do: records came, a batch has landed, a pause is over. */
  readonly bell: Bell
  /** Shortest time between two micro-batches, ms: bounds the number of segments. */
  readonly lingerMs: number
  readonly code: string
  readonly temporary: string
  readonly table: LakeTable
  quarantineTable(): Promise<LakeTable>
  gate(sources?: ReadonlySet<string>): Promise<Gate>
  /** Whether no batch may begin now. */
  isPaused(): boolean
  /** Offset ranges [from, to) to pass over. */
  skips(): readonly (readonly [number, number])[]
  /** Files with the rows accepted so far, committed or not: what keys seen are rebuilt from. */
  acceptedFiles(): Promise<readonly { path: string }[]>
  /** Called for each batch, in order, with the offset of its first record. */
  onLanded(segment: Segment, from: number, result: BatchResult): void
  /** Called when the lane ends for good. */
  onFailed(error: MillraceError): void
}

/** A segment, or several in one file of their own. */
interface Batch {
  readonly segment: Segment
  /** Makes the file where there is none yet. */
  frames(): Promise<readonly Frame[]>
  /** Removes a file that was made. */
  remove(): void
}

/** A batch on its lane. */
interface Flight {
  readonly segment: Segment
  /** When it was sent off, ms of the monotonic clock. */
  readonly begun: number
  readonly result: Promise<BatchResult>
  /** Lets go of the segment's file. */
  release(): void
}

/** Batches on a lane at once: one is judged while the next is prepared, and another waits for neither to rest. */
const DEPTH = 3
/** How much longer than a batch takes records gather for the next, and for how long at most, ms. */
const GATHERING = 4
const GATHERING_MS_MAX = 100
const ATTEMPTS_MAX = 5
const RETRY_MS = 50

/** Takes one partition's records from the log through its lane, in order. A batch that fails takes those behind it back. */
export class PartitionRunner {
  readonly #options: PartitionRunnerOptions
  /** Next offset to land. */
  #position: number
  /** Next offset to begin with: that of the first record on no flight. */
  #begun: number
  /** Newest event time that has landed, ms. */
  #newestMs: number
  #flights: Flight[] = []
  readonly #orders = new SerialQueue()
  /** The lane knows the keys seen. */
  #restored = false
  #goingBack = false
  #attempts = 0
  /** What the last batch took, ms. */
  #batchMs = 0
  /** Batches of several segments so far. */
  #joined = 0
  /** Records below were misread once: they are read exactly. */
  #exactBelow = 0

  constructor(options: PartitionRunnerOptions) {
    this.#options = options
    this.#position = this.#begun = options.from
    this.#newestMs = options.newestMs
  }

  get position(): number {
    return this.#position
  }

  /** Whether batches are on the lane. */
  get isBusy(): boolean {
    return this.#flights.length > 0 || this.#goingBack
  }

  /** Goes on from another offset; only while not busy. What the lane remembers is rebuilt. */
  moveTo(offset: number, newestMs: number): void {
    this.#position = this.#begun = offset
    this.#newestMs = newestMs
    this.#restored = false
  }

  /** Runs until the signal, and lands what is on the lane then. */
  async run(signal: AbortSignal): Promise<void> {
    // What a lane remembers is there when the first records come; what goes wrong is met again by their batch.
    this.#orders.run(() => this.#restore()).catch(() => undefined)
    const guarded = (work: Promise<void>) =>
      work.catch((error: unknown) => this.#options.onFailed(asMillraceError(error)))
    await Promise.all([guarded(this.#begin(signal)), guarded(this.#land(signal))])
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { log, clock, bell } = this.#options
    while (!signal.aborted) {
      if (log.end <= this.#begun || !this.#mayBegin()) {
        await bell.wait()
        continue
      }
      const started = clock.monotonic()
      const release = log.hold()
      try {
        await this.#beginAll(await log.take(this.#begun), signal)
      } finally {
        release()
      }
      await this.#gather(started, signal)
    }
  }

  /**
   * Lets records gather for the next batch: some milliseconds of a batch are its own, whatever it holds, so under load there should
   * be few and large ones. As long as records keep coming, in proportion to what a batch takes.
   */
  async #gather(started: number, signal: AbortSignal): Promise<void> {
    const { log, clock, lingerMs } = this.#options
    const until = started + Math.min(Math.max(lingerMs, this.#batchMs * GATHERING), GATHERING_MS_MAX)
    for (let end = -1; end !== log.end && clock.monotonic() < until;) {
      end = log.end
      await clock.sleep(Math.min(lingerMs, until - clock.monotonic()), signal)
    }
  }

  #mayBegin(): boolean {
    return this.#flights.length < DEPTH && !this.#goingBack && !this.#options.isPaused()
  }

  async #beginAll(segments: readonly Segment[], signal: AbortSignal): Promise<void> {
    for (const group of groupsOf(segments.filter(({ to }) => to > this.#begun))) {
      while (!this.#mayBegin() && !signal.aborted) await this.#options.bell.wait()
      const batch = this.#batchOf(group)
      const { segment } = batch
      // Meanwhile a failure may have gone back to before this segment, or a replay past it.
      if (signal.aborted || segment.from > this.#begun) return
      if (segment.to <= this.#begun) continue
      const job = this.#job(batch, this.#begun)
      const begun = this.#options.clock.monotonic()
      const result = this.#orders.run(async () => ({ sent: this.#options.lanes.batch(await job()) }))
      const held = this.#options.log.hold()
      const release = () => {
        held()
        batch.remove()
      }
      const flight = { segment, begun, result: result.then(({ sent }) => sent), release }
      // Told when it lands.
      flight.result.catch(() => undefined)
      this.#flights.push(flight)
      this.#begun = segment.to
      this.#options.bell.ring()
    }
  }

  #batchOf(group: readonly Segment[]): Batch {
    const { stream, log, temporary } = this.#options
    const [first] = group
    if (group.length === 1) return { segment: first!, frames: () => log.frames(first!), remove: () => undefined }
    const path = join(temporary, `${stream.name}-${log.partition}-joined-${++this.#joined}.ndjson`)
    return {
      segment: joinedSegment(group, path),
      frames: () => writeJoined(log, group, path),
      remove: () => void rm(path, { force: true }).catch(() => undefined),
    }
  }

  #job(batch: Batch, from: number): () => Promise<BatchJob> {
    const { stream, log, table, code, temporary, eventTime } = this.#options
    const { segment } = batch
    const passed = segment.from < from ? [[segment.from, from] as const] : []
    const exact = segment.from < this.#exactBelow
    return async () => {
      await this.#restore()
      const frames = await batch.frames()
      return batchJob({
        lane: laneName(stream, log.partition),
        gate: await this.#options.gate(sourcesOf(frames)),
        segment,
        frames,
        skip: [...this.#options.skips(), ...passed],
        table,
        quarantine: await this.#options.quarantineTable(),
        code,
        temporary,
        exact,
        eventTime,
      })
    }
  }

  /** Rebuilds what the lane remembers, from the lake and what has landed: the only places it comes from. */
  async #restore(): Promise<void> {
    const { lanes, stream, table, log } = this.#options
    if (this.#restored || !remembers(stream)) return
    const files = stream.unique === undefined ? [] : await this.#options.acceptedFiles()
    const { partition } = log
    const lane = laneName(stream, partition)
    await restoreLane(lanes, { lane, stream, partition, newestMs: this.#newestMs, table, files })
    this.#restored = true
  }

  async #land(signal: AbortSignal): Promise<void> {
    const { bell, onLanded } = this.#options
    for (;;) {
      const [flight] = this.#flights
      if (flight) {
        try {
          const result = await flight.result
          this.#batchMs = this.#options.clock.monotonic() - flight.begun
          const from = this.#position
          this.#position = flight.segment.to
          this.#newestMs = result.newestMs
          this.#attempts = 0
          onLanded(flight.segment, from, result)
          this.#flights.shift()
          flight.release()
        } catch (error) {
          await this.#goBack(asMillraceError(error), signal)
        }
        bell.ring()
      } else if (signal.aborted) {
        return
      } else {
        await bell.wait()
      }
    }
  }

  /** The first batch has failed: it and those behind it are tried again, unless that is in vain. */
  async #goBack(error: MillraceError, signal: AbortSignal): Promise<void> {
    this.#goingBack = true
    try {
      const flights = this.#flights
      await Promise.allSettled(flights.map((flight) => flight.result))
      for (const flight of flights) flight.release()
      if (error.code === 'misread') this.#exactBelow = flights[0]!.segment.to
      this.#flights = []
      this.#begun = this.#position
      this.#restored = false
      // Whoever has the partition next tries it again.
      if (error.retryable && signal.aborted) return
      if (!error.retryable || ++this.#attempts === ATTEMPTS_MAX) throw error
      await this.#options.clock.sleep(RETRY_MS * 2 ** this.#attempts, signal)
    } finally {
      this.#goingBack = false
    }
  }
}

import { MillraceError, asMillraceError } from '../../base/errors.ts'
import { Bell } from '../../base/bell.ts'
import type { Clock } from '../../base/clock.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { PartitionLog, Segment, StreamLog } from '../../log/log.ts'
import type { EventTime } from '../../project/event-time.ts'
import type { Stream } from '../../project/stream.ts'
import type { Gate } from '../../quality/gate.ts'
import { CommitTimer } from './commit-timer.ts'
import { type Committed, fencedPartition } from './committed.ts'
import { Landed } from './landed.ts'
import type { BatchResult } from './lane-messages.ts'
import type { Lanes } from './lanes.ts'
import { laneName } from './lane-job.ts'
import { PartitionRunner } from './partition-runner.ts'
import { type Counts, addCounts } from '../record.ts'
import { type Replacement, StreamCommits } from './stream-commits.ts'
import { newestStep } from '../warehouse.ts'
import { streamWatermark } from '../tables/watermark.ts'

export interface StreamRunnerOptions {
  readonly stream: Stream
  /** How time moves, when the stream has an event time. */
  readonly eventTime: EventTime | undefined
  /** The gate as it is now, for records of some sources or of any: references to other datasets follow what is published. */
  gate(sources?: ReadonlySet<string>): Promise<Gate>
  readonly code: string
  readonly run: string
  readonly log: StreamLog
  readonly table: LakeTable
  /** The quarantine table; made when first asked for with `create`. */
  openQuarantine(create: boolean): Promise<LakeTable | undefined>
  readonly lanes: Lanes
  readonly clock: Clock
  readonly temporary: string
  readonly limits: StreamLimits
  /** Whether a table waits for the watermark to pass from one moment to another, ms: then the commit should not wait. */
  isAwaited(beforeMs: number, afterMs: number): boolean
  /** Dataset checks hold back snapshots: commits go to the candidate branch and are published by the audit. */
  readonly audited: boolean
  /** Called after every commit. */
  onCommit(snapshot: Snapshot): void
  /** Called when the stream stops: for good, or until it has recovered. */
  onFailed(error: MillraceError): void
  /** Called when a stream that had stopped goes on. */
  onRecovered(): void
  /** Partitions it begins with; all unless told. */
  readonly owned?: readonly number[]
  /** Another worker has taken a partition, which this one has let go of. Without it that ends the stream. */
  onFenced?(partition: number, error: MillraceError): void
}

export interface StreamLimits {
  /** Longest time between a gated batch and its commit while busy, ms. */
  readonly commitIntervalMs: number
  /** A stream at rest for this long commits at once, ms. */
  readonly quietMs: number
  /** Shortest time between two micro-batches of a lane, ms: bounds the number of segments. */
  readonly lingerMs: number
}

/** Rest before a stream that has stopped is taken up again, ms: longer each time, until it has committed something. */
const RECOVERY_MS = { first: 500, most: 10_000 }

const NO_PARTITIONS: ReadonlySet<number> = new Set()

/** A partition that is this worker's. */
interface Owned {
  readonly runner: PartitionRunner
  /** Of the lease under which it is. */
  readonly epoch: number | undefined
  /** Ends its lane, after the batches under way. */
  readonly stop: AbortController
  running: Promise<void>
}

/**
 * Takes a stream's records from its log through the gate into the lake, exactly once: the offsets reached are part of
 * the commit that holds their rows, so after a crash it goes on from there. Several may share a stream, each with partitions of its own.
 */
export class StreamRunner {
  readonly #options: StreamRunnerOptions
  readonly #commits: StreamCommits
  readonly #owned = new Map<number, Owned>()
  /** Lanes of partitions that were let go of, as long as they run. */
  readonly #ending = new Map<number, Promise<unknown>>()
  readonly #landed = new Landed()
  #hotVersion = 0
  readonly #turns = new SerialQueue()
  readonly #rewrites = new SerialQueue()
  readonly #bell = new Bell()
  #started = false
  readonly #stopping = new AbortController()
  readonly #timer: CommitTimer
  /** When each partition's last record came, or the stream was opened. */
  readonly #lastRecordMs: number[]
  #paused = false
  #failure: MillraceError | undefined
  #recovering: Promise<void> | undefined
  /** Times that it was taken up again since the last commit. */
  #recoveries = 0

  private constructor(options: StreamRunnerOptions, commits: StreamCommits) {
    this.#options = options
    this.#commits = commits
    const { clock, limits, log } = options
    this.#lastRecordMs = log.partitions.map(() => clock.monotonic())
    this.#timer = new CommitTimer({
      clock,
      intervalMs: limits.commitIntervalMs,
      quietMs: limits.quietMs,
      signal: this.#stopping.signal,
      commit: () => this.commit(),
      onFailed: (error) => this.#fail(asMillraceError(error)),
    })
  }

  static async open(options: StreamRunnerOptions): Promise<StreamRunner> {
    const { stream, run, code, table, log, audited, eventTime } = options
    const commits = await StreamCommits.open({
      dataset: stream,
      run,
      code,
      table,
      audited,
      openQuarantine: (create) => options.openQuarantine(create),
      beginning: { starts: log.partitions.map(({ start }) => start), hasEventTime: eventTime !== undefined },
    })
    const runner = new StreamRunner(options, commits)
    const owned = options.owned ?? log.partitions.map(({ partition }) => partition)
    await commits.take(new Map(owned.map((partition) => [partition, undefined])))
    await Promise.all(owned.map((partition) => runner.#begin(partition, undefined)))
    return runner
  }

  /** Why it has stopped, if it has. */
  get failure(): MillraceError | undefined {
    return this.#failure
  }

  /** Whether it has stopped and will not go on by itself. */
  get hasEnded(): boolean {
    return this.#failure !== undefined && this.#recovering === undefined
  }

  get stream(): Stream {
    return this.#options.stream
  }

  get table(): LakeTable {
    return this.#options.table
  }

  /** The quarantine table, when there is one. */
  get quarantine(): LakeTable | undefined {
    return this.#commits.quarantine
  }

  /** The quarantine table, made when there is none yet. */
  quarantineTable(): Promise<LakeTable> {
    return this.#commits.quarantineTable()
  }

  get log(): StreamLog {
    return this.#options.log
  }

  /** Partitions that are this worker's. */
  get owned(): readonly number[] {
    return [...this.#owned.keys()].toSorted((a, b) => a - b)
  }

  /**
   * Makes a partition this worker's, under the lease with this epoch, and goes on where the lake says that it stands. Errors:
   * `conflict`/`fenced` when it was taken under a newer lease; those of the lake; what has stopped the stream.
   */
  async own(partition: number, epoch: number): Promise<void> {
    this.lose(partition)
    await this.#ending.get(partition)
    // Nothing is left of what ended it.
    if (this.hasEnded && this.#owned.size === 0) {
      this.#failure = undefined
      this.#recoveries++
    }
    try {
      await this.#turns.run(() => this.#commits.take(new Map([[partition, epoch]])))
      await this.#begin(partition, epoch)
    } catch (error) {
      const failure = asMillraceError(error)
      if (!failure.retryable) this.#fail(failure)
      throw failure
    }
    if (this.lag === 0) this.#recovered()
  }

  /** Lets a partition go to another worker, once its batches under way are committed. */
  async disown(partition: number): Promise<void> {
    const owned = this.#owned.get(partition)
    if (!owned) return
    owned.stop.abort()
    this.#bell.ring()
    await owned.running
    await this.commit()
    this.lose(partition)
    if (this.#failure) throw this.#failure
  }

  /** Lets go of a partition at once: another worker may have it already, and gates again what is not committed. */
  lose(partition: number): void {
    const owned = this.#owned.get(partition)
    if (!owned) return
    this.#owned.delete(partition)
    this.#commits.drop(partition)
    this.#landed.drop(partition)
    this.#hotVersion++
    owned.stop.abort()
    this.#bell.ring()
    const { lanes, log, stream } = this.#options
    const forgotten = this.#started
      ? owned.running.then(() => lanes.forget(laneName(stream, partition))).catch(() => undefined)
      : Promise.resolve()
    this.#ending.set(
      partition,
      forgotten.then(() => log.partitions[partition]!.leave()).catch(() => undefined),
    )
  }

  async #begin(partition: number, epoch: number | undefined): Promise<void> {
    const from = this.committed.offsets[partition]!
    await this.#follow(partition, from)
    // What has stopped takes all that is its own up together.
    if (this.#failure) throw this.#failure
    this.#resume(partition, epoch, from)
  }

  async #follow(partition: number, from: number): Promise<void> {
    const log = this.#options.log.partitions[partition]!
    await log.follow(from)
    log.checkpointed(from)
  }

  #resume(partition: number, epoch: number | undefined, from: number): void {
    const runner = this.#partitionRunner(this.#options.log.partitions[partition]!, from)
    const owned = { runner, epoch, stop: new AbortController(), running: Promise.resolve() }
    this.#owned.set(partition, owned)
    if (this.#started) this.#run(owned)
  }

  #run(owned: Owned): void {
    owned.running = owned.runner.run(AbortSignal.any([this.#stopping.signal, owned.stop.signal]))
  }

  #partitionRunner(log: PartitionLog, from: number): PartitionRunner {
    const { stream, eventTime, lanes, clock, limits, code, temporary, table } = this.#options
    const { partition } = log
    const runner: PartitionRunner = new PartitionRunner({
      stream,
      eventTime,
      log,
      from,
      newestMs: this.committed.newest[partition] ?? -Infinity,
      lanes,
      clock,
      bell: this.#bell,
      lingerMs: limits.lingerMs,
      code,
      temporary,
      table,
      quarantineTable: () => this.quarantineTable(),
      gate: (sources) => this.#options.gate(sources),
      isPaused: () => this.#paused,
      skips: () =>
        this.committed.superseded
          .filter((range) => range.partition === partition)
          .map((range) => [range.from, range.to] as const),
      acceptedFiles: () => this.#acceptedFiles(),
      // A partition that was lost meanwhile is of no concern any more.
      onLanded: (segment, from, result) => {
        if (this.#owned.get(partition)?.runner === runner) this.#land(segment, from, result)
      },
      onFailed: (error) => {
        if (this.#owned.get(partition)?.runner === runner) this.#fail(error)
      },
    })
    return runner
  }

  async #acceptedFiles(): Promise<readonly { path: string }[]> {
    const { table } = this.#options
    // Taken together: a commit moves files from one to the other.
    const newest = newestStep(table)
    const { files } = this.#landed
    const committed = newest ? await table.files(newest.snapshot) : []
    return [...committed, ...files]
  }

  /** Partitions that have been without records for longer than the stream's `idle`. */
  idlePartitions(): ReadonlySet<number> {
    const { eventTime, clock, log } = this.#options
    if (eventTime === undefined || eventTime.idleMs === Infinity) return NO_PARTITIONS
    const since = clock.monotonic() - eventTime.idleMs
    // What waits to be processed is on its way, however long that takes.
    const isIdle = ({ partition, end }: PartitionLog) =>
      this.#lastRecordMs[partition]! <= since && this.committed.offsets[partition]! >= end
    return new Set(log.partitions.filter(isIdle).map(({ partition }) => partition))
  }

  /** Counts of what is committed and landed. */
  get counts(): Counts {
    return addCounts(this.committed.counts, this.#landed.counts)
  }

  /** Acknowledged records of this worker's partitions that are not yet in a committed snapshot. */
  get lag(): number {
    const { partitions } = this.#options.log
    return this.owned.reduce((sum, i) => sum + partitions[i]!.end - this.committed.offsets[i]!, 0)
  }

  /** Records have come to a partition, through here or otherwise. */
  grown(partition: number): void {
    this.#lastRecordMs[partition] = this.#options.clock.monotonic()
    this.#bell.ring()
  }

  /** Starts the lanes. */
  start(): void {
    this.#started = true
    for (const owned of this.#owned.values()) this.#run(owned)
  }

  /** Stops after the batches under way, and commits what has landed. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#bell.ring()
    await this.#recovering
    await Promise.all([...[...this.#owned.values()].map(({ running }) => running), ...this.#ending.values()])
    await this.commit()
    await this.#turns.idle()
    await Promise.all(this.#options.log.partitions.map((partition) => partition.leave()))
  }

  /** Gates and commits everything acknowledged when called, of this worker's partitions. Throws what stopped the stream, if anything did. */
  async drain(): Promise<void> {
    const ends = this.#options.log.partitions.map((partition) => partition.end)
    const isBehind = () => [...this.#owned].some(([i, { runner }]) => runner.position < ends[i]!)
    while (!this.#failure && isBehind()) await this.#bell.wait()
    await this.commit()
    if (this.#failure) throw this.#failure
  }

  /** Stops the lanes. What may pass by itself is tried again from where the lake says that the stream stands. */
  #fail(error: MillraceError): void {
    if (this.#failure) return
    this.#failure = error
    for (const { stop } of this.#owned.values()) stop.abort()
    this.#bell.ring()
    if (error.retryable && fencedPartition(error) === undefined)
      this.#recovering = this.#recover().finally(() => (this.#recovering = undefined))
    this.#options.onFailed(error)
  }

  async #recover(): Promise<void> {
    const { clock, onFailed } = this.#options
    const { signal } = this.#stopping
    for (;;) {
      await clock.sleep(Math.min(RECOVERY_MS.first * 2 ** this.#recoveries++, RECOVERY_MS.most), signal)
      if (signal.aborted) return
      try {
        await this.#takeUpAgain()
        return
      } catch (error) {
        const failure = asMillraceError(error)
        const partition = fencedPartition(failure)
        if (partition !== undefined && this.#options.onFenced) {
          this.lose(partition)
          this.#options.onFenced(partition, failure)
          continue
        }
        this.#failure = failure
        if (!failure.retryable) this.#recovering = undefined
        onFailed(failure)
        if (!failure.retryable) return
      }
    }
  }

  /** As a process that starts would: what was gated and not committed is gated again, and quarantine is mended where it is ahead. */
  async #takeUpAgain(): Promise<void> {
    const { log } = this.#options
    const before = new Map(this.#owned)
    await Promise.all([...before.values()].map(({ running }) => running))
    const from = await this.#turns.run(async () => {
      await this.#commits.take(new Map([...before].map(([partition, { epoch }]) => [partition, epoch])))
      return this.committed.offsets
    })
    for (const partition of before.keys()) {
      await log.partitions[partition]!.leave()
      await this.#follow(partition, from[partition]!)
    }
    if (this.#stopping.signal.aborted) return
    this.#landed.clear()
    this.#hotVersion++
    this.#failure = undefined
    // Some may have been given back or lost meanwhile.
    for (const [partition, { epoch }] of before)
      if (this.#owned.get(partition) === before.get(partition)) this.#resume(partition, epoch, from[partition]!)
    if (this.lag === 0) this.#recovered()
  }

  #recovered(): void {
    if (this.#recoveries > 0) this.#options.onRecovered()
    this.#recoveries = 0
  }

  /** Runs work while no lane gates and everything gated is committed. Appends go on meanwhile. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.rewriting(() => this.#exclusively(work))
  }

  /** Runs work that takes files out of the stream's tables, or needs them to stay, while no other such work runs. Lanes go on. */
  rewriting<T>(work: () => Promise<T>): Promise<T> {
    return this.#rewrites.run(work)
  }

  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#paused = true
    try {
      while ([...this.#owned.values()].some(({ runner }) => runner.isBusy)) await this.#bell.wait()
      await this.commit()
      if (this.#failure) throw this.#failure
      return await work()
    } finally {
      this.#paused = false
      this.#bell.ring()
    }
  }

  #land(segment: Segment, from: number, result: BatchResult): void {
    this.#landed.add({ segment, from, result, table: this.table, quarantine: this.quarantine })
    this.#hotVersion++
    this.#timer.isUrgent ||= this.#passesWindow()
    this.#timer.landed()
  }

  /** Whether what has landed takes the watermark past a moment that a table waits for. */
  #passesWindow(): boolean {
    const { eventTime, stream, isAwaited } = this.#options
    if (eventTime === undefined) return false
    const reached = [...this.committed.newest]
    for (const { partition, newestMs } of this.#landed.batches) if (newestMs > -Infinity) reached[partition] = newestMs
    const watermark = (newest: readonly (number | null)[]) =>
      streamWatermark(stream, newest, this.idlePartitions()) ?? -Infinity
    return isAwaited(watermark(this.committed.newest), watermark(reached))
  }

  /** Commits what has landed: quarantine first, then the rows with the offsets. A crash between the two is mended by who has the partition next. */
  commit(): Promise<void> {
    return this.#turns.run(async () => {
      this.#timer.begun()
      if (this.#landed.batches.length === 0 || this.#failure) return
      const snapshot = await this.#commitOwned()
      this.#recovered()
      this.#hotVersion++
      this.#timer.isUrgent = this.#landed.batches.length > 0 && this.#passesWindow()
      this.#timer.ended(this.#landed.batches.length > 0)
      this.#checkpoint()
      if (snapshot) this.#options.onCommit(snapshot)
    })
  }

  /** Commits the batches of partitions that nobody else has taken; undefined when nothing was left. */
  async #commitOwned(): Promise<Snapshot | undefined> {
    while (this.#landed.batches.length > 0) {
      const { batches } = this.#landed
      try {
        const snapshot = await this.#commits.commit(batches)
        this.#landed.remove(batches)
        return snapshot
      } catch (error) {
        const partition = fencedPartition(error)
        if (partition === undefined || !this.#options.onFenced) {
          // Quarantine may be ahead, which is mended on open and only there: what came next would rest on it.
          this.#fail(asMillraceError(error))
          throw error
        }
        this.lose(partition)
        // Where it was lost and had again meanwhile, its batches were dropped already.
        this.#options.onFenced(partition, asMillraceError(error))
      }
    }
    return undefined
  }

  #checkpoint(): void {
    const { log } = this.#options
    for (const i of this.#owned.keys()) log.partitions[i]!.checkpointed(this.committed.offsets[i]!)
  }

  /** The published rows and, unless audits hold snapshots back, the rows that landed since. */
  async hot(): Promise<{ files: readonly DataFile[]; version: string; rows: number }> {
    const { table, audited } = this.#options
    // Taken together: a commit moves files from one to the other.
    const main = table.snapshot('main')
    const landed = audited ? [] : this.#landed.files
    const version = `${main?.id ?? 0}.${audited ? 0 : this.#hotVersion}`
    const committed = main ? await table.files(main) : []
    const rows = [...committed, ...landed].reduce((sum, file) => sum + file.records, 0)
    return { files: [...committed, ...landed], version, rows }
  }

  /** What is committed. */
  get committed(): Committed {
    return this.#commits.committed
  }

  get options(): StreamRunnerOptions {
    return this.#options
  }

  /**
   * Replaces rows of the stream and of its quarantine as one step, quarantine first; only within `exclusively`. The
   * commit of the rows decides: quarantine that is ahead of it after a crash is taken back.
   *
   * Errors: `unavailable`/`partitions-elsewhere` when other workers have partitions.
   */
  async replace(change: Replacement): Promise<Snapshot> {
    this.#checkAlone()
    const snapshot = await this.#commits.replace(change).catch((error: unknown) => {
      this.#fail(asMillraceError(error))
      throw error
    })
    for (const [i, { runner }] of this.#owned)
      runner.moveTo(this.committed.offsets[i]!, this.committed.newest[i] ?? -Infinity)
    this.#hotVersion++
    this.#checkpoint()
    this.#options.onCommit(snapshot)
    return snapshot
  }

  #checkAlone(): void {
    const { stream, log } = this.#options
    if (this.#owned.size === log.partitions.length) return
    throw new MillraceError(
      'unavailable',
      'partitions-elsewhere',
      `This process has ${this.#owned.size} of the ${log.partitions.length} partitions of stream '${stream.name}', and a replay needs all.`,
      { hint: 'Stop the other workers for as long as it lasts.', context: { dataset: stream.name } },
    )
  }
}

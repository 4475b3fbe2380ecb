import { type MillraceError, asMillraceError, assert } from '../base/errors.ts'
import { Bell } from '../base/bell.ts'
import type { Clock } from '../base/clock.ts'
import { SerialQueue } from '../base/queue.ts'
import type { WrittenFile } from '../engine/duckdb/parquet.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { Commit, LakeTable, Snapshot } from '../lake/table.ts'
import type { PartitionLog, Segment, StreamLog } from '../log/log.ts'
import type { EventTime } from '../project/event-time.ts'
import type { Stream } from '../project/stream.ts'
import type { Gate } from '../quality/gate.ts'
import type { BatchResult } from './lane-messages.ts'
import type { Lanes } from './lanes.ts'
import { PartitionRunner } from './partition-runner.ts'
import {
  type Counts,
  NO_COUNTS,
  type StepRecord,
  type Superseded,
  addCounts,
  readRecord,
  recordSummary,
} from './record.ts'
import { CANDIDATE, newestStep, toDataFiles } from './warehouse.ts'
import { streamWatermark } from './watermark.ts'

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
  /** Called when the stream stops for good. */
  onFailed(error: MillraceError): void
}

export interface StreamLimits {
  /** Longest time between a gated batch and its commit while busy, ms. */
  readonly commitIntervalMs: number
  /** A stream at rest for this long commits at once, ms. */
  readonly quietMs: number
  /** Shortest time between two micro-batches of a lane, ms: bounds the number of segments. */
  readonly lingerMs: number
}

/** Where a stream stands in the lake. */
export interface Committed {
  /** Next offset per partition. */
  readonly offsets: readonly number[]
  readonly counts: Counts
  /** Newest event time accepted per partition, ms; null before the first. Empty without an event time. */
  readonly newest: readonly (number | null)[]
  /** Replays done, of log or quarantine. */
  readonly replays: number
  /** Ranges that hold an older version of a file, and were left out. */
  readonly superseded: readonly Superseded[]
}

/** Files that take the place of others. */
export interface Replacement {
  readonly committed: Partial<Committed>
  readonly add: readonly DataFile[]
  readonly remove: readonly string[]
  readonly quarantineAdd: readonly DataFile[]
  readonly quarantineRemove: readonly string[]
}

/** Shortest time between two commits when a window waits, ms. */
const URGENT_MS = 200
const LOOK_MS = 50

const NO_PARTITIONS: ReadonlySet<number> = new Set()

/** A gated micro-batch that awaits its commit: part of the hot view. */
interface Landed {
  readonly partition: number
  readonly to: number
  readonly files: readonly DataFile[]
  /** The same, for the commit, once they are fsynced. */
  readonly rows: Promise<readonly DataFile[]>
  readonly refused: Promise<readonly DataFile[]>
  readonly counts: Counts
  readonly newestMs: number
}

/**
 * Takes a stream's records from its log through the gate into the lake, exactly once: the offsets reached are part of
 * the commit that holds their rows, so after a crash it goes on from there.
 */
export class StreamRunner {
  readonly #options: StreamRunnerOptions
  readonly #partitions: readonly PartitionRunner[]
  #landed: Landed[] = []
  #hotVersion = 0
  #committed: Committed
  readonly #commits = new SerialQueue()
  readonly #rewrites = new SerialQueue()
  readonly #bell = new Bell()
  #running: Promise<unknown> = Promise.resolve()
  #stopping = new AbortController()
  #commitTimer: Promise<void> | undefined
  #lastCommitMs = -Infinity
  #lastLandedMs = -Infinity
  /** When each partition's last record came, or the stream was opened. */
  readonly #lastRecordMs: number[]
  #paused = false
  /** A window waits for what has landed. */
  #urgent = false
  #quarantine: LakeTable | undefined
  failure: MillraceError | undefined

  private constructor(options: StreamRunnerOptions) {
    this.#options = options
    const newest = newestStep(options.table)
    const partitions = options.log.partitions
    const offsets = partitions.map((partition, i) => newest?.record.offsets?.[i] ?? partition.start)
    this.#committed = {
      offsets,
      counts: newest?.record.counts ?? NO_COUNTS,
      newest: options.eventTime === undefined ? [] : partitions.map((_, i) => newest?.record.newest?.[i] ?? null),
      replays: newest?.record.replays ?? 0,
      superseded: newest?.record.superseded ?? [],
    }
    this.#lastRecordMs = partitions.map(() => options.clock.monotonic())
    this.#partitions = partitions.map((partition, i) => this.#partitionRunner(partition, offsets[i]!))
    partitions.forEach((partition, i) => partition.checkpointed(offsets[i]!))
  }

  #partitionRunner(log: PartitionLog, from: number): PartitionRunner {
    const { stream, eventTime, lanes, clock, limits, code, temporary, table } = this.#options
    return new PartitionRunner({
      stream,
      eventTime,
      log,
      from,
      newestMs: this.#committed.newest[log.partition] ?? -Infinity,
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
        this.#committed.superseded
          .filter((range) => range.partition === log.partition)
          .map((range) => [range.from, range.to] as const),
      acceptedFiles: () => this.#acceptedFiles(),
      onLanded: (segment, result) => this.#land(segment, result),
      onFailed: (error) => this.#fail(error),
    })
  }

  async #acceptedFiles(): Promise<readonly { path: string }[]> {
    const { table } = this.#options
    // Taken together: a commit moves files from one to the other.
    const newest = newestStep(table)
    const landed = this.#landed.flatMap(({ files }) => files)
    const committed = newest ? await table.files(newest.snapshot) : []
    return [...committed, ...landed]
  }

  static async open(options: StreamRunnerOptions): Promise<StreamRunner> {
    const runner = new StreamRunner(options)
    runner.#quarantine = await options.openQuarantine(false)
    await runner.#recoverQuarantine()
    return runner
  }

  get stream(): Stream {
    return this.#options.stream
  }

  get table(): LakeTable {
    return this.#options.table
  }

  /** The quarantine table, when there is one. */
  get quarantine(): LakeTable | undefined {
    return this.#quarantine
  }

  /** The quarantine table, made when there is none yet. */
  async quarantineTable(): Promise<LakeTable> {
    return (this.#quarantine ??= (await this.#options.openQuarantine(true))!)
  }

  get log(): StreamLog {
    return this.#options.log
  }

  /** Partitions that have been without records for longer than the stream's `idle`. */
  idlePartitions(): ReadonlySet<number> {
    const { eventTime, clock, log } = this.#options
    if (eventTime === undefined || eventTime.idleMs === Infinity) return NO_PARTITIONS
    const since = clock.monotonic() - eventTime.idleMs
    // What waits to be processed is on its way, however long that takes.
    const isIdle = ({ partition, end }: PartitionLog) =>
      this.#lastRecordMs[partition]! <= since && this.#committed.offsets[partition]! >= end
    return new Set(log.partitions.filter(isIdle).map(({ partition }) => partition))
  }

  /** Counts of what is committed and landed. */
  get counts(): Counts {
    return this.#landed.reduce((sum, landed) => addCounts(sum, landed.counts), this.#committed.counts)
  }

  /** Acknowledged records not yet in a committed snapshot. */
  get lag(): number {
    return this.#options.log.partitions.reduce(
      (sum, partition, i) => sum + partition.end - this.#committed.offsets[i]!,
      0,
    )
  }

  /** Records have come to a partition. */
  grown(partition: number): void {
    this.#lastRecordMs[partition] = this.#options.clock.monotonic()
    this.#bell.ring()
  }

  /** Starts the lanes. */
  start(): void {
    const { signal } = this.#stopping
    this.#running = Promise.all(this.#partitions.map((partition) => partition.run(signal)))
  }

  /** Stops after the batches under way, and commits what has landed. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#bell.ring()
    await this.#running
    await this.commit()
    await this.#commits.idle()
  }

  /** Gates and commits everything acknowledged when called. Throws what stopped the stream, if anything did. */
  async drain(): Promise<void> {
    const ends = this.#options.log.partitions.map((partition) => partition.end)
    while (!this.failure && this.#partitions.some(({ position }, i) => position < ends[i]!)) await this.#bell.wait()
    await this.commit()
    if (this.failure) throw this.failure
  }

  #fail(error: MillraceError): void {
    if (this.failure) return
    this.failure = error
    this.#stopping.abort()
    this.#bell.ring()
    this.#options.onFailed(error)
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
      while (this.#partitions.some((partition) => partition.isBusy)) await this.#bell.wait()
      await this.commit()
      if (this.failure) throw this.failure
      return await work()
    } finally {
      this.#paused = false
      this.#bell.ring()
    }
  }

  #land(segment: Segment, result: BatchResult): void {
    const { accepted, duplicates, quarantined, files, quarantineFiles, newestMs } = result
    const sync = (table: LakeTable, written: readonly WrittenFile[]) => {
      const synced = table.syncAhead(toDataFiles(table, written))
      // Told by the commit.
      synced.catch(() => undefined)
      return synced
    }
    this.#landed.push({
      partition: segment.partition,
      to: segment.to,
      files: toDataFiles(this.#options.table, files),
      rows: sync(this.#options.table, files),
      refused: quarantineFiles.length === 0 ? Promise.resolve([]) : sync(this.#quarantine!, quarantineFiles),
      counts: { received: accepted + duplicates + quarantined, accepted, duplicates, quarantined },
      newestMs,
    })
    this.#hotVersion++
    this.#lastLandedMs = this.#options.clock.monotonic()
    this.#urgent ||= this.#passesWindow()
    this.#scheduleCommit()
  }

  /** Whether what has landed takes the watermark past a moment that a table waits for. */
  #passesWindow(): boolean {
    const { eventTime, stream, isAwaited } = this.#options
    if (eventTime === undefined) return false
    const reached = [...this.#committed.newest]
    for (const { partition, newestMs } of this.#landed) if (newestMs > -Infinity) reached[partition] = newestMs
    const watermark = (newest: readonly (number | null)[]) =>
      streamWatermark(stream, newest, this.idlePartitions()) ?? -Infinity
    return isAwaited(watermark(this.#committed.newest), watermark(reached))
  }

  #scheduleCommit(): void {
    if (this.#commitTimer) return
    this.#commitTimer = this.#commitWhenDue().catch((error: unknown) => this.#fail(asMillraceError(error)))
  }

  /** Waits until the interval since the last commit is over, or nothing has landed for a while: then there is no reason to wait. */
  async #commitWhenDue(): Promise<void> {
    const { clock, limits } = this.#options
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const interval = this.#urgent ? Math.min(URGENT_MS, limits.commitIntervalMs) : limits.commitIntervalMs
      const due = Math.min(this.#lastCommitMs + interval, this.#lastLandedMs + limits.quietMs)
      const wait = due - clock.monotonic()
      if (wait <= 0) break
      // It may become urgent meanwhile.
      await clock.sleep(Math.min(wait, LOOK_MS), signal)
    }
    await this.commit()
  }

  /** Commits what has landed: quarantine first, then the rows with the offsets. A crash between the two is mended on open. */
  commit(): Promise<void> {
    return this.#commits.run(async () => {
      this.#commitTimer = undefined
      const landed = [...this.#landed]
      if (landed.length === 0 || this.failure) return
      const { log, clock } = this.#options
      const offsets = [...this.#committed.offsets]
      const newest = [...this.#committed.newest]
      for (const { partition, to, newestMs } of landed) {
        offsets[partition] = to
        if (newestMs > -Infinity && this.#options.eventTime) newest[partition] = newestMs
      }
      const counts = landed.reduce((sum, l) => addCounts(sum, l.counts), this.#committed.counts)
      const committed = { ...this.#committed, offsets, counts, newest }
      const summary = recordSummary(this.#record(committed))
      const append = (add: readonly DataFile[]): Commit => ({ operation: 'append', add, remove: [], summary })
      const rows = (await Promise.all(landed.map((l) => l.rows))).flat()
      const refused = (await Promise.all(landed.map((l) => l.refused))).flat()
      const snapshot = await this.#commitBoth(append(rows), refused.length > 0 ? append(refused) : undefined)
      this.#committed = committed
      this.#landed.splice(0, landed.length)
      this.#urgent = this.#landed.length > 0 && this.#passesWindow()
      this.#hotVersion++
      this.#lastCommitMs = clock.monotonic()
      log.partitions.forEach((partition, i) => partition.checkpointed(offsets[i]!))
      if (this.#landed.length > 0) this.#scheduleCommit()
      this.#options.onCommit(snapshot)
    })
  }

  /**
   * Commits quarantine, if any, then the rows. When the second fails the quarantine is ahead, which is mended on open and
   * only there: the stream ends, for whatever it committed next would rest on a quarantine that is not its own.
   */
  async #commitBoth(rows: Commit, refused: Commit | undefined): Promise<Snapshot> {
    const { table, audited } = this.#options
    try {
      if (refused) await (await this.quarantineTable()).commit(refused)
      return await table.commit({ ...rows, ...(audited ? { ref: CANDIDATE } : {}) })
    } catch (error) {
      this.#fail(asMillraceError(error))
      throw error
    }
  }

  #record({ offsets, counts, newest, replays, superseded }: Committed): StepRecord {
    const { run, code } = this.#options
    return {
      run,
      code,
      offsets,
      counts,
      ...(newest.length === 0 ? {} : { newest }),
      ...(replays === 0 ? {} : { replays }),
      ...(superseded.length === 0 ? {} : { superseded }),
    }
  }

  /** The published rows and, unless audits hold snapshots back, the rows that landed since. */
  async hot(): Promise<{ files: readonly DataFile[]; version: string; rows: number }> {
    const { table, audited } = this.#options
    // Taken together: a commit moves files from one to the other.
    const main = table.snapshot('main')
    const landed = audited ? [] : this.#landed.flatMap((l) => l.files)
    const version = `${main?.id ?? 0}.${audited ? 0 : this.#hotVersion}`
    const committed = main ? await table.files(main) : []
    const rows = [...committed, ...landed].reduce((sum, file) => sum + file.records, 0)
    return { files: [...committed, ...landed], version, rows }
  }

  /** What is committed. */
  get committed(): Committed {
    return this.#committed
  }

  get options(): StreamRunnerOptions {
    return this.#options
  }

  /**
   * Replaces rows of the stream and of its quarantine as one step, quarantine first; only within `exclusively`. The
   * commit of the rows decides: quarantine that is ahead of it after a crash is taken back.
   */
  async replace(change: Replacement): Promise<Snapshot> {
    const { log } = this.#options
    const committed: Committed = { ...this.#committed, ...change.committed, replays: this.#committed.replays + 1 }
    const summary = recordSummary(this.#record(committed))
    const { add, remove, quarantineAdd, quarantineRemove } = change
    const overwrite = { operation: 'overwrite', summary } as const
    const snapshot = await this.#commitBoth(
      { ...overwrite, add, remove },
      quarantineAdd.length + quarantineRemove.length > 0
        ? { ...overwrite, add: quarantineAdd, remove: quarantineRemove }
        : undefined,
    )
    this.#committed = committed
    committed.offsets.forEach((offset, i) => this.#partitions[i]!.moveTo(offset, committed.newest[i] ?? -Infinity))
    this.#hotVersion++
    log.partitions.forEach((partition, i) => partition.checkpointed(committed.offsets[i]!))
    this.#options.onCommit(snapshot)
    return snapshot
  }

  // Quarantine is committed before the rows. If the process died in between, its last snapshots are ahead of the
  // checkpoint, and the same records will be gated again: those snapshots are taken back.
  async #recoverQuarantine(): Promise<void> {
    const quarantine = this.#quarantine
    if (!quarantine) return
    const reached = this.#committed.offsets
    const history = quarantine.history()
    const { replays } = this.#committed
    const isAhead = (snapshot: Snapshot) => {
      const record = readRecord(snapshot.summary)
      return (record?.replays ?? 0) > replays || (record?.offsets ?? []).some((offset, i) => offset > (reached[i] ?? 0))
    }
    let at = quarantine.snapshot()
    if (!at || !isAhead(at)) return
    while (at && isAhead(at)) {
      const { parentId }: Snapshot = at
      at = parentId === undefined ? undefined : history.find((snapshot) => snapshot.id === parentId)
      assert(parentId === undefined || at, 'the snapshot before an unfinished commit has not expired')
    }
    await quarantine.setRef('main', at?.id)
  }
}

import { MillraceError, asMillraceError, assert } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import { durationMs } from '../base/duration.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { SerialQueue } from '../base/queue.ts'
import type { WrittenFile } from '../engine/duckdb/parquet.ts'
import type { LakeTable, Snapshot } from '../lake/table.ts'
import type { PartitionLog, RecordBatch, Segment, StreamLog } from '../log/log.ts'
import { routeLines } from '../log/route.ts'
import type { Stream } from '../project/stream.ts'
import type { Gate } from '../quality/gate.ts'
import type { BatchJob, BatchResult } from './lane-messages.ts'
import type { Lanes } from './lanes.ts'
import {
  type Counts,
  NO_COUNTS,
  type StepRecord,
  type Superseded,
  addCounts,
  readRecord,
  recordSummary,
} from './record.ts'
import { CANDIDATE, dataDirectory, newestStep, partitionColumns, relationOf, toDataFiles } from './warehouse.ts'

export interface StreamRunnerOptions {
  readonly stream: Stream
  readonly gate: Gate
  readonly code: string
  readonly run: string
  readonly log: StreamLog
  readonly table: LakeTable
  readonly quarantine: LakeTable
  readonly lanes: Lanes
  readonly clock: Clock
  readonly temporary: string
  readonly limits: StreamLimits
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
  /** Acknowledged, uncommitted bytes over which appends are refused. */
  readonly backlogBytes: number
  /** Shortest time between two micro-batches of a lane, ms: bounds the number of segments. */
  readonly lingerMs: number
}

/** A gated micro-batch that awaits its commit: part of the hot view. */
interface Landed {
  readonly partition: number
  readonly to: number
  readonly files: readonly WrittenFile[]
  readonly quarantineFiles: readonly WrittenFile[]
  readonly counts: Counts
}

/**
 * Takes a stream's records from its log through the gate into the lake, exactly once: the offsets reached are part of
 * the commit that holds their rows, so after a crash it goes on from there.
 */
export class StreamRunner {
  readonly #options: StreamRunnerOptions
  /** Next offset to gate, per partition. */
  readonly #positions: number[]
  #landed: Landed[] = []
  #hotVersion = 0
  #committed: { offsets: readonly number[]; counts: Counts; replays: number; superseded: readonly Superseded[] }
  readonly #restored = new Set<number>()
  readonly #commits = new SerialQueue()
  readonly #wake: (() => void)[] = []
  readonly #lanes: Promise<void>[] = []
  #stopping = new AbortController()
  #commitTimer: Promise<void> | undefined
  #lastCommitMs = -Infinity
  #nextPartition = 0
  failure: MillraceError | undefined

  private constructor(options: StreamRunnerOptions) {
    this.#options = options
    const newest = newestStep(options.table)
    const partitions = options.log.partitions
    const offsets = partitions.map((partition, i) => newest?.record.offsets?.[i] ?? partition.start)
    this.#positions = [...offsets]
    this.#committed = {
      offsets,
      counts: newest?.record.counts ?? NO_COUNTS,
      replays: newest?.record.replays ?? 0,
      superseded: newest?.record.superseded ?? [],
    }
    partitions.forEach((partition, i) => partition.checkpointed(offsets[i]!))
  }

  static async open(options: StreamRunnerOptions): Promise<StreamRunner> {
    const runner = new StreamRunner(options)
    await runner.#recoverQuarantine()
    return runner
  }

  get stream(): Stream {
    return this.#options.stream
  }

  get table(): LakeTable {
    return this.#options.table
  }

  get quarantine(): LakeTable {
    return this.#options.quarantine
  }

  get log(): StreamLog {
    return this.#options.log
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

  get superseded(): readonly Superseded[] {
    return this.#committed.superseded
  }

  /** Makes records durable. Throws unavailable/backlog-full over the bound, and whatever ended the stream. */
  async append(batch: RecordBatch): Promise<{ received: number; repeated: boolean }> {
    if (this.failure) throw this.failure
    const { log, limits, stream } = this.#options
    const backlog = log.partitions.reduce((sum, partition) => sum + partition.backlogBytes, 0)
    if (backlog > limits.backlogBytes) {
      throw new MillraceError(
        'unavailable',
        'backlog-full',
        `Stream '${stream.name}' has ${backlog} bytes waiting to be processed, over its bound of ${limits.backlogBytes}.`,
        {
          hint: 'Send again after the time in Retry-After; nothing of this request was kept.',
          context: { dataset: stream.name },
        },
      )
    }
    if (log.partitions.length === 1) return this.#appendTo(log.partitions[0]!, batch)
    if (stream.key.length === 0) {
      this.#nextPartition = (this.#nextPartition + 1) % log.partitions.length
      return this.#appendTo(log.partitions[this.#nextPartition]!, batch)
    }
    const lines = batch.lines instanceof Uint8Array ? batch.lines : Buffer.concat(batch.lines)
    const parts = routeLines(lines, stream.key, log.partitions.length)
    const results = await Promise.all(
      parts.map((part, i) =>
        part.records === 0
          ? undefined
          : this.#appendTo(log.partitions[i]!, { ...batch, lines: part.lines, records: part.records }),
      ),
    )
    return { received: batch.records, repeated: results.every((result) => result === undefined || result.repeated) }
  }

  async #appendTo(partition: PartitionLog, batch: RecordBatch): Promise<{ received: number; repeated: boolean }> {
    const { repeated } = await partition.append(batch)
    this.#notify()
    return { received: batch.records, repeated }
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }

  /** Starts the lanes. */
  start(): void {
    for (const partition of this.#options.log.partitions) this.#lanes.push(this.#runLane(partition))
  }

  /** Stops after the batches under way, and commits what has landed. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#notify()
    await Promise.all(this.#lanes.splice(0))
    await this.commit()
    await this.#commits.idle()
  }

  /** Gates and commits everything acknowledged when called. Throws what stopped the stream, if anything did. */
  async drain(): Promise<void> {
    const ends = this.#options.log.partitions.map((partition) => partition.end)
    while (!this.failure && this.#positions.some((position, i) => position < ends[i]!))
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    if (this.failure) throw this.failure
    await this.commit()
  }

  async #runLane(partition: PartitionLog): Promise<void> {
    const { signal } = this.#stopping
    const { clock, limits } = this.#options
    try {
      while (!signal.aborted) {
        if (partition.end <= this.#positions[partition.partition]!) {
          await new Promise<void>((resolve) => this.#wake.push(resolve))
          continue
        }
        const started = clock.monotonic()
        const release = partition.hold()
        try {
          for (const segment of await partition.take(this.#positions[partition.partition]!)) {
            if (signal.aborted) break
            await this.#gate(partition, segment)
            this.#notify()
          }
        } finally {
          release()
        }
        const rest = limits.lingerMs - (clock.monotonic() - started)
        if (rest > 0) await clock.sleep(rest, signal)
      }
    } catch (error) {
      this.#fail(asMillraceError(error))
    }
  }

  #fail(error: MillraceError): void {
    if (this.failure) return
    this.failure = error
    this.#stopping.abort()
    this.#notify()
    this.#options.onFailed(error)
  }

  async #gate(partition: PartitionLog, segment: Segment): Promise<void> {
    const job = await this.#job(partition, segment, this.#committed.superseded, this.#positions[partition.partition]!)
    const result = await this.#attempt(partition.partition, job)
    const { accepted, duplicates, quarantined, files, quarantineFiles } = result
    this.#landed.push({
      partition: partition.partition,
      to: segment.to,
      files,
      quarantineFiles,
      counts: { received: accepted + duplicates + quarantined, accepted, duplicates, quarantined },
    })
    this.#hotVersion++
    this.#positions[partition.partition] = segment.to
    this.#scheduleCommit()
  }

  /** Runs a batch; a lane thread that ended, or an engine short of memory, is tried again with the lane restored. */
  async #attempt(partition: number, job: BatchJob): Promise<BatchResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#restore(partition)
        return await this.#options.lanes.batch(job)
      } catch (error) {
        const known = asMillraceError(error)
        this.#restored.delete(partition)
        if (!known.retryable || attempt === ATTEMPTS_MAX || this.#stopping.signal.aborted) throw known
        await this.#options.clock.sleep(RETRY_MS * 2 ** attempt, this.#stopping.signal)
      }
    }
  }

  async #job(
    partition: PartitionLog,
    segment: Segment,
    superseded: readonly Superseded[],
    position: number,
  ): Promise<BatchJob> {
    const { gate, table, quarantine, stream, code, temporary } = this.#options
    const frames = await partition.frames(segment)
    const { names, select } = partitionColumns(table)
    const skip = superseded
      .filter((s) => s.partition === partition.partition)
      .map(({ from, to }) => [from, to] as const)
    if (segment.from < position) skip.push([segment.from, position])
    const diagnosePath = `${temporary}/${stream.name}-${partition.partition}-${segment.from}.ndjson`
    return {
      kind: 'batch',
      lane: laneName(stream, partition.partition),
      partition: partition.partition,
      select: gate.select(segment.path, partition.partition, select),
      diagnose: gate.diagnose(diagnosePath),
      diagnosePath,
      segment: { path: segment.path, compressed: segment.compression === 'zstd', from: segment.from, to: segment.to },
      headers: frames.map(({ line, offset, atMs }) => ({ line, offset, atMs })),
      skip,
      directory: dataDirectory(table),
      fields: table.fields,
      partitionColumns: names,
      quarantineDirectory: dataDirectory(quarantine),
      quarantineFields: quarantine.fields,
      code,
      unique: gate.fingerprint !== undefined,
    }
  }

  /** Rebuilds the keys a lane has seen, from the lake and what has landed: the only places they come from. */
  async #restore(partition: number): Promise<void> {
    const { gate, lanes, stream } = this.#options
    if (this.#restored.has(partition) || gate.fingerprint === undefined) return
    await lanes.restore({
      kind: 'restore',
      lane: laneName(stream, partition),
      horizonMs: this.#horizonMs(),
      sql: await this.#seenSql(partition),
    })
    this.#restored.add(partition)
  }

  #horizonMs(): number | undefined {
    const horizon = this.#options.stream.unique?.horizon
    return horizon === undefined ? undefined : durationMs(horizon, 'unique.horizon')
  }

  async #seenSql(partition: number): Promise<string | undefined> {
    const { gate, table, stream } = this.#options
    const newest = newestStep(table)
    const committed = newest ? await table.files(newest.snapshot) : []
    const files = [...committed, ...this.#landed.flatMap((landed) => landed.files)]
    if (files.length === 0) return undefined
    const horizonMs = this.#horizonMs()
    const time = horizonMs === undefined ? '0::DOUBLE' : `epoch_ms(${quoteIdentifier(stream.time!)}::TIMESTAMP)::DOUBLE`
    const relation = `(SELECT * FROM ${relationOf(table, files)} WHERE _partition = ${partition})`
    const within =
      horizonMs === undefined ? '' : ` WHERE ${time} >= (SELECT max(${time}) FROM ${relation}) - ${horizonMs * 1.25}`
    return `SELECT ${gate.fingerprint!.join(', ')}, ${time} FROM ${relation}${within} ORDER BY _offset`
  }

  #scheduleCommit(): void {
    if (this.#commitTimer) return
    const { clock, limits } = this.#options
    const wait = Math.max(0, this.#lastCommitMs + limits.commitIntervalMs - clock.monotonic())
    this.#commitTimer = clock
      .sleep(wait, this.#stopping.signal)
      .then(() => this.commit())
      .catch((error: unknown) => this.#fail(asMillraceError(error)))
  }

  /** Commits what has landed: quarantine first, then the rows with the offsets. A crash between the two is mended on open. */
  commit(): Promise<void> {
    return this.#commits.run(async () => {
      this.#commitTimer = undefined
      const landed = [...this.#landed]
      if (landed.length === 0 || this.failure?.kind === 'corrupt') return
      const { table, quarantine, audited, log, clock } = this.#options
      const offsets = [...this.#committed.offsets]
      for (const { partition, to } of landed) offsets[partition] = to
      const counts = landed.reduce((sum, l) => addCounts(sum, l.counts), this.#committed.counts)
      const summary = recordSummary(this.#record(offsets, counts))
      const refused = landed.flatMap((l) => l.quarantineFiles)
      if (refused.length > 0)
        await quarantine.commit({ operation: 'append', add: toDataFiles(quarantine, refused), remove: [], summary })
      const accepted = landed.flatMap((l) => l.files)
      const snapshot = await table.commit({
        operation: 'append',
        add: toDataFiles(table, accepted),
        remove: [],
        summary,
        ...(audited ? { ref: CANDIDATE } : {}),
      })
      this.#committed = { ...this.#committed, offsets, counts }
      this.#landed.splice(0, landed.length)
      this.#hotVersion++
      this.#lastCommitMs = clock.monotonic()
      log.partitions.forEach((partition, i) => partition.checkpointed(offsets[i]!))
      if (this.#landed.length > 0) this.#scheduleCommit()
      this.#options.onCommit(snapshot)
    })
  }

  #record(offsets: readonly number[], counts: Counts): StepRecord {
    const { run, code } = this.#options
    const { replays, superseded } = this.#committed
    return {
      run,
      code,
      offsets,
      counts,
      ...(replays === 0 ? {} : { replays }),
      ...(superseded.length === 0 ? {} : { superseded }),
    }
  }

  /** The published rows and, unless audits hold snapshots back, the rows that landed since. */
  async hot(): Promise<{ files: readonly { path: string }[]; version: string; rows: number }> {
    const { table, audited } = this.#options
    // Taken together: a commit moves files from one to the other.
    const main = table.snapshot('main')
    const landed = audited ? [] : this.#landed.flatMap((l) => l.files)
    const version = `${main?.id ?? 0}.${audited ? 0 : this.#hotVersion}`
    const committed = main ? await table.files(main) : []
    const rows = [...committed, ...landed].reduce((sum, file) => sum + file.records, 0)
    return { files: [...committed, ...landed], version, rows }
  }

  // Quarantine is committed before the rows. If the process died in between, its last snapshots are ahead of the
  // checkpoint, and the same records will be gated again: those snapshots are taken back.
  async #recoverQuarantine(): Promise<void> {
    const { quarantine } = this.#options
    const reached = this.#committed.offsets
    const history = quarantine.history()
    const isAhead = (snapshot: Snapshot) =>
      (readRecord(snapshot.summary)?.offsets ?? []).some((offset, i) => offset > (reached[i] ?? 0))
    let at = quarantine.snapshot()
    if (!at || !isAhead(at)) return
    while (at && isAhead(at)) {
      const { parentId } = at as Snapshot
      at = parentId === undefined ? undefined : history.find((snapshot) => snapshot.id === parentId)
      assert(parentId === undefined || at, 'the snapshot before an unfinished commit has not expired')
    }
    await quarantine.setRef('main', at?.id)
  }
}

const ATTEMPTS_MAX = 5
const RETRY_MS = 50

function laneName(stream: Stream, partition: number): string {
  return `${stream.name}/${partition}`
}

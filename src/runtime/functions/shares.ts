import type { Clock } from '../../base/clock.ts'
import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { DataFile } from '../../lake/data-file.ts'
import { columnBounds } from '../../lake/filter.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import { asTimestamp } from '../../engine/dialect.ts'
import type { Dataset } from '../../project/dataset.ts'
import { timeColumn } from '../../project/event-time.ts'
import type { Table } from '../../project/table.ts'
import { type Advance, type Basis, type Committed, fencedPartition, isSameBasis } from '../streams/committed.ts'
import type { Engine, EngineStep } from '../engine.ts'
import { type Reach, beginningOf, reachAt, sharedStream } from './reach.ts'
import { type Counts, addCounts } from '../record.ts'
import { StreamCommits } from '../streams/stream-commits.ts'
import { type Taken, type TransformRunner, withoutRefused } from './transform-runner.ts'

export interface SharesOptions {
  readonly table: Table
  readonly lakeTable: LakeTable
  readonly code: string
  readonly run: string
  readonly clock: Clock
  /** The embedded one: functions run here. */
  readonly engine: Engine
  readonly transform: TransformRunner
  lakeTableOf(dataset: Dataset): LakeTable
  openQuarantine(create: boolean): Promise<LakeTable | undefined>
}

/** What a step did; undefined where nothing was due. */
export interface ShareOutcome {
  /** Undefined where another worker was faster. */
  readonly snapshot: Snapshot | undefined
  /** There is more to be done already. */
  readonly more: boolean
}

/** The input as a step reads it. */
interface Input {
  readonly table: LakeTable
  readonly snapshot: Snapshot
  readonly reach: Reach
}

/** Records [from, to) of a partition. */
interface Range {
  readonly partition: number
  readonly from: number
  readonly to: number
}

/** Records that a step takes: so many that it takes about so long, for whoever shall have its partitions waits for its end. */
const STEP = { ms: 2_000, first: 16_384, min: 1_024, max: 262_144 } as const

/**
 * The work on a table that functions make row by row, shared by the partitions of the stream that the rows come from: each is one
 * worker's, and its commit says up to which record its rows are there. So any number of workers commit to the table, each adding
 * to what the others did, as they do to a stream (`StreamCommits`).
 *
 * Rows that were taken before are made anew when the code is another or the input has others below the offsets. Whoever has the
 * first partition does that, for all partitions and as one commit; the others wait for it.
 */
export class Shares {
  readonly #options: SharesOptions
  readonly #commits: StreamCommits
  readonly #input: Dataset
  /** Partitions that are this worker's, with the epochs of their leases. */
  readonly #owned = new Map<number, number | undefined>()
  #records: number = STEP.first
  /** The last commit failed: quarantine may be ahead of the rows. */
  #failed = false

  private constructor(options: SharesOptions, commits: StreamCommits) {
    this.#options = options
    this.#commits = commits
    this.#input = options.table.transform!.input!
  }

  static async open(options: SharesOptions): Promise<Shares> {
    const { table, lakeTable, code, run, lakeTableOf } = options
    const commits = await StreamCommits.open({
      dataset: table,
      run,
      code,
      table: lakeTable,
      audited: false,
      openQuarantine: (create) => options.openQuarantine(create),
      beginning: beginningOf(table, lakeTableOf),
    })
    return new Shares(options, commits)
  }

  /** How many there are in all. */
  get partitions(): number {
    return sharedStream(this.#options.table)!.partitions
  }

  get owned(): readonly number[] {
    return [...this.#owned.keys()].toSorted((a, b) => a - b)
  }

  /** Whether all are this worker's. */
  get isAlone(): boolean {
    return this.#owned.size === this.partitions
  }

  get quarantine(): LakeTable | undefined {
    return this.#commits.quarantine
  }

  /** Makes partitions this worker's, under the leases with these epochs; not while a step runs. Errors: `StreamCommits.take`. */
  async take(partitions: ReadonlyMap<number, number | undefined>): Promise<void> {
    await this.#commits.take(partitions)
    for (const [partition, epoch] of partitions) this.#owned.set(partition, epoch)
  }

  /** Takes no more of a partition; what is under way goes on until `lose`. */
  leave(partition: number): void {
    this.#owned.delete(partition)
  }

  /** Lets go of a partition: a step under way commits nothing of it. */
  lose(partition: number): void {
    this.#owned.delete(partition)
    this.#commits.drop(partition)
  }

  /** Takes some of what is due, or all rows anew. Errors: those of functions and of the lake; then nothing was committed. */
  async step(everything: boolean): Promise<ShareOutcome | undefined> {
    try {
      // What a failed commit left in quarantine goes before the same rows are taken again.
      if (this.#failed) await this.#commits.take(this.#owned)
      this.#failed = false
      const committed = await this.#commits.refresh()
      const input = await this.#pin()
      if (!input || this.#owned.size === 0) return undefined
      const basis = { code: this.#options.code, source: input.reach.source }
      if (!everything && !this.#isToRenew(committed, basis)) return await this.#advance(input, committed, basis)
      return this.#owned.has(0) ? await this.#renew(input, committed, basis, everything) : undefined
    } catch (error) {
      this.#failed = true
      return this.#overruled(error)
    }
  }

  /** Somebody else has a partition, or has made the rows anew: that is no failure. */
  async #overruled(error: unknown): Promise<ShareOutcome> {
    const partition = fencedPartition(error)
    if (partition !== undefined && this.#owned.get(partition) !== undefined) this.lose(partition)
    else if (partition === undefined || this.#owned.has(partition)) {
      const { replays } = this.#commits.committed
      if (asMillraceError(error).code !== 'overtaken' || (await this.#commits.refresh()).replays === replays)
        throw error
    }
    return { snapshot: undefined, more: true }
  }

  async #pin(): Promise<Input | undefined> {
    const table = this.#options.lakeTableOf(this.#input)
    await table.refresh()
    const snapshot = table.snapshot()
    const reach = snapshot && reachAt(this.#input, String(snapshot.id), this.#options.lakeTableOf)
    return reach && { table, snapshot, reach }
  }

  #isToRenew({ basis }: Committed, now: Basis): boolean {
    return (basis !== undefined && !isSameBasis(basis, now)) || this.#commits.isUnfinished
  }

  async #advance(input: Input, committed: Committed, basis: Basis): Promise<ShareOutcome | undefined> {
    const { clock } = this.#options
    const ranges = await this.#due(committed.offsets, input)
    if (ranges.length === 0) return undefined
    const begun = clock.monotonic()
    let newest: ReadonlyMap<number, number> = new Map()
    const { add, refused, counts } = await this.#take(async (engine) => {
      const files = await filesOf(input, ranges)
      const rows = `${await engine.relation(input.table, files)} WHERE ${ranges.map(condition).join(' OR ')}`
      newest = await this.#newestOf(engine, input, ranges, rows)
      return `SELECT * FROM ${rows}`
    })
    const moves = ranges.map(({ partition, ...range }) => {
      const newestMs = Math.max(newest.get(partition) ?? -Infinity, committed.newest[partition] ?? -Infinity)
      return [partition, { ...range, newestMs: newestMs === -Infinity ? undefined : newestMs }] as const
    })
    const advance: Advance = { moves: new Map(moves), counts, made: { basis, inputs: this.#read(input) } }
    const snapshot = await this.#commits.commitStep({ advance, add, refused })
    this.#paceBy(ranges, clock.monotonic() - begun)
    return { snapshot, more: ranges.some(({ partition, to }) => to < input.reach.offsets[partition]!) }
  }

  /** What is due of this worker's partitions, so much of each that a step takes its time. */
  async #due(offsets: readonly number[], input: Input): Promise<Range[]> {
    const due = this.owned.filter((partition) => offsets[partition]! < input.reach.offsets[partition]!)
    const most = Math.ceil(this.#records / due.length)
    return Promise.all(
      due.map(async (partition) => {
        const all = { partition, from: offsets[partition]!, to: input.reach.offsets[partition]! }
        return { ...all, to: Math.min(all.to, (await firstOf(input, all)) + most) }
      }),
    )
  }

  /**
   * Newest event time of the records up to where some ranges end: the input's own where they end as it does, for rows that it has
   * not (a filter's) have their time too; otherwise that of the rows that are taken.
   */
  async #newestOf(
    engine: EngineStep,
    { reach }: Input,
    ranges: readonly Range[],
    rows: string,
  ): Promise<ReadonlyMap<number, number>> {
    const found = new Map<number, number>()
    if (timeColumn(this.#options.table) === undefined) return found
    if (ranges.some(({ partition, to }) => to < reach.offsets[partition]!)) {
      const { dialect } = engine
      const time = dialect.epochMs(asTimestamp(dialect, dialect.identifier(timeColumn(this.#input)!)))
      const newest = await engine.rows(`SELECT _partition, max(${time}) AS newest FROM ${rows} GROUP BY _partition`)
      for (const { _partition, newest: ms } of newest) found.set(Number(_partition), Number(ms))
    }
    for (const { partition, to } of ranges)
      if (to === reach.offsets[partition]!) found.set(partition, reach.newest?.[partition] ?? -Infinity)
    return found
  }

  #paceBy(ranges: readonly Range[], ms: number): void {
    const records = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
    const aim = (records / Math.max(ms, 1)) * STEP.ms
    // A step of few records says little of one of many.
    if (aim < this.#records || records >= this.#records / 2)
      this.#records = Math.round(Math.min(Math.max(aim, STEP.min), this.#records * 4, STEP.max))
  }

  /** Takes all rows of the input, or only those that came in behind the offsets where nothing else has changed. */
  async #renew(input: Input, committed: Committed, basis: Basis, everything: boolean): Promise<ShareOutcome> {
    const came = everything ? undefined : await this.#cameBehind(input, committed, basis)
    const { add, refused, counts } = await this.#take(async (engine) => {
      const files = came ?? (await input.table.files(input.snapshot))
      return `SELECT * FROM ${await engine.relation(input.table, files)}`
    })
    const snapshot = await this.#commits.renew({
      committed: {
        offsets: input.reach.offsets,
        counts: came ? addCounts(committed.counts, counts) : counts,
        basis,
        inputs: this.#read(input),
        newest: committed.newest.map((_, i) => input.reach.newest?.[i] ?? null),
      },
      add,
      refused: { add: refused, remove: came ? [] : 'all' },
      isAll: came === undefined,
    })
    return { snapshot, more: false }
  }

  /** Files that a replay of the input's quarantine, say, has added; undefined where rows went, or not all before them were taken. */
  async #cameBehind(
    { table, snapshot }: Input,
    { basis, inputs, offsets }: Committed,
    { code }: Basis,
  ): Promise<readonly DataFile[] | undefined> {
    const id = inputs?.[this.#input.name]
    const read = reachAt(this.#input, id, this.#options.lakeTableOf)
    const isKnown = read && basis?.code === code && basis.source === read.source && !this.#commits.isUnfinished
    if (!isKnown || String(read.offsets) !== String(offsets)) return undefined
    const changes = await table.changes({ id: BigInt(id!) }, snapshot)
    return changes?.removed.length === 0 ? changes.added : undefined
  }

  /** Takes refused rows that meet a condition through the present functions again. Errors: `unavailable`/`partitions-elsewhere`. */
  async replayRefused(where: string): Promise<{ readonly snapshot: Snapshot | undefined; readonly fresh: Counts }> {
    const { transform, lakeTable } = this.#options
    this.checkAlone()
    const { offsets, counts, newest, basis, inputs } = await this.#commits.refresh()
    const { quarantine } = this
    const write = (sql: string) => this.#options.engine.step((step) => step.write(lakeTable, sql))
    const { add, refused, counts: fresh } = await transform.retake(quarantine, where, { write, directory: undefined })
    if (!quarantine || fresh.received === 0) return { snapshot: undefined, fresh }
    const gone = await transform.refusedWithout(quarantine, where)
    try {
      const snapshot = await this.#commits.renew({
        committed: { offsets, newest, basis, inputs, counts: withoutRefused(counts, fresh) },
        add,
        refused: { add: [...gone.add, ...refused], remove: gone.remove },
        isAll: false,
      })
      return { snapshot, fresh }
    } catch (error) {
      this.#failed = true
      throw error
    }
  }

  /** Errors: `unavailable`/`partitions-elsewhere` when other workers have some. */
  checkAlone(): void {
    if (this.isAlone) return
    const { name } = this.#options.table
    throw new MillraceError(
      'unavailable',
      'partitions-elsewhere',
      `This process has ${this.#owned.size} of the ${this.partitions} partitions of table '${name}', and this needs all.`,
      { hint: 'Stop the other workers for as long as it lasts.', context: { dataset: name } },
    )
  }

  #take(query: (engine: EngineStep) => Promise<string>): Promise<Taken> {
    const { engine, transform, lakeTable } = this.#options
    return engine.step(async (step) =>
      transform.take({ query: await query(step), write: (sql) => step.write(lakeTable, sql), directory: undefined }),
    )
  }

  #read({ snapshot }: Input): Readonly<Record<string, string>> {
    return { [this.#input.name]: String(snapshot.id) }
  }
}

function condition({ partition, from, to }: Range): string {
  return `(_partition = ${partition} AND _offset >= ${from} AND _offset < ${to})`
}

/** Files that may hold records of some ranges. */
async function filesOf(input: Input, ranges: readonly Range[]): Promise<DataFile[]> {
  const found = (await Promise.all(ranges.map((range) => filesOfRange(input, range)))).flat()
  return [...new Map(found.map((file) => [file.path, file])).values()]
}

function filesOfRange({ table, snapshot }: Input, { partition, from, to }: Range): Promise<DataFile[]> {
  return table.files(snapshot, [
    { column: '_partition', op: '=', value: partition },
    { column: '_offset', op: '>=', value: from },
    { column: '_offset', op: '<', value: to },
  ])
}

/** No record of a range is below: its log may begin far above 0. The end of the range where it holds none. */
async function firstOf(input: Input, range: Range): Promise<number> {
  const files = await filesOfRange(input, range)
  const lowest = files.map((file) => Number(columnBounds(file, '_offset', input.table.fields)?.[0] ?? 0))
  return Math.max(range.from, Math.min(range.to, ...lowest))
}

import { MillraceError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { FileFilter } from '../../lake/filter.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Field } from '../../project/columns.ts'
import type { Dataset } from '../../project/dataset.ts'
import { checkInputsOf } from '../../project/project.ts'
import { isWindowed, timeColumn, timedStream } from '../../project/event-time.ts'
import { type Table, queryFor } from '../../project/table.ts'
import { checksFingerprint } from '../../quality/audit.ts'
import { runAudits } from '../audits.ts'
import { castColumns } from './cast.ts'
import { type FilesOf, deltaReadings } from './delta.ts'
import type { Engine, EngineStep } from '../engine.ts'
import { frameOf } from './frame.ts'
import { type InputChanges, type Pins, changesSince, isChanged, pinsOf, wholeRelation } from './inputs.ts'
import { mergeByKey } from './key-merge.ts'
import { type Counts, NO_COUNTS, type StepRecord, readRecord, recordSummary } from '../record.ts'
import { reachAt } from '../functions/reach.ts'
import type { Shares } from '../functions/shares.ts'
import type { TransformRunner, Transformed } from '../functions/transform-runner.ts'
import { CANDIDATE, newestStep, rowsVersion } from '../warehouse.ts'
import { type IdlePartitions, queryWatermark, waitsForTime } from './watermark.ts'
import { computeSessions } from './sessions.ts'
import { computeWindows } from './windowed.ts'

export interface TableRunnerOptions {
  readonly table: Table
  readonly lakeTable: LakeTable
  readonly fields: readonly Field[]
  /** Of a session table: names, in lower case, that its query has for columns; without them it may read any. */
  readonly named?: ReadonlySet<string> | undefined
  readonly code: string
  readonly run: string
  /** Computes the rows; where functions make them, the embedded one. */
  readonly engine: Engine
  readonly clock: Clock
  /** Where files go, instead of the table's own place: for rows that are only compared. */
  readonly directory?: string
  /** Only rows of records below these offsets of the log partitions: of what several workers had taken. */
  readonly below?: readonly number[]
  /** Computes the rows, where functions make them. */
  readonly transform?: TransformRunner
  /** This worker's part of the work, where several may share it. */
  readonly shares?: Shares
  readonly idlePartitions: IdlePartitions
  /** Keeps that a step begins and how it ends; not asked where there is nothing to do. */
  readonly noted?: (work: () => Promise<RefreshResult>) => Promise<RefreshResult>
  /** The lake table of a dataset. */
  lakeTableOf(dataset: Dataset): LakeTable
}

export interface RefreshRange {
  /** Recompute intervals that start in [fromMs, toMs), whether due or not. */
  readonly fromMs?: number
  readonly toMs?: number
  /** Recompute everything. */
  readonly everything?: boolean
}

export interface RefreshResult {
  readonly outcome: 'unchanged' | 'published' | 'blocked'
  readonly snapshot: Snapshot | undefined
  /** Windows computed, for windowed tables. */
  readonly intervals: number
  readonly reason?: string
  /** Nothing was computed again. */
  readonly proportional?: boolean
  /** There is more to be done already: a step takes no more than some. */
  readonly more?: boolean
}

/** Rows to compare with those that are published. */
export interface Recomputed {
  readonly files: readonly DataFile[]
  /** What is published; undefined while nothing is. */
  readonly snapshot: Snapshot | undefined
  /** They are of the inputs as the published rows were computed from; otherwise of the inputs as they are. */
  readonly isAsOf: boolean
}

/** What a step changes in a table: nothing yet is committed. */
export interface TableChange {
  readonly add: readonly DataFile[]
  readonly remove: readonly DataFile[]
  readonly intervals?: number
  /** What else a step of a table made by functions changes. */
  readonly transformed?: Omit<Transformed, 'add'>
  /** Sessions: start of the earliest that is still open, ms. */
  readonly frontierMs?: number
}

/**
 * Recomputes a derived table: finds what is due from the snapshots its last step read, computes it, audits the result
 * and publishes it, as one commit. Same inputs, same code: nothing to do.
 */
export class TableRunner {
  readonly #options: TableRunnerOptions
  readonly #steps = new SerialQueue()

  constructor(options: TableRunnerOptions) {
    this.#options = options
  }

  get table(): Table {
    return this.#options.table
  }

  get lakeTable(): LakeTable {
    return this.#options.lakeTable
  }

  /** What computes its rows. */
  get engine(): Engine {
    return this.#options.engine
  }

  /** The table's quarantine, when there is one: only functions refuse rows. */
  get quarantine(): LakeTable | undefined {
    return this.#options.shares ? this.#options.shares.quarantine : this.#options.transform?.quarantine
  }

  /** This worker's part of the work, where several may share it. */
  get shares(): Shares | undefined {
    return this.#options.shares
  }

  /** Takes a partition's part of the work, under the lease with this epoch. */
  takePartition(partition: number, epoch: number): Promise<void> {
    return this.#steps.run(() => this.#options.shares!.take(new Map([[partition, epoch]])))
  }

  /** Leaves a partition to another worker, once the step under way has ended. */
  givePartition(partition: number): Promise<void> {
    this.#options.shares!.leave(partition)
    return this.#steps.run(async () => this.#options.shares!.lose(partition))
  }

  /** One step at a time: what is due is worked out from the last one's commit. */
  refresh(range: RefreshRange = {}): Promise<RefreshResult> {
    return this.#steps.run(() => (this.#options.shares ? this.#refreshShares(range) : this.#refresh(range)))
  }

  async #refreshShares(range: RefreshRange): Promise<RefreshResult> {
    const { shares, lakeTable } = this.#options
    if (range.everything === true) shares!.checkAlone()
    const step = await shares!.step(range.everything === true)
    const snapshot = step?.snapshot ?? lakeTable.snapshot()
    const outcome = step?.snapshot ? 'published' : 'unchanged'
    return { outcome, snapshot, intervals: 0, proportional: true, more: step?.more ?? false }
  }

  /** Runs work that takes files out of the table while no step runs. */
  rewriting<T>(work: () => Promise<T>): Promise<T> {
    return this.#steps.run(work)
  }

  async #refresh(range: RefreshRange): Promise<RefreshResult> {
    const { table, lakeTable, code, engine } = this.#options
    const pins = this.#pin()
    const inputs = Object.fromEntries([...pins].map(([name, pin]) => [name, rowsVersion(pin.table, pin.snapshot)]))
    const checks = checksFingerprint(table)
    const newest = newestStep(lakeTable)
    const forced = range.everything === true || range.fromMs !== undefined || range.toMs !== undefined
    const isSame = newest?.record.code === code && newest.record.checks === checks && !isShared(newest.record)
    const watermark = this.#watermark(pins, newest?.record.watermark)
    const taken = newestTaken(table, pins, newest?.record)
    const isPassed =
      (waitsForTime(table) && watermark !== newest?.record.watermark) ||
      String(taken ?? []) !== String(newest?.record.newest ?? [])
    if (!forced && newest && isSame && !isPassed && sameInputs(newest.record.inputs, inputs)) return unchanged(newest)
    const main = lakeTable.snapshot('main')
    const base = this.#published()
    const partial = range.fromMs !== undefined || range.toMs !== undefined
    const whole = range.everything === true || !main || !base || isShared(base) || (base.code !== code && !partial)
    const { noted = (work) => work() } = this.#options
    return noted(() =>
      engine.step(async (step) => {
        const change = await this.#compute(step, pins, whole ? undefined : { main, record: base }, range, watermark)
        // A backfill of some intervals says nothing of the others: what is due stays due.
        const record = !partial
          ? { code, inputs, watermark, frontier: change.frontierMs, ...(taken && { newest: taken }) }
          : {
              code: base?.code ?? PARTIAL,
              inputs: base?.inputs ?? {},
              watermark: base?.watermark,
              frontier: base?.frontier,
            }
        return this.#commit(step, pins, { run: this.#options.run, ...record, checks }, main, change)
      }),
    )
  }

  /** Where event time stands for a windowed table; it never goes back. */
  #watermark(pins: Pins, before: number | undefined): number | undefined {
    const { table, idlePartitions } = this.#options
    if (!isWindowed(table)) return undefined
    const computing = new Map([...pins].filter(([, pin]) => table.sql.datasets.includes(pin.dataset)))
    const now = queryWatermark(table.sql, computing, idlePartitions)
    return now === undefined ? before : Math.max(now, before ?? -Infinity)
  }

  /**
   * All rows, computed from scratch, as files in a directory: from what the inputs had when what is published was computed, as far
   * as they still have it, otherwise from what they publish now. Commits nothing.
   */
  async recompute(directory: string, engine = this.#options.engine): Promise<Recomputed> {
    const { lakeTable } = this.#options
    const snapshot = lakeTable.snapshot('main')
    const record = this.#published()
    const read = record && this.#readBy(record)
    const below = read && record.offsets
    const { watermark } = record ?? newestStep(lakeTable)?.record ?? {}
    const apart = new TableRunner({ ...this.#options, directory, engine, ...(below && { below }) })
    const everything = { everything: true } as const
    const { add } = await engine.step((step) =>
      apart.#compute(step, read ?? apart.#pin(), undefined, everything, watermark),
    )
    return { files: add, snapshot, isAsOf: read !== undefined }
  }

  /** The inputs as a step read them; undefined when that cannot be had any more, or the code is another. */
  #readBy(record: StepRecord): Pins | undefined {
    const { table, code, lakeTableOf } = this.#options
    if (record.code !== code) return undefined
    if (!isShared(record)) return pinsOf(table.sql.datasets, record, lakeTableOf)
    // None of several workers' steps tells how far the others were: offsets do, as long as the rows below them are the same.
    const pins = this.#pin()
    const { input } = table.transform!
    const { snapshot } = pins.get(input!.name)!
    const reach = snapshot && reachAt(input!, String(snapshot.id), lakeTableOf)
    return record.source === undefined || record.source === reach?.source ? pins : undefined
  }

  #pin(): Pins {
    const { table, lakeTableOf } = this.#options
    const datasets = new Set([...table.sql.datasets, ...checkInputsOf(table)])
    return new Map(
      [...datasets].map((dataset) => {
        const lakeTable = lakeTableOf(dataset)
        return [dataset.name, { dataset, table: lakeTable, snapshot: lakeTable.snapshot('main') }]
      }),
    )
  }

  async #compute(
    engine: EngineStep,
    pins: Pins,
    since: { main: Snapshot; record: StepRecord } | undefined,
    range: RefreshRange,
    watermarkMs: number | undefined,
  ): Promise<TableChange> {
    const { table, lakeTable } = this.#options
    const { materialization } = table
    const only =
      range.fromMs === undefined && range.toMs === undefined
        ? undefined
        : { fromMs: range.fromMs ?? -Infinity, toMs: range.toMs ?? Infinity }
    const computing = new Map([...pins].filter(([, pin]) => table.sql.datasets.includes(pin.dataset)))
    const changes =
      since && range.everything !== true && !only ? await changesSince(computing, since.record) : undefined
    const isStill = changes !== undefined && [...changes.values()].every((change) => !isChanged(change))
    if (isStill && !waitsForTime(table)) return { add: [], remove: [] }
    const cast = (relation: string) => castColumns(engine.dialect, this.#options.fields, relation)
    switch (materialization.kind) {
      case 'full':
        return this.#full(engine, computing, since?.main && changes)
      case 'function':
      case 'mapReduce':
        return this.#transform(engine, computing, changes)
      case 'interval':
      case 'window':
        return computeWindows({
          table,
          frame: frameOf(table)!,
          emit: materialization.emit,
          engine,
          lakeTable,
          pins: computing,
          changes,
          fromMs: since?.record.watermark ?? -Infinity,
          watermarkMs,
          only,
          live: (filter) => this.#live(filter),
          write: (relations) => this.#write(engine, relations.map(cast).join(' UNION ALL ')),
          rewrite: (sql) => this.#write(engine, sql),
        })
      case 'session':
        return computeSessions({
          table,
          sessions: materialization,
          engine,
          lakeTable,
          pins: computing,
          named: this.#options.named,
          changes,
          fromMs: since?.record.watermark,
          frontierMs: since?.record.frontier,
          watermarkMs,
          live: () => this.#live(),
          write: (relation) => this.#write(engine, cast(relation)),
        })
      case 'key':
        return mergeByKey({
          ...this.#options,
          engine,
          keys: materialization,
          main: since?.main,
          changes,
          render: (files) => this.#render(engine, computing, files),
          live: () => this.#live(),
          write: (sql) => this.#write(engine, sql),
        })
    }
  }

  /** Extended by the rows that new input gives, where these alone tell; computed anew otherwise. */
  async #full(engine: EngineStep, pins: Pins, changes: InputChanges | undefined): Promise<TableChange> {
    const { table, fields } = this.#options
    const render = (files?: FilesOf) => this.#render(engine, pins, files)
    const cast = (sql: string) => castColumns(engine.dialect, fields, `(${sql})`)
    const readings =
      changes && (await deltaReadings(engine, queryFor(table, engine.dialect.name), pins, changes, render))
    if (readings) {
      const parts = await Promise.all(readings.map(render))
      return { add: await this.#write(engine, parts.map(cast).join(' UNION ALL ')), remove: [] }
    }
    return { add: await this.#write(engine, cast(await render())), remove: await this.#live() }
  }

  /** Functions take each row once: those that the input gained, or all when it lost some. A mapReduce always takes all. */
  async #transform(engine: EngineStep, pins: Pins, changes: InputChanges | undefined): Promise<TableChange> {
    const { table, transform, directory } = this.#options
    const only =
      table.materialization.kind === 'function' && changes && [...changes.values()].every((c) => c.removed.length === 0)
        ? new Map([...changes].map(([name, { added }]) => [name, added]))
        : undefined
    const { add, ...transformed } = await transform!.run({
      query: this.#below(await this.#render(engine, pins, only)),
      whole: only === undefined,
      base: this.#published(),
      write: (sql) => this.#write(engine, sql),
      directory,
    })
    return { add, remove: only ? [] : await this.#live(), transformed }
  }

  #below(query: string): string {
    const { below } = this.#options
    if (!below) return query
    const reached = below.map((offset, partition) => `(_partition = ${partition} AND _offset < ${offset})`)
    return `SELECT * FROM (${query}) WHERE ${reached.join(' OR ')}`
  }

  /** The record of the step that is published. */
  #published(): StepRecord | undefined {
    const main = this.#options.lakeTable.snapshot('main')
    return main && readRecord(main.summary)
  }

  /** Takes refused rows that meet a condition through the present functions again, as one step. */
  replayRefused(where: string): Promise<Counts> {
    return this.#steps.run(async () => {
      const { table, transform, shares, lakeTable, code, directory, engine } = this.#options
      shares?.checkAlone()
      const base = this.#published()
      if (!base) return NO_COUNTS
      // Pairs of one row cannot be told from those of others, and changed code is for all rows: all are taken again.
      if (table.materialization.kind === 'mapReduce' || base.code !== code) {
        const { quarantined: received } = base.counts ?? NO_COUNTS
        await (shares ? this.#refreshShares({ everything: true }) : this.#refresh({ everything: true }))
        const { quarantined } = this.#published()?.counts ?? NO_COUNTS
        return { received, accepted: received - quarantined, duplicates: 0, quarantined }
      }
      if (shares) return (await shares.replayRefused(where)).fresh
      return engine.step(async (step) => {
        const write = (sql: string) => this.#write(step, sql)
        const { add, fresh, ...transformed } = await transform!.rerun(where, { base, write, directory })
        if (fresh.received > 0)
          await this.#commit(step, this.#pin(), base, lakeTable.snapshot('main'), { add, remove: [], transformed })
        return fresh
      })
    })
  }

  async #live(filter?: FileFilter): Promise<DataFile[]> {
    const { lakeTable } = this.#options
    const main = lakeTable.snapshot('main')
    return main ? lakeTable.files(main, filter) : []
  }

  /** The query over whole inputs; `only` replaces the files of some. */
  async #render(engine: EngineStep, pins: Pins, only: FilesOf = new Map()): Promise<string> {
    const relations = new Map<string, string>()
    for (const [name, pin] of pins) {
      const files = only.get(name) ?? (pin.snapshot ? await pin.table.files(pin.snapshot) : [])
      relations.set(name, await engine.relation(pin.table, files))
    }
    return queryFor(this.#options.table, engine.dialect.name).render({
      dataset: (dataset) => relations.get(dataset.name)!,
      parameter: (name) => `$${name}`,
    })
  }

  #write(engine: EngineStep, sql: string): Promise<DataFile[]> {
    const { lakeTable, directory } = this.#options
    return engine.write(lakeTable, sql, directory)
  }

  async #commit(
    engine: EngineStep,
    pins: Pins,
    record: StepRecord,
    main: Snapshot | undefined,
    change: TableChange,
  ): Promise<RefreshResult> {
    const { table, lakeTable, clock, fields } = this.#options
    const removed = new Set(change.remove.map((file) => file.path))
    const after = [...(await this.#live()).filter((file) => !removed.has(file.path)), ...change.add]
    const audits = await runAudits(table, {
      self: await engine.relation(lakeTable, after),
      fields,
      time: timeColumn(table),
      nowMs: clock.now(),
      engine,
      relation: (dataset) => wholeRelation(engine, pins.get(dataset.name)!),
    })
    const blocking = audits.find((audit) => !audit.passed && audit.severity === 'block')
    // A candidate left by an earlier failure rests on older inputs; this step was computed from what is published.
    if (lakeTable.snapshot(CANDIDATE)) await lakeTable.setRef(CANDIDATE, undefined)
    const told = { ...record, ...totalsOf(change.transformed ?? this.#published()) }
    if (change.transformed) await this.#options.transform!.commitRefused(told, change.transformed.refused)
    const snapshot = await lakeTable.commit({
      operation: change.remove.length > 0 ? 'overwrite' : 'append',
      add: change.add,
      remove: change.remove.map((file) => file.path),
      summary: recordSummary({ ...told, audits: audits.length === 0 ? undefined : audits }),
      // The candidate begins at what is published; nobody else moves either.
      ...(blocking ? { ref: CANDIDATE, parent: null } : { parent: main?.id ?? null }),
    })
    const intervals = change.intervals ?? 0
    if (blocking) return { outcome: 'blocked', snapshot, intervals, reason: `${blocking.check}: ${blocking.message}` }
    // What is only added was computed once, from what was new.
    return { outcome: 'published', snapshot, intervals, proportional: change.remove.length === 0 }
  }
}

/** Code of a table of which only some intervals were ever computed: never equal to a declaration's. */
const PARTIAL = 'partial'

/** A step of one of several workers: its input says nothing of how far the others were. */
function isShared({ offsets }: StepRecord): boolean {
  return offsets !== undefined
}

/** What a table made by functions counts from step to step. */
function totalsOf(from: Pick<StepRecord, 'counts' | 'steps'> | undefined): Pick<StepRecord, 'counts' | 'steps'> {
  const { counts, steps } = from ?? {}
  return counts === undefined || steps === undefined ? {} : { counts, steps }
}

/**
 * The newest event times of the records that a table of functions takes its rows of; undefined for others. Somebody else's snapshot
 * of the input does not tell: then they are as they were.
 */
function newestTaken(table: Table, pins: Pins, before: StepRecord | undefined): StepRecord['newest'] {
  if (!timedStream(table)) return undefined
  const { snapshot } = pins.get(table.transform!.input!.name)!
  return (snapshot && readRecord(snapshot.summary)?.newest) ?? before?.newest
}

function sameInputs(a: StepRecord['inputs'], b: Record<string, string | null>): boolean {
  const names = Object.keys(b)
  return a !== undefined && names.length === Object.keys(a).length && names.every((name) => a[name] === b[name])
}

function unchanged(newest: { snapshot: Snapshot; record: StepRecord; published: boolean }): RefreshResult {
  if (newest.published) return { outcome: 'unchanged', snapshot: newest.snapshot, intervals: 0 }
  const failed = newest.record.audits?.find((audit) => !audit.passed && audit.severity === 'block')
  return {
    outcome: 'blocked',
    snapshot: newest.snapshot,
    intervals: 0,
    reason: failed ? `${failed.check}: ${failed.message}` : 'an audit failed',
  }
}

/** A table's step cannot go on: its own error, told with the table's name. */
export function refreshError(table: Table, error: unknown): MillraceError {
  const known =
    error instanceof MillraceError ? error : new MillraceError('internal', 'refresh', String(error), { cause: error })
  return new MillraceError(known.kind, known.code, `Refreshing table '${table.name}' failed: ${known.message}`, {
    ...(known.hint === undefined ? {} : { hint: known.hint }),
    context: { ...known.context, dataset: table.name },
    cause: error,
  })
}

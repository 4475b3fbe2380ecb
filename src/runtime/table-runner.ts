import { MillraceError } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { SerialQueue } from '../base/queue.ts'
import { intervalEnd, sqlDate, sqlTimestamp } from '../base/interval.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { duckdbType } from '../engine/duckdb/types.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { FileFilter } from '../lake/filter.ts'
import type { LakeTable, Snapshot } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import { checkInputsOf } from '../project/project.ts'
import type { IntervalUnit, Table } from '../project/table.ts'
import { checksFingerprint } from '../quality/audit.ts'
import { runAudits } from './audits.ts'
import { mergeByKey } from './key-merge.ts'
import { type Counts, NO_COUNTS, type StepRecord, readRecord, recordSummary } from './record.ts'
import { writeFiles } from './partitioned.ts'
import type { TransformRunner, Transformed } from './transform-runner.ts'
import { CANDIDATE, newestStep, relationOf, rowsVersion } from './warehouse.ts'

export interface TableRunnerOptions {
  readonly table: Table
  readonly lakeTable: LakeTable
  readonly fields: readonly Field[]
  readonly code: string
  readonly run: string
  readonly database: Database
  readonly clock: Clock
  /** Where files go, instead of the table's own place: for rows that are only compared. */
  readonly directory?: string
  /** Computes the rows, where functions make them. */
  readonly transform?: TransformRunner
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
  /** Intervals recomputed, for interval tables. */
  readonly intervals: number
  readonly reason?: string
}

/** What a step changes in a table: nothing yet is committed. */
export interface TableChange {
  readonly add: readonly DataFile[]
  readonly remove: readonly DataFile[]
  readonly intervals?: number
  /** What else a step of a table made by functions changes. */
  readonly transformed?: Omit<Transformed, 'add'>
}

/** Snapshots of the datasets a step reads, fixed for the whole step. */
type Pins = ReadonlyMap<string, { dataset: Dataset; table: LakeTable; snapshot: Snapshot | undefined }>

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

  /** The table's quarantine, when there is one: only functions refuse rows. */
  get quarantine(): LakeTable | undefined {
    return this.#options.transform?.quarantine
  }

  /** One step at a time: what is due is worked out from the last one's commit. */
  refresh(range: RefreshRange = {}): Promise<RefreshResult> {
    return this.#steps.run(() => this.#refresh(range))
  }

  /** Runs work that takes files out of the table while no step runs. */
  rewriting<T>(work: () => Promise<T>): Promise<T> {
    return this.#steps.run(work)
  }

  async #refresh(range: RefreshRange): Promise<RefreshResult> {
    const { table, lakeTable, code } = this.#options
    const pins = this.#pin()
    const inputs = Object.fromEntries([...pins].map(([name, pin]) => [name, rowsVersion(pin.table, pin.snapshot)]))
    const checks = checksFingerprint(table)
    const newest = newestStep(lakeTable)
    const forced = range.everything === true || range.fromMs !== undefined || range.toMs !== undefined
    const isSame = newest?.record.code === code && newest.record.checks === checks
    if (!forced && newest && isSame && sameInputs(newest.record.inputs, inputs)) return unchanged(newest)
    const main = lakeTable.snapshot('main')
    const base = this.#published()
    const partial = range.fromMs !== undefined || range.toMs !== undefined
    const whole = range.everything === true || !main || !base || (base.code !== code && !partial)
    const change = await this.#compute(pins, whole ? undefined : { main, record: base }, range)
    // A backfill of some intervals says nothing of the others: what is due stays due.
    const record = !partial ? { code, inputs } : { code: base?.code ?? PARTIAL, inputs: base?.inputs ?? {} }
    const told = { run: this.#options.run, ...record, ...(checks === undefined ? {} : { checks }) }
    return this.#commit(table, pins, told, main, change)
  }

  /** All rows, computed from scratch from what is published now, as files in a directory. Commits nothing. */
  async recompute(directory: string): Promise<readonly DataFile[]> {
    const apart = new TableRunner({ ...this.#options, directory })
    return (await apart.#compute(apart.#pin(), undefined, { everything: true })).add
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
    pins: Pins,
    since: { main: Snapshot; record: StepRecord } | undefined,
    range: RefreshRange,
  ): Promise<TableChange> {
    const { materialization } = this.#options.table
    const forced = range.everything === true || range.fromMs !== undefined || range.toMs !== undefined
    const computing = new Map([...pins].filter(([, pin]) => this.#options.table.sql.datasets.includes(pin.dataset)))
    const changes = since && !forced ? await this.#changes(computing, since.record) : undefined
    if (changes && [...changes.values()].every((change) => change.added.length === 0 && change.removed.length === 0))
      return { add: [], remove: [] }
    switch (materialization.kind) {
      case 'full':
        return this.#full(computing)
      case 'interval':
        return this.#intervals(computing, materialization.unit, since?.main, changes, range)
      case 'function':
      case 'mapReduce':
        return this.#transform(computing, since, changes)
      case 'key':
        return mergeByKey({
          ...this.#options,
          keys: materialization,
          main: since?.main,
          changes,
          render: (only) => this.#render(computing, only),
          live: () => this.#live(),
          write: (sql) => this.#write(sql),
        })
    }
  }

  /** File changes of each input since a step; undefined when some cannot be told, and all is to be recomputed. */
  async #changes(
    pins: Pins,
    record: StepRecord,
  ): Promise<Map<string, { added: DataFile[]; removed: DataFile[] }> | undefined> {
    const all = new Map<string, { added: DataFile[]; removed: DataFile[] }>()
    for (const [name, pin] of pins) {
      const before = record.inputs?.[name]
      if (before === undefined) return undefined
      if (before === rowsVersion(pin.table, pin.snapshot)) {
        all.set(name, { added: [], removed: [] })
        continue
      }
      if (!pin.snapshot) return undefined
      const from = before === null ? undefined : pin.table.snapshot(BigInt(before))
      if (before !== null && !from) return undefined
      const changes = await pin.table.changes(from, pin.snapshot)
      if (!changes) return undefined
      all.set(name, changes)
    }
    return all
  }

  async #full(pins: Pins): Promise<TableChange> {
    const sql = await this.#render(pins)
    return { add: await this.#write(this.#cast(`(${sql})`)), remove: await this.#live() }
  }

  /** Functions take each row once: those that the input gained, or all when it lost some. A mapReduce always takes all. */
  async #transform(
    pins: Pins,
    since: { main: Snapshot; record: StepRecord } | undefined,
    changes: ReadonlyMap<string, { added: DataFile[]; removed: DataFile[] }> | undefined,
  ): Promise<TableChange> {
    const { table, transform, directory } = this.#options
    const only =
      table.materialization.kind === 'function' && changes && [...changes.values()].every((c) => c.removed.length === 0)
        ? new Map([...changes].map(([name, { added }]) => [name, added]))
        : undefined
    const { add, ...transformed } = await transform!.run({
      query: await this.#render(pins, only),
      whole: only === undefined,
      base: since?.record ?? this.#published(),
      write: (sql) => this.#write(sql),
      directory,
    })
    return { add, remove: only ? [] : await this.#live(), transformed }
  }

  /** The record of the step that is published. */
  #published(): StepRecord | undefined {
    const main = this.#options.lakeTable.snapshot('main')
    return main && readRecord(main.summary)
  }

  /** Takes refused rows that meet a condition through the present functions again, as one step. */
  replayRefused(where: string): Promise<Counts> {
    return this.#steps.run(async () => {
      const { table, transform, lakeTable, directory } = this.#options
      const base = this.#published()
      if (!base) return NO_COUNTS
      const write = (sql: string) => this.#write(sql)
      const { add, fresh, ...transformed } = await transform!.rerun(where, { base, write, directory })
      if (fresh.received > 0)
        await this.#commit(table, this.#pin(), base, lakeTable.snapshot('main'), { add, remove: [], transformed })
      return fresh
    })
  }

  async #intervals(
    pins: Pins,
    unit: IntervalUnit,
    main: Snapshot | undefined,
    changes: ReadonlyMap<string, { added: DataFile[]; removed: DataFile[] }> | undefined,
    range: RefreshRange,
  ): Promise<TableChange> {
    const all =
      changes === undefined ||
      [...pins].some(([name, pin]) => timeOf(pin.dataset) === undefined && isChanged(changes.get(name)))
    const inputs = new Set<number>()
    for (const [name, pin] of pins) {
      const time = timeOf(pin.dataset)
      if (time === undefined) continue
      const files = all
        ? pin.snapshot
          ? await pin.table.files(pin.snapshot)
          : []
        : [...changes.get(name)!.added, ...changes.get(name)!.removed]
      for (const start of await this.#starts(pin.table, files, time, unit)) inputs.add(start)
    }
    const live = main ? await this.#live() : []
    if (all) for (const start of await this.#starts(this.#options.lakeTable, live, unit, unit)) inputs.add(start)
    const { fromMs = -Infinity, toMs = Infinity } = range
    const due = [...inputs].filter((start) => intervalEnd(unit, start) > fromMs && start < toMs).sort((a, b) => a - b)
    const kept = main === undefined ? { add: [], remove: await this.#live() } : await this.#keepOthers(unit, due)
    const add: DataFile[] = [...kept.add]
    for (let i = 0; i < due.length; i += INTERVALS_PER_STATEMENT) {
      const starts = due.slice(i, i + INTERVALS_PER_STATEMENT)
      const parts = await Promise.all(
        starts.map(async (start) => this.#cast(await this.#renderInterval(pins, unit, start))),
      )
      add.push(...(await this.#write(parts.join(' UNION ALL '))))
    }
    return { add, remove: kept.remove, intervals: due.length }
  }

  /** Starts of the intervals that rows of these files lie in. */
  async #starts(table: LakeTable, files: readonly DataFile[], time: string, unit: IntervalUnit): Promise<number[]> {
    if (files.length === 0) return []
    const sql = `SELECT DISTINCT epoch_ms(date_trunc('${unit}', ${quoteIdentifier(time)}::TIMESTAMP)::TIMESTAMP) AS start FROM ${relationOf(table, files)}`
    return (await this.#options.database.rows(sql)).map((row) => Number(row.start))
  }

  /** Live files that hold due intervals go; their rows of other intervals are written anew. */
  async #keepOthers(unit: IntervalUnit, due: readonly number[]): Promise<TableChange> {
    if (due.length === 0) return { add: [], remove: [] }
    const literal = (ms: number) => intervalText(unit, ms)
    const remove = await this.#live([{ column: unit, op: 'in', values: due.map(literal) }])
    const isDue = `${quoteIdentifier(unit)} IN (${due.map((ms) => intervalLiteral(unit, ms)).join(', ')})`
    if (remove.length === 0) return { add: [], remove: [] }
    const add = await this.#write(`SELECT * FROM ${relationOf(this.#options.lakeTable, remove)} WHERE NOT ${isDue}`)
    return { add, remove }
  }

  async #live(filter?: FileFilter): Promise<DataFile[]> {
    const { lakeTable } = this.#options
    const main = lakeTable.snapshot('main')
    return main ? lakeTable.files(main, filter) : []
  }

  /** The query over whole inputs; `only` replaces the files of some. */
  async #render(pins: Pins, only: ReadonlyMap<string, readonly DataFile[]> = new Map()): Promise<string> {
    const relations = new Map<string, string>()
    for (const [name, pin] of pins) {
      const files = only.get(name) ?? (pin.snapshot ? await pin.table.files(pin.snapshot) : [])
      relations.set(name, relationOf(pin.table, files))
    }
    return this.#options.table.sql.render({
      dataset: (dataset) => relations.get(dataset.name)!,
      parameter: (name) => `$${name}`,
    })
  }

  /** The query over one interval: inputs with a time are cut to it. */
  async #renderInterval(pins: Pins, unit: IntervalUnit, startMs: number): Promise<string> {
    const endMs = intervalEnd(unit, startMs)
    const relations = new Map<string, string>()
    for (const [name, pin] of pins) {
      const time = timeOf(pin.dataset)
      if (time === undefined) {
        relations.set(name, relationOf(pin.table, pin.snapshot ? await pin.table.files(pin.snapshot) : []))
        continue
      }
      const isDate = pin.table.fields.find((field) => field.name === time)!.type.kind === 'date'
      const bound = isDate ? firstDate : sqlTimestamp
      const [from, to] = [bound(startMs), bound(endMs)]
      const files = pin.snapshot
        ? await pin.table.files(pin.snapshot, [
            { column: time, op: '>=', value: from },
            { column: time, op: '<', value: to },
          ])
        : []
      const type = isDate ? 'DATE' : 'TIMESTAMP'
      const column = quoteIdentifier(time)
      relations.set(
        name,
        `(SELECT * FROM ${relationOf(pin.table, files)} WHERE ${column} >= ${type} '${from}' AND ${column} < ${type} '${to}')`,
      )
    }
    const query = this.#options.table.sql.render({
      dataset: (dataset) => relations.get(dataset.name)!,
      parameter: (name) => `$${name}`,
    })
    return `(SELECT ${intervalLiteral(unit, startMs)} AS ${quoteIdentifier(unit)}, * FROM (${query}))`
  }

  /** The rows of a relation with exactly the table's columns and types. */
  #cast(relation: string): string {
    const columns = this.#options.fields.map(
      (field) => `CAST(${quoteIdentifier(field.name)} AS ${duckdbType(field.type)}) AS ${quoteIdentifier(field.name)}`,
    )
    return `SELECT ${columns.join(', ')} FROM ${relation}`
  }

  async #write(sql: string): Promise<DataFile[]> {
    const { database, lakeTable, directory } = this.#options
    return writeFiles(database, lakeTable, sql, directory)
  }

  async #commit(
    table: Table,
    pins: Pins,
    record: StepRecord,
    main: Snapshot | undefined,
    change: TableChange,
  ): Promise<RefreshResult> {
    const { lakeTable, database, clock, fields } = this.#options
    const removed = new Set(change.remove.map((file) => file.path))
    const after = [...(await this.#live()).filter((file) => !removed.has(file.path)), ...change.add]
    const audits = await runAudits(table, {
      self: relationOf(lakeTable, after),
      fields,
      time: timeOf(table),
      nowMs: clock.now(),
      database,
      relation: async (dataset) => {
        const pin = pins.get(dataset.name)!
        return relationOf(pin.table, pin.snapshot ? await pin.table.files(pin.snapshot) : [])
      },
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
      summary: recordSummary({ ...told, ...(audits.length === 0 ? {} : { audits }) }),
      // The candidate begins at what is published; nobody else moves either.
      ...(blocking ? { ref: CANDIDATE, parent: null } : { parent: main?.id ?? null }),
    })
    const intervals = change.intervals ?? 0
    if (blocking) return { outcome: 'blocked', snapshot, intervals, reason: `${blocking.check}: ${blocking.message}` }
    return { outcome: 'published', snapshot, intervals }
  }
}

/** Code of a table of which only some intervals were ever computed: never equal to a declaration's. */
const PARTIAL = 'partial'

/** Intervals computed by one statement: enough to spread its fixed cost, few enough to keep its text and memory small. */
const INTERVALS_PER_STATEMENT = 32

/** The column that gives a dataset's rows a time; undefined when it is read whole. */
export function timeOf(dataset: Dataset): string | undefined {
  if (dataset.kind === 'stream') return dataset.time
  return dataset.materialization.kind === 'interval' ? dataset.materialization.unit : undefined
}

/** The first date whose midnight is not before a moment. A date lies in the interval of its midnight, an hour's too. */
function firstDate(ms: number): string {
  return sqlDate(Math.ceil(ms / DAY_MS) * DAY_MS)
}

const DAY_MS = 86_400_000

function intervalText(unit: IntervalUnit, ms: number): string {
  return unit === 'minute' || unit === 'hour' ? sqlTimestamp(ms) : sqlDate(ms)
}

function intervalLiteral(unit: IntervalUnit, ms: number): string {
  return `${unit === 'minute' || unit === 'hour' ? 'TIMESTAMP' : 'DATE'} '${intervalText(unit, ms)}'`
}

function isChanged(change: { added: readonly DataFile[]; removed: readonly DataFile[] } | undefined): boolean {
  return change === undefined || change.added.length > 0 || change.removed.length > 0
}

/** What a table made by functions counts from step to step. */
function totalsOf(from: Pick<StepRecord, 'counts' | 'steps'> | undefined): Pick<StepRecord, 'counts' | 'steps'> {
  const { counts, steps } = from ?? {}
  return counts === undefined || steps === undefined ? {} : { counts, steps }
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

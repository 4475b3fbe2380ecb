import { DECLARED } from './dataset.ts'
import type { Check } from './check.ts'
import { type Columns, type Field, fieldsOf } from './columns.ts'
import { type Place, callerPlace } from './place.ts'
import { type EngineName, type SqlChoice, type SqlTemplate, choiceOf } from './sql.ts'
import type { PartitionBy } from './stream.ts'
import type { Transform } from './transform.ts'
import type { Duration } from '../base/duration.ts'
import type { Emit, Window } from './window.ts'

export const INTERVAL_UNITS = ['minute', 'hour', 'day', 'week', 'month', 'year'] as const
export type IntervalUnit = (typeof INTERVAL_UNITS)[number]

interface TableBase {
  /** A query over datasets. Where engines do not mean the same by it: `{ default, spark }`, over the same datasets. */
  sql: SqlChoice
  /** Promised columns; without them the query's own are taken. */
  columns?: Columns
  checks?: readonly Check[]
  partitionBy?: PartitionBy | readonly PartitionBy[]
  doc?: string
}

export interface FullTableOptions extends TableBase {
  interval?: never
  window?: never
  key?: never
}

interface TimedTable extends TableBase {
  key?: never
  /**
   * How far behind the watermark an event may come and still be taken up; later ones go to the stream's quarantine as `late`
   * once no window that reads the stream would take them. Default: no bound.
   */
  acceptLate?: Duration
}

export interface WindowTableOptions extends TimedTable {
  /**
   * Windows of event time. The query is run once per window, over that window's rows of every input that has a time; the
   * result gets the columns `window_start` and `window_end` (timestamps, half-open), and for sessions those of `by`.
   */
  window: Window
  /** `closed` (default): a window is published once the watermark has passed its end. `continuous`: open windows too, marked by `window_open`. */
  emit?: Emit
  interval?: never
}

export interface IntervalTableOptions extends TimedTable {
  /** `continuous` (default) publishes intervals as their rows come, `closed` once the watermark has passed their end. */
  emit?: Emit
  /**
   * The unit of recomputation. Inputs with an event time (or an interval of their own) are read for one interval at a
   * time; the others are read whole. The result gets a column named after the unit holding the interval's start:
   * a date for day and longer, a timestamp for minute and hour. A length such as `'10 seconds'` is a `window` of that size.
   */
  interval: IntervalUnit | `${number} ${string}`
  window?: never
}

export interface KeyTableOptions extends TableBase {
  interval?: never
  window?: never
  /** One row per key: the latest by `version` wins. */
  key: string | readonly string[]
  /** Column that orders versions of a key. Without it the query must return one row per key. */
  version?: string
  /** Boolean column; true removes the key. */
  deleted?: string
}

export type TableOptions = FullTableOptions | IntervalTableOptions | WindowTableOptions | KeyTableOptions

export type Materialization =
  | { readonly kind: 'full' }
  | { readonly kind: 'interval'; readonly unit: IntervalUnit; readonly emit: Emit }
  | { readonly kind: 'window'; readonly size: Duration; readonly every: Duration; readonly emit: Emit }
  | { readonly kind: 'session'; readonly gap: Duration; readonly by: readonly string[]; readonly emit: Emit }
  | {
      readonly kind: 'key'
      readonly columns: readonly string[]
      readonly version: string | undefined
      readonly deleted: string | undefined
    }
  /**
   * `span`: rows that one record may have given, where a flatMap is among the functions; `_index` is below it. `time`: column
   * of the event time.
   */
  | {
      readonly kind: 'function'
      readonly call: 'map' | 'flatMap' | 'filter'
      readonly code: string
      readonly span: number | undefined
      readonly time: string | undefined
    }
  | { readonly kind: 'mapReduce'; readonly code: string }

/** A dataset derived by SQL, or by functions over what SQL selects. */
export interface Table {
  readonly [DECLARED]: true
  readonly kind: 'table'
  readonly name: string
  readonly materialization: Materialization
  readonly sql: SqlTemplate
  /** What an engine runs in place of `sql`. */
  readonly overrides?: { readonly spark: SqlTemplate }
  /** The functions that make rows of those that `sql` selects. */
  readonly transform?: Transform
  readonly fields: readonly Field[] | undefined
  readonly acceptLate: Duration | undefined
  readonly partitionBy: readonly PartitionBy[]
  readonly checks: readonly Check[]
  readonly doc: string | undefined
  readonly place: Place | undefined
  /** Options given that there are not, or that say what another says. */
  readonly stray?: readonly string[]
}

/**
 * Declares a table.
 *
 *     export const daily = table('daily_revenue', { interval: 'day', sql: sql`select country, sum(price) as revenue from ${orders} group by country` })
 */
export function table(name: string, options: TableOptions): Table {
  return {
    [DECLARED]: true,
    kind: 'table',
    name,
    materialization: materializationOf(options),
    ...choiceOf(options.sql, `table '${name}'`),
    fields: options.columns === undefined ? undefined : fieldsOf(options.columns),
    acceptLate: 'acceptLate' in options ? options.acceptLate : undefined,
    partitionBy:
      options.partitionBy === undefined
        ? []
        : Array.isArray(options.partitionBy)
          ? options.partitionBy
          : [options.partitionBy as PartitionBy],
    checks: options.checks ?? [],
    doc: options.doc,
    place: callerPlace(),
    stray: strayOptions(options),
  }
}

/** The query of a table as an engine is to run it. */
export function queryFor({ sql, overrides }: Table, engine: EngineName): SqlTemplate {
  return engine === 'spark' && overrides ? overrides.spark : sql
}

/** What a table of a query may be told, by how it is kept; the rest goes with each. */
export const TABLE_OPTIONS = {
  base: ['sql', 'columns', 'checks', 'partitionBy', 'doc'],
  interval: ['interval', 'emit', 'acceptLate'],
  window: ['window', 'emit', 'acceptLate'],
  key: ['key', 'version', 'deleted'],
} as const

/** Options that do not go with how the table is kept, or that there are not. */
function strayOptions(options: TableOptions): string[] {
  const kind = (['interval', 'window', 'key'] as const).find((option) => options[option] !== undefined)
  const known: readonly string[] = [...TABLE_OPTIONS.base, ...(kind === undefined ? [] : TABLE_OPTIONS[kind])]
  return Object.entries(options).flatMap(([option, value]) =>
    value === undefined || known.includes(option) ? [] : [option],
  )
}

function materializationOf(options: TableOptions): Materialization {
  if (options.interval !== undefined) {
    const { interval, emit } = options
    return isLength(interval)
      ? { kind: 'window', size: interval, every: interval, emit: emit ?? 'closed' }
      : { kind: 'interval', unit: interval, emit: emit ?? 'continuous' }
  }
  if (options.window !== undefined) {
    const { window, emit = 'closed' } = options
    if (window.gap !== undefined) return { kind: 'session', gap: window.gap, by: [window.by ?? []].flat(), emit }
    return { kind: 'window', size: window.size, every: window.every ?? window.size, emit }
  }
  if (options.key !== undefined) {
    const columns = typeof options.key === 'string' ? [options.key] : options.key
    return { kind: 'key', columns, version: options.version, deleted: options.deleted }
  }
  return { kind: 'full' }
}

/** Whether an interval is a length, not a unit of the calendar. */
function isLength(interval: string): interval is `${number} ${string}` {
  return /^\s*[\d.-]/.test(interval)
}

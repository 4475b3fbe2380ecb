import { DECLARED } from './dataset.ts'
import type { Check } from './check.ts'
import { type Columns, type Field, fieldsOf } from './columns.ts'
import { type Place, callerPlace } from './place.ts'
import { type SqlTemplate, templateOf } from './sql.ts'
import type { PartitionBy } from './stream.ts'
import type { Transform } from './transform.ts'

export type IntervalUnit = 'minute' | 'hour' | 'day' | 'week' | 'month' | 'year'

interface TableBase {
  /** A query over datasets. */
  sql: SqlTemplate
  /** Promised columns; without them the query's own are taken. */
  columns?: Columns
  checks?: readonly Check[]
  partitionBy?: PartitionBy | readonly PartitionBy[]
  doc?: string
}

export interface FullTableOptions extends TableBase {
  interval?: never
  key?: never
}

export interface IntervalTableOptions extends TableBase {
  /**
   * The unit of recomputation. Inputs with an event time (or an interval of their own) are read for one interval at a
   * time; the others are read whole. The result gets a column named after the unit holding the interval's start:
   * a date for day and longer, a timestamp for minute and hour.
   */
  interval: IntervalUnit
  key?: never
}

export interface KeyTableOptions extends TableBase {
  interval?: never
  /** One row per key: the latest by `version` wins. */
  key: string | readonly string[]
  /** Column that orders versions of a key. Without it the query must return one row per key. */
  version?: string
  /** Boolean column; true removes the key. */
  deleted?: string
}

export type TableOptions = FullTableOptions | IntervalTableOptions | KeyTableOptions

export type Materialization =
  | { readonly kind: 'full' }
  | { readonly kind: 'interval'; readonly unit: IntervalUnit }
  | {
      readonly kind: 'key'
      readonly columns: readonly string[]
      readonly version: string | undefined
      readonly deleted: string | undefined
    }
  /** `span`: rows that one record may have given, where a flatMap is among the functions; `_index` is below it. */
  | {
      readonly kind: 'function'
      readonly call: 'map' | 'flatMap' | 'filter'
      readonly code: string
      readonly span: number | undefined
    }
  | { readonly kind: 'mapReduce'; readonly code: string }

/** A dataset derived by SQL, or by functions over what SQL selects. */
export interface Table {
  readonly [DECLARED]: true
  readonly kind: 'table'
  readonly name: string
  readonly materialization: Materialization
  readonly sql: SqlTemplate
  /** The functions that make rows of those that `sql` selects. */
  readonly transform?: Transform
  readonly fields: readonly Field[] | undefined
  readonly partitionBy: readonly PartitionBy[]
  readonly checks: readonly Check[]
  readonly doc: string | undefined
  readonly place: Place | undefined
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
    sql: templateOf(options.sql, `table '${name}'`),
    fields: options.columns === undefined ? undefined : fieldsOf(options.columns),
    partitionBy:
      options.partitionBy === undefined
        ? []
        : Array.isArray(options.partitionBy)
          ? options.partitionBy
          : [options.partitionBy as PartitionBy],
    checks: options.checks ?? [],
    doc: options.doc,
    place: callerPlace(),
  }
}

function materializationOf(options: TableOptions): Materialization {
  if (options.interval !== undefined) return { kind: 'interval', unit: options.interval }
  if (options.key !== undefined) {
    const columns = typeof options.key === 'string' ? [options.key] : options.key
    return { kind: 'key', columns, version: options.version, deleted: options.deleted }
  }
  return { kind: 'full' }
}

import type { Unit } from '../base/interval.ts'
import type { ColumnType } from '../project/columns.ts'
import type { EngineName } from '../project/sql.ts'

/**
 * How an engine writes what Millrace generates: one emitter per engine. What both write alike (casts, joins, `IS NOT DISTINCT
 * FROM`, window functions, `EXCEPT ALL`) stands where it is used. Arguments called `time` are expressions of type timestamp.
 */
export interface Dialect {
  readonly name: EngineName
  identifier(name: string): string
  /** A literal of a text. */
  text(value: string): string
  /** A literal of a moment, ms since the epoch: a timestamp without zone. */
  timestamp(ms: number): string
  /** The name of a column type. */
  type(type: ColumnType): string
  /** A timestamp so many ms after another. */
  later(time: string, ms: number): string
  /** Milliseconds since the epoch, a whole number. */
  epochMs(time: string): string
  /** Start of the calendar's unit, a timestamp; weeks begin on Monday. */
  truncated(unit: Unit, time: string): string
  /** Start of the span that a timestamp lies in, of spans of one length aligned to 1970-01-01. */
  bucket(time: string, lengthMs: number): string
  /** In a select list: a row for each timestamp from `first` to `last` at equal distances; with `after`, those later than it. */
  eachTimestamp(first: string, last: string, everyMs: number, after?: string): string
  /** A relation with a row for each expression, in one column. */
  valuesRelation(expressions: readonly string[], column: string): string
  /** In a select list: all columns but one. */
  allBut(column: string): string
  /** A struct of named expressions. Two are equal when all of their fields are, nulls too. */
  struct(fields: readonly (readonly [name: string, expression: string])[]): string
  /** The row of a relation, by its alias, as text for people. */
  rowText(alias: string): string
}

/** An expression as a timestamp: dates become their midnight. */
export function asTimestamp(dialect: Dialect, expression: string): string {
  return `CAST(${expression} AS ${dialect.type({ kind: 'timestamp' })})`
}

import { MillraceError } from '../base/errors.ts'
import type { Duration } from '../base/duration.ts'
import type { Dataset } from './dataset.ts'
import { type SqlTemplate, templateOf } from './sql.ts'

/** What a failing dataset check does: `block` keeps the last good snapshot published, `warn` only reports. */
export type Severity = 'warn' | 'block'

/** A check on each row of a stream. A failing row goes to quarantine under the rule's name. */
export type RowCheck =
  | {
      readonly on: 'row'
      readonly rule: 'range'
      readonly column: string
      readonly min?: number | string
      readonly max?: number | string
    }
  | {
      readonly on: 'row'
      readonly rule: 'oneOf'
      readonly column: string
      readonly values: readonly (string | number)[]
    }
  | { readonly on: 'row'; readonly rule: 'matches'; readonly column: string; readonly pattern: string }
  | { readonly on: 'row'; readonly rule: 'predicate'; readonly name: string; readonly sql: SqlTemplate }
  | {
      readonly on: 'row'
      readonly rule: 'reference'
      readonly column: string
      readonly dataset: Dataset
      readonly references: string
    }

/** A check on a whole snapshot, run before it is published. */
export type DatasetCheck =
  | {
      readonly on: 'dataset'
      readonly rule: 'rowCount'
      readonly min?: number
      readonly max?: number
      readonly severity: Severity
    }
  | {
      readonly on: 'dataset'
      readonly rule: 'nullFraction'
      readonly column: string
      readonly max: number
      readonly severity: Severity
    }
  | {
      readonly on: 'dataset'
      readonly rule: 'unique'
      readonly columns: readonly string[]
      readonly severity: Severity
    }
  | {
      readonly on: 'dataset'
      readonly rule: 'sumEquals'
      readonly column: string
      readonly dataset: Dataset
      readonly other: string
      readonly where?: SqlTemplate
      readonly tolerance: number
      readonly severity: Severity
    }
  | { readonly on: 'dataset'; readonly rule: 'freshness'; readonly within: Duration; readonly severity: Severity }
  | {
      readonly on: 'dataset'
      readonly rule: 'sql'
      readonly name: string
      readonly sql: SqlTemplate
      readonly severity: Severity
    }

export type Check = RowCheck | DatasetCheck

interface Level {
  /** `block` unless said otherwise. */
  severity?: Severity
}

/** Declares checks. Row checks send rows to quarantine; dataset checks block or warn before a snapshot is published. */
export const check = {
  /** Row: the value lies in [min, max]. Dates and timestamps as ISO text. A null passes; `nullable()` decides about nulls. */
  range: (column: string, bounds: { min?: number | string; max?: number | string }): RowCheck => ({
    on: 'row',
    rule: 'range',
    column,
    ...bounds,
  }),
  /** Row: the value is one of a list. */
  oneOf: (column: string, values: readonly (string | number)[]): RowCheck => ({
    on: 'row',
    rule: 'oneOf',
    column,
    values,
  }),
  /** Row: the text matches a regular expression (the part RE2 and JavaScript share). */
  matches: (column: string, pattern: RegExp): RowCheck => ({
    on: 'row',
    rule: 'matches',
    column,
    pattern: withFlags(pattern),
  }),
  /** Row: a SQL condition over the row's columns holds. Null counts as failing. */
  predicate: (name: string, condition: SqlTemplate): RowCheck => ({
    on: 'row',
    rule: 'predicate',
    name,
    sql: templateOf(condition, `check '${name}'`),
  }),
  /** Row: the value exists in a column of another dataset (its published snapshot when the batch runs). */
  reference: (column: string, dataset: Dataset, references: string): RowCheck => ({
    on: 'row',
    rule: 'reference',
    column,
    dataset,
    references,
  }),

  /** Dataset: number of rows. */
  rowCount: (bounds: { min?: number; max?: number } & Level): DatasetCheck => ({
    on: 'dataset',
    rule: 'rowCount',
    severity: 'block',
    ...bounds,
  }),
  /** Dataset: share of nulls in a column, 0 to 1. */
  nullFraction: (column: string, bounds: { max: number } & Level): DatasetCheck => ({
    on: 'dataset',
    rule: 'nullFraction',
    column,
    severity: 'block',
    ...bounds,
  }),
  /** Dataset: no two rows share these columns. */
  unique: (columns: string | readonly string[], level: Level = {}): DatasetCheck => ({
    on: 'dataset',
    rule: 'unique',
    columns: typeof columns === 'string' ? [columns] : columns,
    severity: level.severity ?? 'block',
  }),
  /** Dataset: the sum of a column equals the sum of another dataset's column or expression (reconciliation). */
  sumEquals: (
    column: string,
    dataset: Dataset,
    other: string,
    options: { where?: SqlTemplate; tolerance?: number } & Level = {},
  ): DatasetCheck => ({
    on: 'dataset',
    rule: 'sumEquals',
    column,
    dataset,
    other,
    tolerance: 0,
    severity: 'block',
    ...options,
  }),
  /** Dataset: the newest event time (or commit, without one) is at most this old. */
  freshness: (within: Duration, level: Level = {}): DatasetCheck => ({
    on: 'dataset',
    rule: 'freshness',
    within,
    severity: level.severity ?? 'warn',
  }),
  /** Dataset: a query that returns the offending rows; any row fails the check. `${dataset}` itself may be referred to as `this`. */
  sql: (name: string, query: SqlTemplate, level: Level = {}): DatasetCheck => ({
    on: 'dataset',
    rule: 'sql',
    name,
    sql: templateOf(query, `check '${name}'`),
    severity: level.severity ?? 'block',
  }),
}

/** The name a check goes by in quarantine, status and messages. */
export function checkName(check: Check): string {
  switch (check.rule) {
    case 'predicate':
    case 'sql':
      return check.name
    case 'unique':
      return `unique(${check.columns.join(', ')})`
    case 'rowCount':
      return 'row_count'
    case 'freshness':
      return 'freshness'
    case 'nullFraction':
      return `null_fraction(${check.column})`
    case 'sumEquals':
      return `sum_equals(${check.column})`
    default:
      return `${check.rule}(${check.column})`
  }
}

function withFlags(pattern: RegExp): string {
  if (typeof pattern?.source !== 'string')
    throw new MillraceError(
      'invalid',
      'bad-check',
      `check.matches takes a regular expression, not ${JSON.stringify(pattern)}.`,
      {
        hint: 'Write it between slashes: /^[A-Z]+$/.',
      },
    )
  const flags = pattern.flags.replaceAll(/[^ims]/g, '')
  return flags === '' ? pattern.source : `(?${flags})${pattern.source}`
}

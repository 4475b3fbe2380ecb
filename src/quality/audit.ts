import { createHash } from 'node:crypto'
import { durationMs, formatMs } from '../base/duration.ts'
import { quoteLiteral } from '../base/identifier.ts'
import { type Dialect, asTimestamp } from '../engine/dialect.ts'
import { DUCKDB } from '../engine/duckdb/dialect.ts'
import { type Check, type DatasetCheck, type Severity, checkName } from '../project/check.ts'
import type { Field } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'

/** A dataset check as a query that gives one row: `passed` (boolean) and `message` (text). */
export interface Audit {
  readonly check: string
  readonly severity: Severity
  readonly sql: string
}

export interface AuditContext {
  /** Of the engine that runs the audits. */
  readonly dialect: Dialect
  /** The relation under audit. */
  readonly self: string
  readonly fields: readonly Field[]
  /** Column that tells the age of a row, if any. */
  readonly time: string | undefined
  readonly nowMs: number
  /** The published rows of another dataset. */
  relation(dataset: Dataset): string
}

/** The audits of a dataset: its dataset checks, and that promised columns hold no nulls. */
export function auditsOf(dataset: Dataset, context: AuditContext): Audit[] {
  const checks = dataset.checks.filter((check: Check): check is DatasetCheck => check.on === 'dataset')
  const promised = dataset.kind === 'table' ? (dataset.fields ?? []).filter((field) => !field.nullable) : []
  return [
    ...promised.map((field) => notNull(field.name, context)),
    ...checks.map((check) => ({ check: checkName(check), severity: check.severity, sql: auditSql(check, context) })),
  ]
}

/** Changes when, and only when, the audits of a dataset may give other results; undefined when it has none. */
export function checksFingerprint(dataset: Dataset): string | undefined {
  const audits = auditsOf(dataset, {
    dialect: DUCKDB,
    self: 'this',
    fields: dataset.fields ?? [],
    time: 'time',
    nowMs: 0,
    relation: (other) => DUCKDB.identifier(other.name),
  })
  if (audits.length === 0) return undefined
  return createHash('sha256').update(JSON.stringify(audits)).digest('hex').slice(0, 16)
}

function notNull(column: string, { self, dialect }: AuditContext): Audit {
  const count = `count(*) FILTER (WHERE ${dialect.identifier(column)} IS NULL)`
  return {
    check: `not_null(${column})`,
    severity: 'block',
    sql: `SELECT ${count} = 0 AS passed, ${count} || ' rows have no ${escape(column)}' AS message FROM ${self}`,
  }
}

function auditSql(check: DatasetCheck, context: AuditContext): string {
  const { self, dialect } = context
  const quote = dialect.identifier
  const asText = (value: string) => `CAST(${value} AS ${dialect.type({ kind: 'string' })})`
  switch (check.rule) {
    case 'rowCount': {
      const bounds = [
        ...(check.min === undefined ? [] : [`count(*) >= ${check.min}`]),
        ...(check.max === undefined ? [] : [`count(*) <= ${check.max}`]),
      ]
      return `SELECT ${bounds.join(' AND ') || 'true'} AS passed, count(*) || ' rows, expected ${check.min ?? 0} to ${check.max ?? '∞'}' AS message FROM ${self}`
    }
    case 'nullFraction': {
      const share = `coalesce(count(*) FILTER (WHERE ${quote(check.column)} IS NULL) / CAST(nullif(count(*), 0) AS DOUBLE), 0)`
      return `SELECT ${share} <= ${check.max} AS passed, round(100 * ${share}, 2) || ' % of ${escape(check.column)} is null, at most ${check.max * 100} % allowed' AS message FROM ${self}`
    }
    case 'unique': {
      const columns = check.columns.map(quote).join(', ')
      const example = `'(' || concat_ws(', ', ${check.columns.map((c) => `coalesce(${asText(quote(c))}, 'null')`).join(', ')}) || ')'`
      return `SELECT count(*) = 0 AS passed, CASE WHEN count(*) = 0 THEN 'no repeated keys' ELSE count(*) || ' repeated keys, such as ' || any_value(example) END AS message FROM (SELECT ${example} AS example FROM ${self} GROUP BY ${columns} HAVING count(*) > 1)`
    }
    case 'sumEquals': {
      const mine = `coalesce((SELECT sum(${quote(check.column)}) FROM ${self}), 0)`
      const where = check.where
        ? ` WHERE ${check.where.render({ dataset: context.relation, parameter: quoteLiteral })}`
        : ''
      const theirs = `coalesce((SELECT sum(${check.other}) FROM ${context.relation(check.dataset)}${where}), 0)`
      return `SELECT abs(mine - theirs) <= ${check.tolerance} AS passed, 'sum is ' || mine || ', ${escape(check.dataset.name)} has ' || theirs AS message FROM (SELECT ${mine} AS mine, ${theirs} AS theirs)`
    }
    case 'freshness': {
      if (context.time === undefined)
        return `SELECT true AS passed, 'no time column; freshness is that of the commit' AS message`
      const newest = dialect.epochMs(asTimestamp(dialect, `max(${quote(context.time)})`))
      const within = durationMs(check.within, 'freshness')
      return `SELECT coalesce(${context.nowMs} - ${newest} <= ${within}, false) AS passed, coalesce('newest is ' || max(${quote(context.time)}) || ', allowed age ${formatMs(within)}', 'no rows') AS message FROM ${self}`
    }
    case 'sql': {
      const query = `WITH this AS (SELECT * FROM ${self}) ${check.sql.render({ dataset: context.relation, parameter: quoteLiteral })}`
      return `SELECT count(*) = 0 AS passed, CASE WHEN count(*) = 0 THEN 'no offending rows' ELSE count(*) || ' offending rows, such as ' || any_value(${dialect.rowText('offender')}) END AS message FROM (${query}) AS offender`
    }
  }
}

function escape(text: string): string {
  return text.replaceAll("'", "''")
}

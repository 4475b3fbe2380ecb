import { parseDuration } from '../base/duration.ts'
import { type Check, checkName } from './check.ts'
import type { ColumnType, Field } from './columns.ts'
import type { Dataset } from './dataset.ts'

/** Takes down what is wrong with one declaration. */
export interface Local {
  report(code: string, message: string, hint: string, column?: string): void
  /** Reports a column that does not exist; true when it does. */
  column(name: string, fields: readonly Field[], what: string): boolean
}

/** What is wrong with a check over these columns. Those of a table without declared columns are known once its SQL is bound. */
export function checkCheck(check: Check, dataset: Dataset, fields: readonly Field[], local: Local): void {
  const what = `check ${checkName(check)}`
  if (check.on === 'row' && dataset.kind === 'table') {
    local.report(
      'bad-check',
      `${what} is a row check; tables take dataset checks.`,
      'Put it on the stream, or use check.sql to find offending rows.',
    )
    return
  }
  switch (check.rule) {
    case 'sql':
    case 'predicate':
      return
    case 'freshness':
      if (!parseDuration(check.within))
        local.report(
          'bad-duration',
          `${what}: '${check.within}' is no length of time.`,
          "Write, for example, '1 hour'.",
        )
      return
    case 'rowCount':
      if (check.min === undefined && check.max === undefined)
        local.report('bad-check', `${what} has nothing to compare with.`, 'Give min, max or both.')
      return
    case 'nullFraction':
      local.column(check.column, fields, what)
      if (!(check.max >= 0 && check.max <= 1))
        local.report('bad-check', `${what} allows ${check.max}.`, 'Give a share from 0 to 1.', check.column)
      return
    case 'unique':
      if (check.columns.length === 0)
        local.report('bad-check', `${what} names no column.`, 'Name the columns that must not repeat together.')
      for (const name of check.columns) local.column(name, fields, what)
      return
    case 'matches':
      if (
        local.column(check.column, fields, what) &&
        fields.find((f) => f.name === check.column)!.type.kind !== 'string'
      ) {
        local.report(
          'bad-check',
          `${what} needs a string column.`,
          'Use check.predicate for other types.',
          check.column,
        )
      }
      return
    case 'range':
    case 'oneOf':
      if (local.column(check.column, fields, what))
        checkValues(
          check,
          fields.find((field) => field.name === check.column)!,
          what,
          local,
        )
      return
    default:
      local.column(check.column, fields, what)
  }
}

function checkValues(
  check: Extract<Check, { rule: 'range' | 'oneOf' }>,
  field: Field,
  what: string,
  local: Pick<Local, 'report'>,
): void {
  const values = check.rule === 'oneOf' ? check.values : [check.min, check.max].filter((bound) => bound !== undefined)
  if (values.length === 0)
    local.report(
      'bad-check',
      `${what} has nothing to compare with.`,
      check.rule === 'oneOf' ? 'Give at least one value.' : 'Give min, max or both.',
      field.name,
    )
  const wanted = COMPARED_WITH[field.type.kind]
  const wrong = values.find((value) => !wanted?.fits(value))
  if (wrong !== undefined)
    local.report(
      'bad-check',
      `${what} compares a ${field.type.kind} with ${JSON.stringify(wrong)}.`,
      wanted ? `Give ${wanted.what}.` : 'Use check.predicate for other types.',
      field.name,
    )
}

const NUMBER = {
  what: 'a number, or its digits as text',
  fits: (value: string | number) => String(value).trim() !== '' && Number.isFinite(Number(value)),
}
/** What values of a type can be compared with in a check. */
const COMPARED_WITH: Partial<Record<ColumnType['kind'], { what: string; fits(value: string | number): boolean }>> = {
  string: { what: 'text', fits: (value) => typeof value === 'string' },
  int: NUMBER,
  long: NUMBER,
  double: NUMBER,
  decimal: NUMBER,
  date: {
    what: "a date such as '2026-01-31'",
    fits: (value) => /^\d{4}-\d{2}-\d{2}$/.test(String(value)) && !Number.isNaN(Date.parse(String(value))),
  },
  timestamp: {
    what: "an ISO 8601 time such as '2026-01-31T12:00:00Z'",
    fits: (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)),
  },
}

import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import { type RowCheck, checkName } from '../project/check.ts'
import type { Dataset } from '../project/dataset.ts'
import type { Field } from '../project/columns.ts'
import { tolerant } from './mapping.ts'

/** A rule each row must meet, as SQL over the typed columns. */
export interface RowRule {
  readonly name: string
  /** True when the row meets the rule; null counts as failing. */
  readonly condition: string
  /** SQL text expression saying what is wrong, for people. */
  readonly reason: string
}

/** The rule of a row check. `relation` gives the SQL to select a referenced dataset's published rows from. */
export function rowRule(check: RowCheck, fields: readonly Field[], relation: (dataset: Dataset) => string): RowRule {
  const name = checkName(check)
  if (check.rule === 'predicate') {
    const condition = check.sql.render({ dataset: relation, parameter: (p) => quoteLiteral(p) })
    return { name, condition: tolerant(condition), reason: quoteLiteral(`${check.name} does not hold`) }
  }
  const column = quoteIdentifier(check.column)
  const value = `coalesce(${column}::VARCHAR, 'null')`
  const unlessNull = (condition: string) => `(${column} IS NULL OR ${condition})`
  switch (check.rule) {
    case 'range': {
      const field = fields.find((f) => f.name === check.column)
      const bound = (v: number | string) => literal(v, field)
      const parts = [
        ...(check.min === undefined ? [] : [`${column} >= ${bound(check.min)}`]),
        ...(check.max === undefined ? [] : [`${column} <= ${bound(check.max)}`]),
      ]
      const limits = `${check.min ?? '-∞'} … ${check.max ?? '∞'}`
      return {
        name,
        condition: unlessNull(`(${parts.join(' AND ') || 'true'})`),
        reason: `'${escape(check.column)} is ' || ${value} || ', outside ${escape(limits)}'`,
      }
    }
    case 'oneOf': {
      const field = fields.find((f) => f.name === check.column)
      const values = check.values.map((v) => literal(v, field))
      const shown = check.values.slice(0, 8).join(', ') + (check.values.length > 8 ? ', …' : '')
      return {
        name,
        condition: unlessNull(`${column} IN (${values.join(', ')})`),
        reason: `'${escape(check.column)} is ''' || ${value} || ''', not one of ${escape(shown)}'`,
      }
    }
    case 'matches':
      return {
        name,
        condition: unlessNull(`regexp_matches(${column}, ${quoteLiteral(check.pattern)})`),
        reason: `'${escape(check.column)} ''' || left(${value}, 100) || ''' does not match /${escape(check.pattern)}/'`,
      }
    case 'reference':
      return {
        name,
        condition: unlessNull(
          `${column} IN (SELECT ${quoteIdentifier(check.references)} FROM ${relation(check.dataset)} WHERE ${quoteIdentifier(check.references)} IS NOT NULL)`,
        ),
        reason: `'${escape(check.column)} ''' || ${value} || ''' is not in ${escape(`${check.dataset.name}.${check.references}`)}'`,
      }
  }
}

/** A declared value as SQL. Numbers stay as they are written: cast to an integer column 1.5 would be 2. */
function literal(value: number | string, field: Field | undefined): string {
  switch (field?.type.kind) {
    case 'int':
    case 'long':
    case 'double':
    case 'decimal':
      return String(value)
    case 'date':
      return `${quoteLiteral(String(value))}::DATE`
    case 'timestamp':
      return `${quoteLiteral(String(value))}::TIMESTAMPTZ::TIMESTAMP`
    default:
      return quoteLiteral(String(value))
  }
}

function escape(text: string): string {
  return text.replaceAll("'", "''")
}

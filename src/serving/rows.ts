import { MillraceError } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { didYouMean } from '../base/suggest.ts'
import type { BoundValue } from '../engine/duckdb/bind.ts'
import { type ColumnType, type IdentifiedField, offeredColumns } from '../project/columns.ts'
import { type Cursor, badCursor, questionName, readCursor } from './cursor.ts'
import type { ServingLimits } from './limits.ts'
import type { Relation } from './platform.ts'
import { isScalar, typedText } from './typed-text.ts'

/**
 * The query language of `…/rows`, in the URL (docs/http.md): `country=France&quantity.gte=5&order=-ordered_at&limit=100`. A bare
 * column is equality, several of one column match any; `column.op` is another comparison. Column names hold no dot, so an
 * operator can follow any of them.
 */

/** Words that are not columns; a column of that name is reached with an operator: `limit.eq=5`. */
const CONTROLS = ['columns', 'order', 'limit', 'cursor', 'format'] as const
/** The same for `…/live`. */
const LIVE_CONTROLS = ['columns', 'from', 'after'] as const
const OPERATORS = ['eq', 'ne', 'lt', 'lte', 'gt', 'gte', 'starts', 'contains', 'null'] as const
type Operator = (typeof OPERATORS)[number]

const CONDITIONS_MAX = 100

export interface RowsQuery {
  readonly sql: string
  readonly parameters: Readonly<Record<string, BoundValue>>
  readonly limit: number
  /** Trailing columns of the SQL that order the rows. */
  readonly keys: number
  /** Names the question for cursors. */
  readonly question: string
  readonly cursor: Cursor | undefined
}

/** Something with a name and columns. */
type Columned = Pick<Relation, 'name' | 'fields'>

interface Ordering {
  readonly field: IdentifiedField
  readonly descending: boolean
}

/**
 * SQL for a URL's parameters over one relation. Every value is bound. Errors, all `invalid`: `unknown-column`,
 * `unknown-operator`, `repeated-parameter`, `bad-value`, `bad-limit`, `bad-cursor`, `too-many-conditions`; `conflict`/`rows-changed`.
 */
export function rowsQuery(relation: Relation, given: URLSearchParams, limits: ServingLimits): RowsQuery {
  expectOnce(given)
  const binder = new Binder()
  const columns = selectedColumns(relation, given.get('columns'))
  const order = ordering(relation, given.get('order'))
  const limit = pageLimit(given.get('limit'), limits)
  const conditions = filters(relation, given, binder, CONTROLS)
  const question = questionName([
    relation.name,
    [...given].filter(([name]) => name !== 'cursor' && name !== 'limit' && name !== 'format'),
  ])
  const text = given.get('cursor')
  const cursor = text === null ? undefined : readCursor(text)
  let skip = 0
  if (cursor !== undefined) {
    if (cursor.question !== question || (cursor.keys?.length ?? 0) !== order.length) throw badCursor()
    if (cursor.keys === undefined && cursor.version !== relation.version) throw rowsChanged()
    if (cursor.keys !== undefined) conditions.push(fromKeys(order, cursor.keys, binder))
    skip = cursor.skip
  }
  const selected = [
    ...columns.map(({ name }) => quoteIdentifier(name)),
    ...order.map(({ field }, i) => `${quoteIdentifier(field.name)} as ${quoteIdentifier(`order ${i + 1}`)}`),
  ]
  const sql = [
    `select ${selected.join(', ')} from ${quoteIdentifier(relation.name)}`,
    conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`,
    orderBy(order, relation),
    ` limit ${limit + 1}`,
    skip === 0 ? '' : ` offset ${skip}`,
  ].join('')
  return { sql, parameters: binder.values, limit, keys: order.length, question, cursor }
}

/** Columns and conditions of a URL's parameters, for rows that come one by one. Errors: those of `rowsQuery`. */
export function liveSelection(
  dataset: Columned,
  given: URLSearchParams,
): {
  readonly columns: readonly IdentifiedField[]
  readonly conditions: readonly string[]
  readonly parameters: Readonly<Record<string, BoundValue>>
} {
  const binder = new Binder()
  return {
    columns: selectedColumns(dataset, given.get('columns')),
    conditions: filters(dataset, given, binder, LIVE_CONTROLS),
    parameters: binder.values,
  }
}

/** The cursor after a page, given the last row's keys and how many rows at its end share them. */
export function nextCursor(
  query: RowsQuery,
  version: string,
  page: { rows: number; last: { keys: readonly (string | null)[]; tied: number } | undefined },
): Cursor {
  const { question, cursor } = query
  if (page.last === undefined) return { version, question, skip: (cursor?.skip ?? 0) + page.rows }
  // A page that is all one tie goes on with the tie of the page before.
  const same =
    cursor?.keys !== undefined &&
    page.last.tied === page.rows &&
    page.last.keys.every((key, i) => key === cursor.keys![i])
  return { version, question, skip: page.last.tied + (same ? cursor.skip : 0), keys: page.last.keys }
}

/** A filter may be given several times; of two limits or orders nobody could say which holds. */
function expectOnce(given: URLSearchParams): void {
  const repeated = CONTROLS.find((name) => given.getAll(name).length > 1)
  if (repeated === undefined) return
  throw new MillraceError('invalid', 'repeated-parameter', `'${repeated}' is given more than once.`, {
    hint: 'Give it once; several columns are separated by commas.',
    context: { parameter: repeated },
  })
}

class Binder {
  readonly values: Record<string, BoundValue> = {}

  bind(type: ColumnType, value: string): string {
    const name = `p${Object.keys(this.values).length + 1}`
    this.values[name] = { type, value }
    return `$${name}`
  }
}

function fieldNamed(relation: Columned, name: string): IdentifiedField {
  const field = relation.fields.find((each) => each.name === name)
  if (field !== undefined) return field
  const names = relation.fields.map((each) => each.name)
  throw new MillraceError('invalid', 'unknown-column', `${relation.name} has no column '${name}'.`, {
    hint: didYouMean(name, offeredColumns(name, names)),
    context: { dataset: relation.name, column: name },
  })
}

function selectedColumns(relation: Columned, text: string | null): readonly IdentifiedField[] {
  if (text === null) return relation.fields
  return [...new Set(text.split(','))].map((name) => fieldNamed(relation, name.trim()))
}

function ordering(relation: Columned, text: string | null): Ordering[] {
  if (text === null || text === '') return []
  const seen = new Set<string>()
  return text.split(',').flatMap((part) => {
    const descending = part.startsWith('-')
    const field = fieldNamed(relation, part.replace(/^-/, '').trim())
    if (!isScalar(field.type)) {
      throw new MillraceError(
        'invalid',
        'bad-order',
        `Rows cannot be ordered by '${field.name}', which is of type ${field.type.kind}.`,
        {
          hint: 'Order by columns of simple types.',
        },
      )
    }
    if (seen.has(field.name)) return []
    seen.add(field.name)
    return [{ field, descending }]
  })
}

function pageLimit(text: string | null, { pageRows, pageRowsMax }: ServingLimits): number {
  if (text === null) return pageRows
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= pageRowsMax) return limit
  throw new MillraceError('invalid', 'bad-limit', `limit=${text} is not a number from 1 to ${pageRowsMax}.`, {
    hint: `Take pages of at most ${pageRowsMax} rows, or POST /v1/sql for more.`,
  })
}

function filters(relation: Columned, given: URLSearchParams, binder: Binder, controls: readonly string[]): string[] {
  const grouped = new Map<string, string[]>()
  for (const [name, value] of given) {
    if (controls.includes(name)) continue
    const values = grouped.get(name)
    if (values === undefined) grouped.set(name, [value])
    else values.push(value)
  }
  const count = [...grouped.values()].reduce((sum, values) => sum + values.length, 0)
  if (count > CONDITIONS_MAX) {
    throw new MillraceError(
      'invalid',
      'too-many-conditions',
      `There are ${count} conditions; ${CONDITIONS_MAX} are allowed.`,
      {
        hint: 'POST /v1/sql takes any query.',
      },
    )
  }
  return [...grouped].map(([name, values]) => {
    const [column = '', operator = 'eq'] = name.split(/\.(.*)/s)
    return condition(fieldNamed(relation, column), operatorNamed(operator, name), values, binder)
  })
}

function operatorNamed(text: string, name: string): Operator {
  if ((OPERATORS as readonly string[]).includes(text)) return text as Operator
  throw new MillraceError('invalid', 'unknown-operator', `There is no operator '${text}' (in '${name}').`, {
    hint: didYouMean(text, OPERATORS),
  })
}

function condition(field: IdentifiedField, operator: Operator, values: readonly string[], binder: Binder): string {
  const column = quoteIdentifier(field.name)
  const where = operator === 'eq' ? field.name : `${field.name}.${operator}`
  if (operator === 'null') {
    const nulls = values.map((value) => typedText({ kind: 'boolean' }, value, where))
    return `(${nulls.map((is) => (is === 'true' ? `${column} is null` : `${column} is not null`)).join(' or ')})`
  }
  if (!isScalar(field.type)) {
    throw new MillraceError(
      'invalid',
      'bad-filter',
      `'${field.name}' is of type ${field.type.kind}: only ${field.name}.null=true or =false filters on it.`,
      {
        hint: 'POST /v1/sql reaches inside such values.',
      },
    )
  }
  if ((operator === 'starts' || operator === 'contains') && field.type.kind !== 'string') {
    throw new MillraceError(
      'invalid',
      'bad-filter',
      `'${where}' needs a string column; '${field.name}' is of type ${field.type.kind}.`,
      {
        hint: 'Compare it with eq, ne, lt, lte, gt or gte.',
      },
    )
  }
  const bound = values.map((value) => binder.bind(field.type, typedText(field.type, value, where)))
  switch (operator) {
    case 'eq':
      return bound.length === 1 ? `${column} = ${bound[0]}` : `${column} in (${bound.join(', ')})`
    case 'ne':
      return bound.map((value) => `${column} is distinct from ${value}`).join(' and ')
    case 'starts':
      return `(${bound.map((value) => `starts_with(${column}, ${value})`).join(' or ')})`
    case 'contains':
      return `(${bound.map((value) => `contains(${column}, ${value})`).join(' or ')})`
    default:
      return bound.map((value) => `${column} ${COMPARISONS[operator]} ${value}`).join(' and ')
  }
}

const COMPARISONS = { lt: '<', lte: '<=', gt: '>', gte: '>=' } as const

/** Nulls come last either way. Equal keys are told apart by the other columns, so that pages do not overlap. */
function orderBy(order: readonly Ordering[], relation: Relation): string {
  if (order.length === 0) return ''
  const keys = order.map(
    ({ field, descending }) => `${quoteIdentifier(field.name)} ${descending ? 'desc' : 'asc'} nulls last`,
  )
  const rest = relation.fields
    .filter((field) => isScalar(field.type) && !order.some((key) => key.field.name === field.name))
    .map((field) => quoteIdentifier(field.name))
  return ` order by ${[...keys, ...rest].join(', ')}`
}

/** Rows at or after the given keys, in the order: `c1 after v1 or (c1 same v1 and (c2 after v2 or …))`. */
function fromKeys(order: readonly Ordering[], keys: readonly (string | null)[], binder: Binder): string {
  return order.reduceRight((rest, { field, descending }, i) => {
    const column = quoteIdentifier(field.name)
    const key = keys[i]!
    if (key === null) return rest === '' ? `${column} is null` : `(${column} is null and ${rest})`
    const value = binder.bind(field.type, typedText(field.type, key, 'cursor'))
    const after = `${column} ${descending ? '<' : '>'} ${value} or ${column} is null`
    return `(${after} or ${rest === '' ? `${column} = ${value}` : `(${column} = ${value} and ${rest})`})`
  }, '')
}

function rowsChanged(): MillraceError {
  return new MillraceError('conflict', 'rows-changed', 'The rows have changed since the page before.', {
    hint: 'Start again without a cursor, or give an order (order=column): ordered pages go on where they ended.',
  })
}

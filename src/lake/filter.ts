import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { typeName } from '../project/columns.ts'
import type { IdentifiedField } from '../project/columns.ts'
import type { DataFile } from './data-file.ts'
import { bareType } from './evolution.ts'
import type { ManifestFile } from './manifest-list.ts'
import type { Spec, SpecField } from './partition.ts'
import { isPrimitive, walk } from './schema.ts'
import type { PrimitiveType } from './schema.ts'
import { transformValue } from './transform.ts'
import { compareValues, decodeValue, parseValue } from './value.ts'
import type { Value } from './value.ts'

/** A condition on one column; nested columns by dotted path. Values as in JSON: dates, timestamps and decimals as text. */
export type ColumnFilter =
  | { readonly column: string; readonly op: '=' | '<' | '<=' | '>' | '>='; readonly value: FilterValue }
  | { readonly column: string; readonly op: 'in'; readonly values: readonly FilterValue[] }
  | { readonly column: string; readonly op: 'is null' }
  | { readonly column: string; readonly op: 'is not null' }

export type FilterValue = string | number | bigint | boolean

/** Conditions that all must hold. */
export type FileFilter = readonly ColumnFilter[]

/** A filter bound to a table's fields, and its comparisons made inclusive where the type has neighbours. */
export type BoundFilter = readonly Condition[]

interface Condition {
  readonly id: number
  readonly type: PrimitiveType
  readonly test: Test
}

type Test =
  | { readonly op: '<' | '<=' | '>' | '>='; readonly value: Value }
  | { readonly op: 'in'; readonly values: readonly Value[] }
  | { readonly op: 'is null' }
  | { readonly op: 'is not null' }

/** What is known of a set of values: undefined is unknown. */
interface Range {
  readonly lower?: Value | undefined
  readonly upper?: Value | undefined
  /** Some value is null; every value is null. */
  readonly hasNull?: boolean | undefined
  readonly allNull?: boolean | undefined
}

/** Binds a filter. Throws `invalid` / `bad-filter` for an unknown column or a value that is not of its type. */
export function bindFilter(filter: FileFilter, fields: readonly IdentifiedField[]): BoundFilter {
  const columns = new Map([...walk(fields)].filter((c) => !c.repeated).map((c) => [c.path.join('.'), c]))
  return filter.map((condition) => {
    const column = columns.get(condition.column)
    if (!column)
      throw badFilter(condition.column, 'there is no such column', didYouMean(condition.column, columns.keys()))
    // A list or struct has no statistics of its own; as a string without bounds nothing is ever told of it.
    const type: PrimitiveType = isPrimitive(column.type) ? column.type : { kind: 'string' }
    const value = (given: FilterValue): Value => {
      const parsed = parseValue(type, String(given))
      if (parsed !== undefined && isPrimitive(column.type)) return parsed
      throw badFilter(
        condition.column,
        `${JSON.stringify(String(given))} is not a ${typeName(bareType(column.type))}`,
        'Write the value as it is in JSON.',
      )
    }
    return { id: column.id, type, test: bindTest(condition, type, value) }
  })
}

function bindTest(condition: ColumnFilter, type: PrimitiveType, value: (given: FilterValue) => Value): Test {
  switch (condition.op) {
    case 'is null':
    case 'is not null':
      return { op: condition.op }
    case 'in':
      return { op: 'in', values: condition.values.map(value) }
    case '=':
      return { op: 'in', values: [value(condition.value)] }
    default:
      return inclusive(condition.op, type, value(condition.value))
  }
}

// `< 5` is `<= 4` for whole numbers: a transform keeps the tighter form.
function inclusive(op: '<' | '<=' | '>' | '>=', type: PrimitiveType, value: Value): Test {
  const step = op === '<' ? -1 : op === '>' ? 1 : 0
  if (step === 0 || type.kind === 'double' || typeof value === 'string' || typeof value === 'boolean')
    return { op, value }
  return { op: step < 0 ? '<=' : '>=', value: typeof value === 'bigint' ? value + BigInt(step) : value + step }
}

function badFilter(column: string, problem: string, hint: string): MillraceError {
  return new MillraceError('invalid', 'bad-filter', `The filter on column '${column}' cannot be used: ${problem}.`, {
    hint,
    context: { column },
  })
}

/** Whether a data file can hold a row that passes the filter. False is certain. */
export function mayMatchFile(file: DataFile, spec: Spec, filter: BoundFilter): boolean {
  return filter.every((condition) => {
    const parts = spec.fields.every((field, i) => {
      const value = file.partition[i] ?? null
      const range =
        value === null
          ? { hasNull: true, allNull: true }
          : { lower: value, upper: value, hasNull: false, allNull: false }
      return field.sourceId !== condition.id || mayMatchPartition(condition, field, range)
    })
    return parts && mayMatch(condition.test, fileRange(file, condition))
  })
}

/** Whether any file of a manifest can. */
export function mayMatchManifest(manifest: ManifestFile, spec: Spec, filter: BoundFilter): boolean {
  return filter.every((condition) =>
    spec.fields.every((field, i) => {
      const summary = manifest.partitions[i]
      if (!summary || field.sourceId !== condition.id) return true
      return mayMatchPartition(condition, field, {
        lower: summary.lower && decodeValue(field.result, summary.lower),
        upper: summary.upper && decodeValue(field.result, summary.upper),
        hasNull: summary.containsNull,
        allNull: summary.containsNull && !summary.lower,
      })
    }),
  )
}

/** The least and the greatest value of a column in a file, as far as its statistics tell. */
export function columnBounds(
  file: DataFile,
  column: string,
  fields: readonly IdentifiedField[],
): readonly [lower: Value, upper: Value] | undefined {
  const [condition] = bindFilter([{ column, op: 'is not null' }], fields)
  const { lower, upper } = fileRange(file, condition!)
  return lower === undefined || upper === undefined ? undefined : [lower, upper]
}

function fileRange(file: DataFile, { id, type }: Condition): Range {
  const stats = file.columns[id]
  if (!stats) return {}
  const { values, nulls, nans, lower, upper } = stats
  return {
    lower: lower && decodeValue(type, lower),
    // NaN is above every number to DuckDB, and Iceberg's bounds leave it out.
    upper: type.kind === 'double' && nans !== 0 ? undefined : upper && decodeValue(type, upper),
    hasNull: nulls === undefined ? undefined : nulls > 0,
    allNull: nulls === undefined || values === undefined ? undefined : nulls === values,
  }
}

/** The condition carried over to partition values, where the transform allows to tell something from them. */
function mayMatchPartition({ type, test }: Condition, field: SpecField, range: Range): boolean {
  const { transform } = field
  if (transform.kind === 'void') return true
  if (test.op === 'is null' || test.op === 'is not null') return mayMatch(test, range)
  const project = (value: Value): Value => transformValue(transform, type, value)!
  if (test.op === 'in') return mayMatch({ op: 'in', values: test.values.map(project) }, range)
  // Buckets keep no order. The other transforms do, not strictly: `<` becomes `<=`.
  if (transform.kind === 'bucket') return mayMatch({ op: 'is not null' }, range)
  if (transform.kind === 'identity') return mayMatch(test, range)
  return mayMatch({ op: test.op === '<' || test.op === '<=' ? '<=' : '>=', value: project(test.value) }, range)
}

function mayMatch(test: Test, { lower, upper, hasNull, allNull }: Range): boolean {
  if (test.op === 'is null') return hasNull !== false
  if (allNull === true) return false
  if (test.op === 'is not null') return true
  if (test.op === 'in') return test.values.some((value) => within(value, lower, upper))
  const { op, value } = test
  if (isNaNValue(value)) return true
  if (op === '<') return lower === undefined || compareValues(lower, value) < 0
  if (op === '<=') return lower === undefined || compareValues(lower, value) <= 0
  if (op === '>') return upper === undefined || compareValues(upper, value) > 0
  return upper === undefined || compareValues(upper, value) >= 0
}

function within(value: Value, lower: Value | undefined, upper: Value | undefined): boolean {
  if (isNaNValue(value)) return true
  return (
    (lower === undefined || compareValues(lower, value) <= 0) &&
    (upper === undefined || compareValues(upper, value) >= 0)
  )
}

function isNaNValue(value: Value): boolean {
  return typeof value === 'number' && Number.isNaN(value)
}

import { MillraceError, assert } from '../base/errors.ts'
import { typeName } from '../project/columns.ts'
import type { ColumnType } from '../project/columns.ts'
import { murmur3 } from './murmur3.ts'
import type { PrimitiveType } from './schema.ts'
import { MICROS_PER_DAY, MICROS_PER_HOUR, encodeValue, floorDiv } from './value.ts'
import type { Value } from './value.ts'

/** How a column's value becomes a partition value (Iceberg spec, "Partition Transforms"). */
export type Transform =
  | { readonly kind: 'identity' | 'year' | 'month' | 'day' | 'hour' | 'void' }
  | { readonly kind: 'bucket'; readonly count: number }
  | { readonly kind: 'truncate'; readonly width: number }

/** A file's value of one partition field, in the transform's result type. */
export type PartitionValue = Value | null

const TIME_KINDS = ['date', 'timestamp'] as const
const TRUNCATABLE = ['int', 'long', 'decimal', 'string'] as const

/** Which column types a transform takes. Doubles make no partitions: NaN and the two zeros have no one value. */
const ACCEPTS: Record<Transform['kind'], readonly ColumnType['kind'][]> = {
  identity: ['boolean', 'date', 'timestamp', ...TRUNCATABLE],
  year: TIME_KINDS,
  month: TIME_KINDS,
  day: TIME_KINDS,
  hour: ['timestamp'],
  bucket: [...TIME_KINDS, ...TRUNCATABLE],
  truncate: TRUNCATABLE,
  void: ['boolean', 'date', 'timestamp', ...TRUNCATABLE],
}

/** The type of a transform's results. Throws `invalid` / `bad-partition` where the transform does not take the type. */
export function resultType(transform: Transform, type: ColumnType, column: string): PrimitiveType {
  const size = transform.kind === 'bucket' ? transform.count : transform.kind === 'truncate' ? transform.width : 1
  if (!ACCEPTS[transform.kind].includes(type.kind) || !Number.isInteger(size) || size < 1 || size > 0x7fffffff) {
    throw new MillraceError(
      'invalid',
      'bad-partition',
      `Column '${column}' (${typeName(type)}) cannot be partitioned by ${transformName(transform)}.`,
      {
        hint: `${transform.kind} takes ${ACCEPTS[transform.kind].join(', ')}${size === 1 ? '' : ' and a whole number of at least 1'}.`,
        context: { column },
      },
    )
  }
  switch (transform.kind) {
    case 'year':
    case 'month':
    case 'hour':
    case 'bucket':
      return { kind: 'int' }
    case 'day':
      return { kind: 'date' }
    case 'identity':
    case 'truncate':
    case 'void':
      return type as PrimitiveType
  }
}

/** A transform in Iceberg's text: `bucket[16]`, `day`. */
export function transformName(transform: Transform): string {
  switch (transform.kind) {
    case 'bucket':
      return `bucket[${transform.count}]`
    case 'truncate':
      return `truncate[${transform.width}]`
    default:
      return transform.kind
  }
}

/** A transform from Iceberg's text. An unknown one reads as void: its values are there, and nothing can be told from them. */
export function parseTransform(text: string): Transform {
  const sized = /^(bucket|truncate)\[(\d+)\]$/.exec(text)
  if (sized)
    return sized[1] === 'bucket'
      ? { kind: 'bucket', count: Number(sized[2]) }
      : { kind: 'truncate', width: Number(sized[2]) }
  switch (text) {
    case 'identity':
    case 'year':
    case 'month':
    case 'day':
    case 'hour':
      return { kind: text }
    default:
      return { kind: 'void' }
  }
}

/** The partition value of a column's value. */
export function transformValue(transform: Transform, type: PrimitiveType, value: Value | null): PartitionValue {
  if (value === null) return null
  switch (transform.kind) {
    case 'identity':
      return value
    case 'void':
      return null
    case 'bucket':
      return (murmur3(hashBytes(type, value)) & 0x7fffffff) % transform.count
    case 'truncate':
      return truncateValue(type, value, transform.width)
    default:
      return timeValue(transform.kind, type, value)
  }
}

// Ints and dates hash as longs, so that widening a column keeps its buckets.
function hashBytes(type: PrimitiveType, value: Value): Uint8Array {
  return type.kind === 'int' || type.kind === 'date'
    ? encodeValue({ kind: 'long' }, BigInt(value))
    : encodeValue(type, value)
}

function truncateValue(type: PrimitiveType, value: Value, width: number): Value {
  if (typeof value === 'string') return firstCodePoints(value, width)
  const wide = floorDiv(BigInt(value), BigInt(width)) * BigInt(width)
  const least = leastValue(type)
  const bounded = wide < least ? least : wide
  return type.kind === 'int' ? Number(bounded) : bounded
}

/** The least value of a truncatable number. The spec leaves what truncates below it open; it stays in range here. */
function leastValue(type: PrimitiveType): bigint {
  if (type.kind === 'int') return -(2n ** 31n)
  if (type.kind === 'long') return -(2n ** 63n)
  assert(type.kind === 'decimal', 'a number is truncated')
  return 1n - 10n ** BigInt(type.precision)
}

/** The first `count` code points of a text. */
export function firstCodePoints(text: string, count: number): string {
  if (text.length <= count) return text
  let end = 0
  for (let i = 0; i < count && end < text.length; i++) end += text.codePointAt(end)! > 0xffff ? 2 : 1
  return text.slice(0, end)
}

function timeValue(kind: 'year' | 'month' | 'day' | 'hour', type: PrimitiveType, value: Value): number {
  const micros = type.kind === 'date' ? BigInt(value) * MICROS_PER_DAY : (value as bigint)
  if (kind === 'hour') return Number(floorDiv(micros, MICROS_PER_HOUR))
  const days = Number(floorDiv(micros, MICROS_PER_DAY))
  if (kind === 'day') return days
  const date = new Date(days * 86_400_000)
  const years = date.getUTCFullYear() - 1970
  return kind === 'year' ? years : years * 12 + date.getUTCMonth()
}

/**
 * A DuckDB expression that gives the partition value of `columnSql` as Iceberg stores it (year, month, day and hour as
 * whole numbers since 1970). There is none for `bucket`: compute it with transformValue for the distinct values and
 * join; asking for it here throws.
 */
export function transformSql(transform: Transform, columnSql: string, type: ColumnType): string {
  const x = `(${columnSql})`
  switch (transform.kind) {
    case 'identity':
      return x
    case 'void':
      return 'NULL'
    case 'year':
      return `(year${x} - 1970)::INTEGER`
    case 'month':
      return `((year${x} - 1970) * 12 + month${x} - 1)::INTEGER`
    case 'day':
      return `date_diff('day', DATE '1970-01-01', ${x}::DATE)::INTEGER`
    case 'hour':
      return `date_diff('hour', TIMESTAMP '1970-01-01', ${x})::INTEGER`
    case 'truncate':
      return truncateSql(x, type, transform.width)
    case 'bucket':
      throw new MillraceError(
        'internal',
        'bucket-in-sql',
        'DuckDB has no murmur3: compute buckets with transformValue for the distinct values.',
      )
  }
}

function truncateSql(x: string, type: ColumnType, width: number): string {
  if (type.kind === 'string') return `left(${x}, ${width})`
  // One size wider inside, so that the least values do not overflow on their way to being cut.
  if (type.kind === 'int') return `${cutSql(`${x}::BIGINT`, width, -(2n ** 31n))}::INTEGER`
  if (type.kind === 'long') return `${cutSql(`${x}::HUGEINT`, width, -(2n ** 63n))}::BIGINT`
  assert(type.kind === 'decimal', 'a number is truncated')
  // Through the unscaled value in text: DuckDB's decimal arithmetic has no room above 38 digits.
  const unscaled = `replace(${x}::VARCHAR, '.', '')::HUGEINT`
  return scaledSql(cutSql(unscaled, width, leastValue(type)), type.precision, type.scale)
}

// CASE, not greatest(): that passes over nulls.
function cutSql(x: string, width: number, least: bigint): string {
  const cut = `(${x} - ((${x} % ${width}) + ${width}) % ${width})`
  return `(CASE WHEN ${cut} < (${least})::HUGEINT THEN (${least})::HUGEINT ELSE ${cut} END)`
}

/** A decimal from its unscaled value: the point is put into the text. */
function scaledSql(unscaled: string, precision: number, scale: number): string {
  if (scale === 0) return `(${unscaled})::DECIMAL(${precision}, 0)`
  const digits = `lpad(abs(${unscaled})::VARCHAR, ${precision + 1}, '0')`
  const sign = `CASE WHEN ${unscaled} < 0 THEN '-' ELSE '' END`
  return `(${sign} || left(${digits}, ${precision + 1 - scale}) || '.' || right(${digits}, ${scale}))::DECIMAL(${precision}, ${scale})`
}

import { assert } from '../base/errors.ts'
import type { IdentifiedField } from '../project/columns.ts'
import type { ColumnStats, DataFile } from './data-file.ts'
import { partitionName } from './partition.ts'
import type { PartitionField } from './partition.ts'
import { isPrimitive, walk } from './schema.ts'
import type { PrimitiveType } from './schema.ts'
import { firstCodePoints, resultType } from './transform.ts'
import type { PartitionValue } from './transform.ts'
import { encodeValue, parseValue } from './value.ts'
import type { Value } from './value.ts'

/** One row of what DuckDB's `COPY … (RETURN_STATS)` returns, its maps as objects. */
export interface WrittenFile {
  /** Absolute path (`filename`). */
  readonly path: string
  /** `count`. */
  readonly records: number
  /** `file_size_bytes`. */
  readonly bytes: number
  readonly footerBytes?: number
  /** By column path as DuckDB prints it: `"a"`, `"point"."x"`, `"tags"."element"`. */
  readonly columnStatistics: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** `partition_keys`: by partition field name, the value in DuckDB's text. */
  readonly partitionValues?: Readonly<Record<string, string | null>>
}

/** Bounds of strings are cut to this many code points, as Iceberg's `truncate(16)` metrics mode does. */
const BOUND_CODE_POINTS = 16

/**
 * The data file that DuckDB wrote, as a commit takes it. The session's TimeZone must be UTC. A bound that would not be
 * true of every value, or that has no form in Iceberg, is left out: readers then look into the file.
 */
export function dataFile(
  fields: readonly IdentifiedField[],
  partition: readonly PartitionField[],
  written: WrittenFile,
): DataFile {
  const byPath = new Map([...walk(fields)].map((column) => [JSON.stringify(column.path), column]))
  const columns: Record<number, ColumnStats> = {}
  for (const [name, statistics] of Object.entries(written.columnStatistics)) {
    const column = byPath.get(JSON.stringify(splitPath(name)))
    // A partition column written beside the table's own is no column of the table.
    if (!column || !isPrimitive(column.type)) continue
    columns[column.id] = columnStats(column.type, statistics, column.repeated)
  }
  return {
    path: written.path,
    records: written.records,
    bytes: written.bytes,
    partition: partition.map((field) => partitionValue(field, fields, written)),
    columns,
  }
}

function columnStats(
  type: PrimitiveType,
  statistics: Readonly<Record<string, string>>,
  repeated: boolean,
): ColumnStats {
  const bytes = count(statistics['column_size_bytes'])
  // Inside lists counts are of elements, not rows, and Iceberg gives no bounds.
  if (repeated) return { ...bytesOf(bytes) }
  const values = count(statistics['num_values'])
  const nulls = count(statistics['null_count'])
  const hasNan = type.kind === 'double' && statistics['has_nan'] !== 'false'
  const lower = lowerBound(type, statistics['min'])
  // DuckDB orders NaN above all numbers, so with one in the file no number is an upper bound.
  const upper = hasNan ? undefined : upperBound(type, statistics['max'])
  return {
    ...bytesOf(bytes),
    ...(values === undefined ? {} : { values }),
    ...(nulls === undefined ? {} : { nulls }),
    // How many NaN there are is not told, only whether there is one.
    ...(type.kind === 'double' && !hasNan ? { nans: 0 } : {}),
    ...(lower === undefined ? {} : { lower }),
    ...(upper === undefined ? {} : { upper }),
  }
}

function bytesOf(bytes: number | undefined): ColumnStats {
  return bytes === undefined ? {} : { bytes }
}

function count(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text)
}

/** A lower bound of values whose least is printed as `min`. */
export function lowerBound(type: PrimitiveType, min: string | undefined): Buffer | undefined {
  const value = min === undefined ? undefined : finite(parseValue(type, min))
  if (value === undefined) return undefined
  if (typeof value === 'string') return encodeValue(type, firstCodePoints(value, BOUND_CODE_POINTS))
  // -0.0 and 0.0 are one value to DuckDB, which prints either: the lower one holds for both.
  return encodeValue(type, value === 0 ? -0 : value)
}

/** An upper bound of values whose greatest is printed as `max`. */
export function upperBound(type: PrimitiveType, max: string | undefined): Buffer | undefined {
  const value = max === undefined ? undefined : finite(parseValue(type, max))
  if (value === undefined) return undefined
  if (typeof value === 'string') {
    const cut = firstCodePoints(value, BOUND_CODE_POINTS)
    const bound = cut === value ? value : successor(cut)
    return bound === undefined ? undefined : encodeValue(type, bound)
  }
  return encodeValue(type, value === 0 ? 0 : value)
}

function finite(value: Value | undefined): Value | undefined {
  return typeof value === 'number' && !Number.isFinite(value) ? undefined : value
}

/** The least text of no more code points that is greater than every text beginning with `text`; undefined if there is none. */
function successor(text: string): string | undefined {
  const points = Array.from(text, (char) => char.codePointAt(0)!)
  for (let i = points.length - 1; i >= 0; i--) {
    // Surrogates are no code points of their own: the one before them is followed by the one after.
    const next = points[i] === 0xd7ff ? 0xe000 : points[i]! + 1
    if (next <= 0x10ffff) return String.fromCodePoint(...points.slice(0, i), next)
  }
  return undefined
}

function partitionValue(
  field: PartitionField,
  fields: readonly IdentifiedField[],
  written: WrittenFile,
): PartitionValue {
  if (field.transform.kind === 'void') return null
  const name = partitionName(field)
  const text = written.partitionValues?.[name]
  assert(text !== undefined, `${written.path} was written with a value for its partition field ${name}`)
  if (text === null) return null
  const column = fields.find((candidate) => candidate.name === field.column)
  assert(column, `partition column ${field.column} is in the table`)
  const type = resultType(field.transform, column.type, column.name)
  // Days come as whole numbers (transformSql), though their type is date.
  const value = type.kind === 'date' && /^-?\d{1,9}$/.test(text) ? Number(text) : parseValue(type, text)
  assert(value !== undefined, `partition value '${text}' of ${name} is a ${type.kind}`)
  return value
}

/** `"a"."b ""c"""` → `['a', 'b "c"']`. */
function splitPath(name: string): string[] {
  const parts = name.match(/"(?:[^"]|"")*"/g)
  return parts ? parts.map((part) => part.slice(1, -1).replaceAll('""', '"')) : [name]
}

import {
  type DuckDBArrayValue,
  type DuckDBBlobValue,
  type DuckDBDateValue,
  type DuckDBListValue,
  type DuckDBMapValue,
  type DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBUnionValue,
  type DuckDBValue,
} from '@duckdb/node-api'
import { typeName } from '../../project/columns.ts'
import type { RowForm } from './take-rows.ts'
import { columnType } from './types.ts'

/** Values as docs/http.md writes them. JSON text of one value, null included. */
export type JsonWriter = (value: DuckDBValue) => string

/** The type a table would give a column, by Millrace's name; where no table could hold it, `bytes`, `map<…>` or DuckDB's own name. */
export function resultType(type: DuckDBType): string {
  const known = columnType(type)
  if (known !== undefined) return typeName(known)
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
      return `list<${resultType(type.valueType)}>`
    case DuckDBTypeId.STRUCT:
      return `struct<${type.entryNames.map((name, i) => `${name}: ${resultType(type.entryTypes[i]!)}`).join(', ')}>`
    case DuckDBTypeId.MAP:
      return `map<${resultType(type.keyType)}, ${resultType(type.valueType)}>`
    case DuckDBTypeId.BLOB:
      return 'bytes'
    default:
      return String(type).toLowerCase()
  }
}

/** A writer made once for a column's type. */
export function jsonWriter(type: DuckDBType): JsonWriter {
  const write = valueWriter(type)
  return (value) => (value === null || value === undefined ? 'null' : write(value))
}

function valueWriter(type: DuckDBType): JsonWriter {
  if (type.alias === 'JSON') return (value) => embedded(value as string)
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.BIGINT:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.UINTEGER:
    case DuckDBTypeId.UBIGINT:
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
    case DuckDBTypeId.BIGNUM:
    case DuckDBTypeId.DECIMAL:
      return String
    case DuckDBTypeId.FLOAT:
      return (value) => floating(shortestFloat(value as number))
    case DuckDBTypeId.DOUBLE:
      return (value) => floating(value as number)
    case DuckDBTypeId.VARCHAR:
    case DuckDBTypeId.ENUM:
      return JSON.stringify
    case DuckDBTypeId.DATE:
      return (value) => `"${(value as DuckDBDateValue).toString()}"`
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_TZ:
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
    case DuckDBTypeId.TIMESTAMP_NS:
      return (value) => `"${instant(value)}"`
    case DuckDBTypeId.BLOB:
      return (value) => `"${Buffer.from((value as DuckDBBlobValue).bytes).toString('base64')}"`
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY: {
      const element = jsonWriter(type.valueType)
      return (value) => `[${(value as DuckDBListValue | DuckDBArrayValue).items.map(element).join(',')}]`
    }
    case DuckDBTypeId.STRUCT: {
      const fields = type.entryNames.map((name, i) => ({
        name,
        label: JSON.stringify(name),
        write: jsonWriter(type.entryTypes[i]!),
      }))
      return (value) => {
        const { entries } = value as DuckDBStructValue
        return `{${fields.map(({ name, label, write }) => `${label}:${write(entries[name] ?? null)}`).join(',')}}`
      }
    }
    case DuckDBTypeId.MAP: {
      const key = jsonWriter(type.keyType)
      const item = jsonWriter(type.valueType)
      return (value) =>
        `[${(value as DuckDBMapValue).entries.map((entry) => `{"key":${key(entry.key)},"value":${item(entry.value)}}`).join(',')}]`
    }
    case DuckDBTypeId.UNION: {
      const members = new Map(type.memberTags.map((tag, i) => [tag, jsonWriter(type.memberTypes[i]!)]))
      return (value) => {
        const union = value as DuckDBUnionValue
        return members.get(union.tag)!(union.value)
      }
    }
    default:
      return (value) => JSON.stringify(String(value))
  }
}

/** A json value goes into the answer as it is; text that is not JSON after all goes in as a string. */
function embedded(text: string): string {
  try {
    JSON.parse(text)
    return text
  } catch {
    return JSON.stringify(text)
  }
}

function floating(value: number): string {
  if (Number.isFinite(value)) return String(value)
  return Number.isNaN(value) ? '"NaN"' : value > 0 ? '"Infinity"' : '"-Infinity"'
}

/** The shortest decimal that reads back as the same 32-bit float. */
function shortestFloat(value: number): number {
  if (!Number.isFinite(value)) return value
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits))
    if (Math.fround(shorter) === value) return shorter
  }
  return value
}

/** ISO 8601 in UTC; the fraction only when there is one. Beyond year 9999 and infinities as DuckDB writes them. */
function instant(value: DuckDBValue): string {
  const micros = microsOf(value)
  if (micros !== undefined) {
    const ms = Number(micros / 1000n) - (micros % 1000n < 0n ? 1 : 0)
    if (ms >= -62_135_596_800_000 && ms < 253_402_300_800_000) {
      const iso = new Date(ms).toISOString()
      const extra = Number(((micros % 1000n) + 1000n) % 1000n)
      if (extra !== 0) return `${iso.slice(0, 23)}${String(extra).padStart(3, '0')}Z`
      return iso.endsWith('.000Z') ? `${iso.slice(0, 19)}Z` : iso
    }
  }
  const text = String(value).replace(/\+00$/, '')
  return text.includes('infinity') ? text : `${text.replace(' ', 'T')}Z`
}

function microsOf(value: DuckDBValue): bigint | undefined {
  if (value instanceof DuckDBTimestampValue || value instanceof DuckDBTimestampTZValue) return value.micros
  if (value instanceof DuckDBTimestampMillisecondsValue) return value.millis * 1000n
  if (value instanceof DuckDBTimestampSecondsValue) return value.seconds * 1_000_000n
  if (value instanceof DuckDBTimestampNanosecondsValue && value.nanos % 1000n === 0n) return value.nanos / 1000n
  return undefined
}

/** Rows as the text of JSON objects. */
export const jsonObjects: RowForm<string> = (names, types) => {
  const writers = types.map(jsonWriter)
  const labels = names.map((name) => `${JSON.stringify(name)}:`)
  return (cells) => {
    const row = `{${labels.map((label, i) => label + writers[i]!(cells[i]!)).join(',')}}`
    return { row, bytes: row.length }
  }
}

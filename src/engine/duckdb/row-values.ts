import {
  type DuckDBArrayValue,
  type DuckDBListValue,
  type DuckDBStructValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api'
import { jsonWriter } from './json-text.ts'
import type { RowForm } from './take-rows.ts'

/** A value as TypeScript code of a project sees it: what `typeof stream.row` promises. */
type ValueReader = (value: DuckDBValue) => unknown

/**
 * Rows as objects of plain values: long is a number where that is exact and a bigint beyond, decimal, date and timestamp
 * are text as in JSON, json is parsed.
 */
export const rowValues: RowForm<Record<string, unknown>> = (names, types) => {
  const readers = types.map(valueReader)
  return (cells) => {
    const row = Object.fromEntries(names.map((name, i) => [name, readers[i]!(cells[i]!)]))
    return { row, bytes: sizeOf(row) }
  }
}

function valueReader(type: DuckDBType): ValueReader {
  const read = presentReader(type)
  return (value) => (value === null || value === undefined ? null : read(value))
}

function presentReader(type: DuckDBType): ValueReader {
  // Text that is not JSON after all stays text, as in answers over HTTP.
  if (type.alias === 'JSON') return (value) => JSON.parse(jsonWriter(type)(value)) as unknown
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.DOUBLE:
    case DuckDBTypeId.VARCHAR:
      return (value) => value
    case DuckDBTypeId.BIGINT:
      return (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value)
    case DuckDBTypeId.DATE:
    case DuckDBTypeId.TIMESTAMP: {
      const write = jsonWriter(type)
      return (value) => JSON.parse(write(value)) as unknown
    }
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY: {
      const element = valueReader(type.valueType)
      return (value) => (value as DuckDBListValue | DuckDBArrayValue).items.map(element)
    }
    case DuckDBTypeId.STRUCT: {
      const fields = type.entryNames.map((name, i) => [name, valueReader(type.entryTypes[i]!)] as const)
      return (value) => {
        const { entries } = value as DuckDBStructValue
        return Object.fromEntries(fields.map(([name, read]) => [name, read(entries[name] ?? null)]))
      }
    }
    default:
      return String
  }
}

/** About what a value takes in memory; only bounds rest on it. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 16 + value.length
  if (typeof value !== 'object' || value === null) return 8
  return Object.values(value).reduce<number>((sum, part) => sum + 16 + sizeOf(part), 16)
}

import { quoteIdentifier, quoteLiteral } from '../../base/identifier.ts'
import type { ColumnType, Field } from '../../project/columns.ts'
import { duckdbType } from './types.ts'

/**
 * Rows on their way between the engine and JavaScript, as lines of JSON: `rowJson` writes them for `rowReader`, and
 * `jsonColumns` reads them back. Values are as columns declare them: decimals, dates and timestamps are strings, longs beyond
 * 2^53 are bigints.
 */

/** SQL giving a struct of the columns which, as JSON, `rowReader` understands. */
export function rowJson(fields: readonly Field[]): string {
  const members = fields.map(
    (field) => `${quoteIdentifier(field.name)} := ${value(quoteIdentifier(field.name), field.type)}`,
  )
  return `struct_pack(${members.join(', ')})`
}

/** Names and types for `read_ndjson(columns = …)`, which reads exactly what `rowJson` and a `RowWriter` write. */
export function jsonColumns(fields: readonly Field[]): string {
  return `{${fields.map((field) => `${quoteIdentifier(field.name)}: ${quoteLiteral(duckdbType(field.type))}`).join(', ')}}`
}

const LONG_MAX = String(Number.MAX_SAFE_INTEGER)

function value(sql: string, type: ColumnType, depth = 0): string {
  switch (type.kind) {
    case 'string':
    case 'int':
    case 'boolean':
      return sql
    // As text: the engine would write its numbers anew.
    case 'json':
      return `${sql}::VARCHAR`
    // JSON has no number for what is not finite, and JavaScript none for an integer that is long.
    case 'double':
      return `CASE WHEN isfinite(${sql}) THEN to_json(${sql}) ELSE to_json(${sql}::VARCHAR) END`
    case 'long':
      return `CASE WHEN ${sql} BETWEEN -${LONG_MAX} AND ${LONG_MAX} THEN to_json(${sql}) ELSE to_json(${sql}::VARCHAR) END`
    case 'decimal':
    case 'date':
      return `${sql}::VARCHAR`
    case 'timestamp':
      return `strftime(${sql}, '%Y-%m-%dT%H:%M:%S') || CASE WHEN epoch_us(${sql}) % 1000000 = 0 THEN 'Z' WHEN epoch_us(${sql}) % 1000 = 0 THEN strftime(${sql}, '.%gZ') ELSE strftime(${sql}, '.%fZ') END`
    case 'list':
      return `list_transform(${sql}, lambda e${depth}: ${value(`e${depth}`, type.element, depth + 1)})`
    case 'struct': {
      const members = type.fields.map((field) => {
        const member = `struct_extract(${sql}, ${quoteLiteral(field.name)})`
        return `${quoteIdentifier(field.name)} := ${value(member, field.type, depth)}`
      })
      return `CASE WHEN ${sql} IS NOT NULL THEN struct_pack(${members.join(', ')}) END`
    }
  }
}

/** What makes a row of parsed JSON; undefined when it is one already. */
export function rowReader(
  fields: readonly Field[],
): ((row: Record<string, unknown>) => Record<string, unknown>) | undefined {
  const readers = fields.flatMap((field) => {
    const reader = valueReader(field.type)
    return reader ? [[field.name, reader] as const] : []
  })
  if (readers.length === 0) return undefined
  return (row) => {
    for (const [name, reader] of readers) {
      const value = row[name]
      if (value !== null) row[name] = reader(value)
    }
    return row
  }
}

const DOUBLES: Readonly<Record<string, number>> = { nan: NaN, inf: Infinity, '-inf': -Infinity }

/** Undefined where the parsed value is the value. Never called with null. */
function valueReader(type: ColumnType): ((value: unknown) => unknown) | undefined {
  switch (type.kind) {
    case 'long':
      return (value) => (typeof value === 'string' ? BigInt(value) : value)
    case 'double':
      return (value) => (typeof value === 'string' ? DOUBLES[value] : value)
    case 'json':
      return (value) => JSON.parse(value as string) as unknown
    case 'list': {
      const element = valueReader(type.element)
      return element && ((value) => (value as unknown[]).map((item) => (item === null ? null : element(item))))
    }
    case 'struct':
      return rowReader(type.fields) as ((value: unknown) => unknown) | undefined
    default:
      return undefined
  }
}

import type { IdentifiedField, IdentifiedType } from '../../src/project/columns.ts'
import type { Row } from '../lake/support/duckdb.ts'

/**
 * Rows of any reader in one form, ordered: whole numbers and decimals as text, doubles as numbers (NaN and infinities as
 * text), times with six digits of a second.
 */
export function canonicalRows(rows: readonly Row[], fields: readonly IdentifiedField[]): Row[] {
  return rows
    .map((row) => Object.fromEntries(fields.map((field) => [field.name, canonical(row[field.name], field.type)])))
    .map((row) => ({ row, key: JSON.stringify(row) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ row }) => row)
}

function canonical(value: unknown, type: IdentifiedType): unknown {
  if (value === null || value === undefined) return null
  switch (type.kind) {
    case 'int':
    case 'long':
      return text(value)
    case 'double':
      // The two zeros are one value, and JSON does not tell them apart.
      return typeof value === 'string' ? double(value) : (value as number) + 0
    case 'decimal': {
      const [whole, fraction = ''] = text(value).split('.')
      return type.scale === 0 ? whole : `${whole}.${fraction.padEnd(type.scale, '0')}`
    }
    case 'timestamp': {
      const [seconds, fraction = ''] = text(value).replace('T', ' ').split('.')
      return `${seconds}.${fraction.padEnd(6, '0')}`
    }
    case 'list':
      return (value as unknown[]).map((element) => canonical(element, type.element))
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [field.name, canonical((value as Row)[field.name], field.type)]),
      )
    default:
      return value
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function double(value: string): number | string {
  const known = { nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' }[value.toLowerCase()]
  return known ?? (/^-?[\d.]+(e[+-]?\d+)?$/i.test(value) ? Number(value) : value)
}

import { MillraceError } from '../base/errors.ts'
import { type ColumnType, typeName } from '../project/columns.ts'

/** The types a query parameter or filter can have. */
export function isScalar(type: ColumnType): boolean {
  return type.kind !== 'list' && type.kind !== 'struct' && type.kind !== 'json'
}

/**
 * Text from a URL as the canonical text of a type: what the query process binds. Timestamps come out in UTC. Errors:
 * `invalid`/`bad-value`, naming `where`.
 */
export function typedText(type: ColumnType, text: string, where: string): string {
  const canonical = READERS[type.kind]?.(text, type)
  if (canonical !== undefined) return canonical
  throw new MillraceError('invalid', 'bad-value', `${where}: '${text}' is not a valid ${typeName(type)}.`, {
    hint: HINTS[type.kind] ?? 'Lists and structs cannot be given here.',
    context: { parameter: where, value: text.slice(0, 200) },
  })
}

type Reader = (text: string, type: ColumnType) => string | undefined

const READERS: Partial<Record<ColumnType['kind'], Reader>> = {
  string: (text) => text,
  json: (text) => {
    try {
      JSON.parse(text)
      return text
    } catch {
      return undefined
    }
  },
  int: (text) => whole(text, 31n),
  long: (text) => whole(text, 63n),
  double: (text) => {
    if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return String(Number(text))
    return /^(?:NaN|-?Infinity)$/.test(text) ? text : undefined
  },
  boolean: (text) => (text === 'true' || text === 'false' ? text : undefined),
  decimal: (text, type) => {
    if (type.kind !== 'decimal') return undefined
    const [, sign = '', units = '', fraction = ''] = /^([+-]?)0*(\d+)(?:\.(\d+?)0*)?$/.exec(text) ?? []
    if (units === '' || units.length > Math.max(1, type.precision - type.scale)) return undefined
    if (units !== '0' && type.precision === type.scale) return undefined
    if (fraction.length > type.scale) return fraction === '0' ? `${sign}${units}` : undefined
    return `${sign}${units}${fraction === '' ? '' : `.${fraction}`}`
  },
  date: (text) => (isDate(text) ? text : undefined),
  timestamp: instant,
}

const HINTS: Partial<Record<ColumnType['kind'], string>> = {
  json: 'Give a JSON value.',
  int: 'Give a whole number from -2147483648 to 2147483647.',
  long: 'Give a whole number of at most 64 bits.',
  double: 'Give a number such as 12.5 or 1e-3, NaN, Infinity or -Infinity.',
  boolean: 'Give true or false.',
  decimal: 'Give a plain decimal number with no more digits than the type has.',
  date: 'Give a date such as 2026-01-31.',
  timestamp: "Give an instant such as 2026-01-31T08:30:00Z; in a URL the '+' of an offset is written %2B.",
}

function whole(text: string, bits: bigint): string | undefined {
  if (!/^[+-]?\d{1,20}$/.test(text)) return undefined
  const value = BigInt(text)
  return value >= -(2n ** bits) && value < 2n ** bits ? String(value) : undefined
}

function isDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false
  const ms = Date.parse(`${text}T00:00:00Z`)
  return Number.isFinite(ms) && new Date(ms).toISOString().startsWith(text)
}

/** ISO 8601 with or without time and offset; without an offset it is UTC. */
function instant(text: string): string | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?(?:\.(\d{1,6}))?(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(text)
  if (match === null || !isDate(match[1]!)) return undefined
  const [, date, minutes = '00:00', seconds = ':00', fraction = '', offset = 'Z'] = match
  const zone = /^[+-]\d{4}$/.test(offset) ? `${offset.slice(0, 3)}:${offset.slice(3)}` : offset.toUpperCase()
  const ms = Date.parse(`${date}T${minutes}${seconds}${zone}`)
  if (!Number.isFinite(ms)) return undefined
  const utc = new Date(ms).toISOString()
  return /^\d{4}-/.test(utc) ? `${utc.slice(0, 19)}${fraction === '' ? '' : `.${fraction}`}Z` : undefined
}

import { type ColumnType, type Field, typeName } from '../project/columns.ts'

/**
 * Strict typing of rows that JavaScript made: a value either is of its column's type, losslessly, or the row is refused. What
 * passes is written as JSON in a form that the engine reads as exactly that value.
 */

/** A row does not fit its columns. */
export class Misfit extends Error {
  override readonly name = 'Misfit'
  readonly rule: string

  constructor(rule: string, message: string) {
    super(message)
    this.rule = rule
  }
}

/** Writes the members of a row as JSON, `"id":"a","n":1`; fields that are not columns are left out. Throws `Misfit`. */
export type RowWriter = (row: unknown) => string

export function rowWriter(fields: readonly Field[]): RowWriter {
  const writers = fields.map((field) => [field.name, `"${field.name}":`, memberWriter(field, field.name)] as const)
  return (row) => {
    if (!isRow(row)) throw new Misfit('result', `the function returned ${shown(row)}, which is no row`)
    let text = ''
    for (const [name, label, write] of writers) text += `${text === '' ? '' : ','}${label}${write(row[name])}`
    return text
  }
}

type Writer = (value: unknown) => string

function memberWriter(field: Pick<Field, 'name' | 'type' | 'nullable'>, path: string): Writer {
  const write = valueWriter(field.type, path)
  return (value) => {
    if (value !== null && value !== undefined) return write(value)
    if (field.nullable) return 'null'
    throw new Misfit(`not_null(${path})`, `${path} is missing`)
  }
}

function valueWriter(type: ColumnType, path: string): Writer {
  const scalar = SCALARS[type.kind]
  if (scalar)
    return (value) => {
      const text = scalar(value)
      if (text === undefined) throw misfit(path, value, type)
      return text
    }
  switch (type.kind) {
    case 'decimal': {
      const { precision, scale } = type
      return (value) => {
        const text = typeof value === 'number' && Number.isFinite(value) ? String(value) : value
        const match = typeof text === 'string' ? DECIMAL.exec(text) : undefined
        const fits = match && match[1]!.length <= precision - scale && (match[2] ?? '').length <= scale
        if (!fits) throw misfit(path, value, type)
        return `"${text as string}"`
      }
    }
    case 'list': {
      const element = memberWriter({ name: path, type: type.element, nullable: type.elementNullable }, `${path}[]`)
      return (value) => {
        if (!Array.isArray(value)) throw misfit(path, value, type)
        return `[${value.map(element).join(',')}]`
      }
    }
    case 'struct': {
      const members = type.fields.map(
        (field) => [field.name, `"${field.name}":`, memberWriter(field, `${path}.${field.name}`)] as const,
      )
      return (value) => {
        if (!isRow(value)) throw misfit(path, value, type)
        return `{${members.map(([name, label, write]) => label + write(value[name])).join(',')}}`
      }
    }
    default:
      throw misfit(path, undefined, type)
  }
}

const INT_MAX = 2 ** 31
const LONG_MAX = 2n ** 63n

/** The JSON of a value of a type; undefined when it is none. */
const SCALARS: Partial<Record<ColumnType['kind'], (value: unknown) => string | undefined>> = {
  string: text,
  int: (value) =>
    Number.isInteger(value) && (value as number) >= -INT_MAX && (value as number) < INT_MAX ? String(value) : undefined,
  long: (value) => {
    if (typeof value === 'bigint') return value >= -LONG_MAX && value < LONG_MAX ? `"${value}"` : undefined
    return Number.isSafeInteger(value) ? String(value) : undefined
  },
  double: (value) => (Number.isFinite(value) ? (Object.is(value, -0) ? '-0.0' : String(value)) : undefined),
  boolean: (value) => (typeof value === 'boolean' ? String(value) : undefined),
  date: (value) => (typeof value === 'string' && isDate(value) ? `"${value}"` : undefined),
  timestamp: (value) => {
    const instant = typeof value === 'string' ? instantOf(value) : undefined
    return instant === undefined ? undefined : `"${instant}"`
  },
  json: (value) => {
    const json = JSON.stringify(value) as string | undefined
    return json === undefined || !isWellFormed(json) ? undefined : JSON.stringify(json)
  },
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.isWellFormed() ? JSON.stringify(value) : undefined
}

/** JSON.stringify escapes what is half a character, which no UTF-8 holds. */
function isWellFormed(json: string): boolean {
  return !/\\ud[89a-f]/.test(json)
}

/** Digits before the point without leading zeros, and after it without trailing ones. */
const DECIMAL = /^-?0*(\d*?)(?:\.(\d*?)0*)?$(?<=\d)/

const DATE = /^(\d{4})-(\d{2})-(\d{2})$/
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

function isDate(value: string): boolean {
  const match = DATE.exec(value)
  if (!match) return false
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return year > 0 && day > 0 && day <= (month === 2 && isLeap ? 29 : (DAYS[month - 1] ?? 0))
}

const INSTANT =
  /^(\d{4}-\d{2}-\d{2})(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:(\.\d{1,6})0*)?(?:Z| UTC|([+-])(0\d|1[0-8])(?::?([0-5]\d))?)?)?)?$/

/** The instant in UTC, as the engine reads it; undefined when the text is none. Without an offset it is UTC already. */
function instantOf(value: string): string | undefined {
  const match = INSTANT.exec(value)
  if (!match || !isDate(match[1]!)) return undefined
  const [, date, hour = '00', minute = '00', second = '00', fraction = '', sign, offsetHour, offsetMinute = '00'] =
    match
  if (sign === undefined) return `${date}T${hour}:${minute}:${second}${fraction}`
  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * (sign === '-' ? -1 : 1)
  const ms = Date.parse(`${date}T${hour}:${minute}:${second}Z`) - offset * 60_000
  const moved = new Date(ms).toISOString()
  return /^\d{4}-/.test(moved) && !moved.startsWith('0000') ? moved.slice(0, 19) + fraction : undefined
}

function isRow(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function misfit(path: string, value: unknown, type: ColumnType): Misfit {
  return new Misfit(`type(${path})`, `${path} is ${shown(value)}, which is not a valid ${typeName(type)}`)
}

const SHOWN_MAX = 100

/** A value for people: `'abc'`, `12`, `a Date`, `an array`. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, SHOWN_MAX).toWellFormed()}'`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'an array'
  if (typeof value !== 'object' || value === null) return String(value)
  const name = (value.constructor as { name?: string } | undefined)?.name
  return name === undefined || name === 'Object' ? 'an object' : `a ${name}`
}

import type { PrimitiveType } from './schema.ts'

/**
 * One value as the metadata layer computes with it: boolean; number for int, double and date (days since 1970-01-01);
 * bigint for long, timestamp (microseconds since 1970-01-01T00:00Z) and decimal (unscaled); string for string and json.
 */
export type Value = boolean | number | bigint | string

/** Order of two values of one type: negative, zero or positive. Strings by code point, as Iceberg and Parquet do. */
export function compareValues(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string') return compareStrings(a, b)
  return a < b ? -1 : a > b ? 1 : 0
}

// JavaScript compares UTF-16 units, which puts U+E000…U+FFFF after the supplementary planes; UTF-8 puts them before.
function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1
  }
  return a.length - b.length
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff
}

/** Single-value serialisation, Iceberg spec Appendix D: the form of bounds. */
export function encodeValue(type: PrimitiveType, value: Value): Buffer {
  switch (type.kind) {
    case 'boolean':
      return Buffer.from([value === true ? 1 : 0])
    case 'int':
    case 'date': {
      const bytes = Buffer.allocUnsafe(4)
      bytes.writeInt32LE(value as number)
      return bytes
    }
    case 'long':
    case 'timestamp': {
      const bytes = Buffer.allocUnsafe(8)
      bytes.writeBigInt64LE(value as bigint)
      return bytes
    }
    case 'double': {
      const bytes = Buffer.allocUnsafe(8)
      bytes.writeDoubleLE(value as number)
      return bytes
    }
    case 'decimal':
      return twosComplement(value as bigint)
    case 'string':
    case 'json':
      return Buffer.from(value as string, 'utf8')
  }
}

/**
 * Inverse of encodeValue. Bounds keep the type of their writing, so a long may come in four bytes (it was an int) and a
 * double too (it was a float). Undefined for bytes of no meaning: the caller then knows nothing about the bound.
 */
export function decodeValue(type: PrimitiveType, bytes: Uint8Array): Value | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  switch (type.kind) {
    case 'boolean':
      return buffer.length === 1 ? buffer[0] !== 0 : undefined
    case 'int':
    case 'date':
      return buffer.length === 4 ? buffer.readInt32LE() : undefined
    case 'long':
    case 'timestamp':
      if (buffer.length === 4) return BigInt(buffer.readInt32LE())
      return buffer.length === 8 ? buffer.readBigInt64LE() : undefined
    case 'double':
      if (buffer.length === 4) return buffer.readFloatLE()
      return buffer.length === 8 ? buffer.readDoubleLE() : undefined
    case 'decimal':
      return buffer.length > 0 ? fromTwosComplement(buffer) : undefined
    case 'string':
    case 'json':
      return buffer.toString('utf8')
  }
}

/** Big-endian two's complement in the fewest bytes, or in `size` bytes. */
export function twosComplement(value: bigint, size?: number): Buffer {
  let length = size ?? 1
  if (size === undefined) while (BigInt.asIntN(length * 8, value) !== value) length++
  const hex = BigInt.asUintN(length * 8, value).toString(16)
  return Buffer.from(hex.padStart(length * 2, '0'), 'hex')
}

export function fromTwosComplement(bytes: Uint8Array): bigint {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`))
}

/** Bytes of the smallest Avro fixed that holds a decimal of this precision. */
export function decimalSize(precision: number): number {
  return twosComplement(10n ** BigInt(precision) - 1n).length
}

/**
 * A value from text: what DuckDB prints, and what JSON carries (ISO 8601 with `T` and an offset). Undefined when the
 * text is no such value or is outside what Iceberg stores (infinite and BC dates): there is then no bound to give.
 */
export function parseValue(type: PrimitiveType, text: string): Value | undefined {
  switch (type.kind) {
    case 'boolean':
      return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : undefined
    case 'int': {
      const value = /^-?\d{1,10}$/.test(text) ? Number(text) : NaN
      return value === (value | 0) ? value : undefined
    }
    case 'long': {
      const value = /^-?\d{1,19}$/.test(text) ? BigInt(text) : undefined
      return value === undefined || BigInt.asIntN(64, value) !== value ? undefined : value
    }
    case 'double':
      return parseDouble(text)
    case 'decimal':
      return parseDecimal(text, type.scale)
    case 'date': {
      const micros = parseInstant(text)
      return micros === undefined ? undefined : Number(floorDiv(micros, MICROS_PER_DAY))
    }
    case 'timestamp':
      return parseInstant(text)
    case 'string':
    case 'json':
      return text
  }
}

export const MICROS_PER_DAY = 86_400_000_000n
export const MICROS_PER_HOUR = 3_600_000_000n

/** Division rounding towards minus infinity. */
export function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient
}

function parseDouble(text: string): number | undefined {
  const special = { nan: NaN, inf: Infinity, '-inf': -Infinity, infinity: Infinity, '-infinity': -Infinity }[
    text.toLowerCase()
  ]
  if (special !== undefined) return special
  return /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined
}

/** Unscaled value of a decimal in text; undefined when it has more digits after the point than `scale`, zeros aside. */
function parseDecimal(text: string, scale: number): bigint | undefined {
  const match = /^(-?)(\d*)(?:\.(\d*))?$/.exec(text)
  if (!match || (match[2] === '' && !match[3])) return undefined
  const fraction = (match[3] ?? '').replace(/0+$/, '')
  if (fraction.length > scale) return undefined
  const unscaled = BigInt(match[2]! + fraction.padEnd(scale, '0') || '0')
  return match[1] === '-' ? -unscaled : unscaled
}

const INSTANT =
  /^(\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?\s*(?:Z|([+-])(\d\d)(?::?(\d\d))?)?$/

function parseInstant(text: string): bigint | undefined {
  const match = INSTANT.exec(text)
  if (!match) return undefined
  const [
    ,
    year,
    month,
    day,
    hour = '0',
    minute = '0',
    second = '0',
    fraction = '',
    sign,
    offsetHours = '0',
    offsetMinutes = '0',
  ] = match
  // Not Date.UTC: it takes the years 0 to 99 for 1900 to 1999.
  const date = new Date(0)
  const ms = date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  if (Number.isNaN(ms) || date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day))
    return undefined
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === '-' ? -1 : 1)
  const seconds = Number(hour) * 3_600 + Number(minute) * 60 + Number(second) - offset * 60
  return BigInt(ms) * 1_000n + BigInt(seconds) * 1_000_000n + BigInt(fraction.padEnd(6, '0').slice(0, 6))
}

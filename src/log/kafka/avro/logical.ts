import type { JsonText } from './json-text.ts'
import { Unreadable } from './reader.ts'

const QUOTE = 0x22
const DASH = 0x2d
const COLON = 0x3a
const POINT = 0x2e
const LETTER_T = 0x54
const LETTER_Z = 0x5a

const DAY_SECONDS = 86_400
/** Days from 1970 to 0001-01-01 and to 10000-01-01: what dates in text can be. */
const DAY_MIN = -719_162
const DAY_MAX = 2_932_897
/** Far more than any engine has digits for; making text of a number takes the square of its length. */
const DECIMAL_BYTES_MAX = 128

/** A number of two's complement, big-endian, with its last `scale` digits behind the point: as a string, for it must not be rounded. */
export function writeDecimal(to: JsonText, bytes: Buffer, scale: number): void {
  if (bytes.length === 0 || bytes.length > DECIMAL_BYTES_MAX) {
    throw new Unreadable(`a decimal has ${bytes.length} bytes`)
  }
  const unscaled =
    bytes.length <= 6
      ? bytes.readIntBE(0, bytes.length)
      : BigInt.asIntN(8 * bytes.length, BigInt(`0x${bytes.toString('hex')}`))
  const negative = unscaled < 0
  const digits = String(unscaled)
    .slice(negative ? 1 : 0)
    .padStart(scale + 1, '0')
  const point = digits.length - scale
  const fraction = scale === 0 ? '' : `.${digits.slice(point)}`
  to.ascii(`"${negative ? '-' : ''}${digits.slice(0, point)}${fraction}"`)
}

/** Days since 1970 as `"2026-01-31"`; outside of the years 1 to 9999 the number itself, which no column of dates takes. */
export function writeDate(to: JsonText, days: number | bigint): void {
  if (days < DAY_MIN || days >= DAY_MAX) return to.integer(days)
  to.byte(QUOTE)
  writeDay(to, Number(days))
  to.byte(QUOTE)
}

/** A part of a day as `"12:34:56.789"`; outside of the day the number itself. */
export function writeTime(to: JsonText, time: number | bigint, digits: 3 | 6 | 9): void {
  if (time < 0 || time >= DAY_SECONDS * 10 ** digits) return to.integer(time)
  to.byte(QUOTE)
  writeTimeOfDay(to, Number(time), digits)
  to.byte(QUOTE)
}

/** Time since 1970 as `"2026-01-31T12:34:56.789012Z"`, without the `Z` where it is local; far away the number itself. */
export function writeTimestamp(to: JsonText, since: number | bigint, digits: 3 | 6 | 9, isUtc: boolean): void {
  const perDay = DAY_SECONDS * 10 ** digits
  const [days, time] = typeof since === 'bigint' ? splitWide(since, BigInt(perDay)) : split(since, perDay)
  if (days < DAY_MIN || days >= DAY_MAX) return to.integer(since)
  to.byte(QUOTE)
  writeDay(to, days)
  to.byte(LETTER_T)
  writeTimeOfDay(to, time, digits)
  if (isUtc) to.byte(LETTER_Z)
  to.byte(QUOTE)
}

/** Whole parts and the rest, which is never negative. Remainders of numbers are exact, quotients may be rounded. */
function split(value: number, unit: number): [number, number] {
  const rest = ((value % unit) + unit) % unit
  return [(value - rest) / unit, rest]
}

function splitWide(value: bigint, unit: bigint): [number, number] {
  const rest = ((value % unit) + unit) % unit
  return [Number((value - rest) / unit), Number(rest)]
}

/** The civil date of a day (https://howardhinnant.github.io/date_algorithms.html, civil_from_days). */
function writeDay(to: JsonText, days: number): void {
  // Years begin in March, so that the day of the leap year is the last.
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  to.padded(yearOfEra + era * 400 + (month <= 2 ? 1 : 0), 4)
  to.byte(DASH)
  to.padded(month, 2)
  to.byte(DASH)
  to.padded(dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1, 2)
}

/** Digits behind the seconds are written where they are not zero; of nanoseconds those behind the microseconds too. */
function writeTimeOfDay(to: JsonText, time: number, digits: number): void {
  const unit = 10 ** digits
  const fraction = time % unit
  const seconds = (time - fraction) / unit
  to.padded(Math.floor(seconds / 3600), 2)
  to.byte(COLON)
  to.padded(Math.floor(seconds / 60) % 60, 2)
  to.byte(COLON)
  to.padded(seconds % 60, 2)
  if (fraction === 0) return
  to.byte(POINT)
  if (digits === 9 && fraction % 1000 === 0) to.padded(fraction / 1000, 6)
  else to.padded(fraction, digits)
}

export function writeUuid(to: JsonText, bytes: Buffer): void {
  const hex = bytes.toString('hex')
  to.ascii(`"${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}"`)
}

/** Months, days and milliseconds, each of 32 bits, little-endian, as ISO 8601 has durations: `"P1M2DT3.004S"`. */
export function writeDuration(to: JsonText, bytes: Buffer): void {
  const ms = bytes.readUInt32LE(8)
  const fraction = ms % 1000 === 0 ? '' : `.${String(ms % 1000).padStart(3, '0')}`
  to.ascii(`"P${bytes.readUInt32LE(0)}M${bytes.readUInt32LE(4)}DT${Math.floor(ms / 1000)}${fraction}S"`)
}

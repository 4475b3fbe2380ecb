import type { Data, DataType, Table } from 'apache-arrow'
import type { Drivers } from './drivers.ts'

type ValueReader = (index: number) => unknown

const MICROS_PER_DAY = 86_400_000_000n

/**
 * The rows of one batch of a result, a whole Arrow stream, as objects of plain values, the same that rows of the embedded engine
 * become (`rowValues`): long is a number where that is exact and a bigint beyond, decimal, date and timestamp are text
 * as in JSON.
 */
export function rowsOf(bytes: Uint8Array, arrow: Drivers['arrow']): Record<string, unknown>[] {
  const table: Table = arrow.tableFromIPC(bytes)
  return table.batches.flatMap((batch) => {
    const columns = table.schema.fields.map(
      (field, i) => [field.name, readerOf(batch.data.children[i]!, arrow)] as const,
    )
    return Array.from({ length: batch.numRows }, (_, i) =>
      Object.fromEntries(columns.map(([name, read]) => [name, read(i)])),
    )
  })
}

function readerOf(data: Data, arrow: Drivers['arrow']): ValueReader {
  const read = presentReader(data, arrow)
  if (data.nullCount === 0) return read
  return (index) => (data.getValid(index) ? read(index) : null)
}

function presentReader(data: Data, arrow: Drivers['arrow']): ValueReader {
  const type: DataType = data.type
  if (arrow.DataType.isNull(type)) return () => null
  if (arrow.DataType.isDate(type)) return (index) => dateText(BigInt((data.values as Int32Array)[index]!))
  if (arrow.DataType.isTimestamp(type)) return (index) => instantText((data.values as BigInt64Array)[index]!)
  if (arrow.DataType.isDecimal(type))
    return (index) => decimalText(decimalAt(data.values as Uint32Array, index), type.scale)
  if (arrow.DataType.isInt(type) && type.bitWidth === 64) {
    return (index) => {
      const value = (data.values as BigInt64Array)[index]!
      return Number.isSafeInteger(Number(value)) ? Number(value) : value
    }
  }
  if (arrow.DataType.isList(type)) {
    const element = readerOf(data.children[0]!, arrow)
    return (index) => {
      const [from, to] = [data.valueOffsets[index]!, data.valueOffsets[index + 1]!]
      return Array.from({ length: to - from }, (_, i) => element(from + i))
    }
  }
  if (arrow.DataType.isStruct(type)) {
    const fields = type.children.map((field, i) => [field.name, readerOf(data.children[i]!, arrow)] as const)
    return (index) => Object.fromEntries(fields.map(([name, read]) => [name, read(index)]))
  }
  const vector = new arrow.Vector([data])
  if (
    arrow.DataType.isBool(type) ||
    arrow.DataType.isInt(type) ||
    arrow.DataType.isFloat(type) ||
    arrow.DataType.isUtf8(type)
  )
    return (index) => vector.get(index) as unknown
  return (index) => String(vector.get(index))
}

function decimalAt(words: Uint32Array, index: number): bigint {
  let value = 0n
  for (let word = 3; word >= 0; word--) value = (value << 32n) | BigInt(words[index * 4 + word]!)
  return BigInt.asIntN(128, value)
}

function decimalText(unscaled: bigint, scale: number): string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale === 0 ? '' : `.${digits.slice(point)}`}`
}

/** `2026-01-31`; years that do not have four digits as ISO 8601 extends them. */
function dateText(day: bigint): string {
  return new Date(Number(day) * 86_400_000).toISOString().slice(0, -14)
}

/** ISO 8601 in UTC of microseconds since the epoch; the fraction only when there is one. */
function instantText(micros: bigint): string {
  const ofDay = ((micros % MICROS_PER_DAY) + MICROS_PER_DAY) % MICROS_PER_DAY
  const time = new Date(Number(ofDay / 1000n)).toISOString().slice(11, 19)
  const fraction = String(ofDay % 1_000_000n).padStart(6, '0')
  const shown = fraction === '000000' ? '' : `.${fraction.endsWith('000') ? fraction.slice(0, 3) : fraction}`
  return `${dateText((micros - ofDay) / MICROS_PER_DAY)}T${time}${shown}Z`
}

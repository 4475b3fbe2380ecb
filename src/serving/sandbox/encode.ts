import {
  type DuckDBArrayValue,
  type DuckDBBlobValue,
  type DuckDBDataChunk,
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
import { MillraceError } from '../../base/errors.ts'
import { columnType } from '../../engine/duckdb/types.ts'
import { typeName } from '../../project/columns.ts'
import type { ResultColumn, RowFormat } from './protocol.ts'

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

/** Text of a value for CSV and for cursors: JSON's, without quotes around scalars. Null stays null. */
function plainText(json: string): string | null {
  if (json === 'null') return null
  return json.startsWith('"') ? (JSON.parse(json) as string) : json
}

/** RFC 4180. Null is an empty field, empty text a quoted one. */
function csvField(json: string): string {
  const text = plainText(json)
  if (text === null) return ''
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Turns chunks into bytes of an answer, in parts, and counts. Errors: `invalid`/`result-too-large`. */
export class RowEncoder {
  rows = 0
  #bytes = 0
  #part: string[] = []
  #partLength = 0
  #keyText = ''
  #keys: string[] = []
  #tied = 0
  readonly #writers: readonly JsonWriter[]
  readonly #labels: readonly string[]
  readonly #format: RowFormat
  readonly #visible: number
  readonly #maxBytes: number
  readonly #emit: (bytes: Uint8Array) => Promise<void>

  constructor(
    columns: readonly ResultColumn[],
    types: readonly DuckDBType[],
    options: { format: RowFormat; maxBytes: number; emit: (bytes: Uint8Array) => Promise<void> },
  ) {
    this.#writers = types.map(jsonWriter)
    this.#labels = columns.map((column) => `${JSON.stringify(column.name)}:`)
    this.#format = options.format
    this.#visible = columns.length
    this.#maxBytes = options.maxBytes
    this.#emit = options.emit
    if (options.format === 'csv') this.#add(`${columns.map((c) => csvField(JSON.stringify(c.name))).join(',')}\r\n`)
  }

  /** Adds the first `count` rows of a chunk. */
  async add(chunk: DuckDBDataChunk, count: number): Promise<void> {
    const vectors = this.#writers.map((_, i) => chunk.getColumnVector(i))
    for (let row = 0; row < count; row++) {
      const cells = vectors.map((vector, i) => this.#writers[i]!(vector.getItem(row)))
      this.#add(this.#rowText(cells))
      if (cells.length > this.#visible) this.#countTies(cells.slice(this.#visible))
      if (this.#partLength >= PART_LENGTH) await this.#flush()
    }
  }

  async end(): Promise<void> {
    await this.#flush()
  }

  get last(): { keys: (string | null)[]; tied: number } | undefined {
    return this.#tied === 0 ? undefined : { keys: this.#keys.map(plainText), tied: this.#tied }
  }

  #rowText(cells: readonly string[]): string {
    const separator = this.rows++ === 0 ? '' : ','
    const visible = cells.length > this.#visible ? cells.slice(0, this.#visible) : cells
    switch (this.#format) {
      case 'arrays':
        return `${separator}[${visible.join(',')}]`
      case 'objects':
        return `${separator}{${visible.map((cell, i) => this.#labels[i]! + cell).join(',')}}`
      case 'csv':
        return `${visible.map(csvField).join(',')}\r\n`
    }
  }

  #countTies(keys: string[]): void {
    const text = keys.join('\n')
    this.#tied = text === this.#keyText && this.#tied > 0 ? this.#tied + 1 : 1
    this.#keyText = text
    this.#keys = keys
  }

  #add(text: string): void {
    this.#part.push(text)
    this.#partLength += text.length
    if (this.#bytes + this.#partLength > this.#maxBytes) throw resultTooLarge(this.#maxBytes)
  }

  async #flush(): Promise<void> {
    if (this.#part.length === 0) return
    const bytes = Buffer.from(this.#part.join(''))
    this.#part = []
    this.#partLength = 0
    this.#bytes += bytes.length
    if (this.#bytes > this.#maxBytes) throw resultTooLarge(this.#maxBytes)
    await this.#emit(bytes)
  }
}

const PART_LENGTH = 256 * 1024

export function resultTooLarge(maxBytes: number): MillraceError {
  return new MillraceError('invalid', 'result-too-large', `The answer is larger than ${maxBytes} bytes.`, {
    hint: 'Select fewer columns or rows: aggregate, or page with order by and limit.',
    context: { limit: maxBytes },
  })
}

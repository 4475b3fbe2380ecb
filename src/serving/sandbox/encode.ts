import type { DuckDBDataChunk, DuckDBType } from '@duckdb/node-api'
import { MillraceError } from '../../base/errors.ts'
import { type JsonWriter, jsonWriter } from '../../engine/duckdb/json-text.ts'
import type { ResultColumn, RowFormat } from './protocol.ts'

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

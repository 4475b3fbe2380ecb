import type { FilesSource } from '../../project/source.ts'
import type { FileVersion } from '../files.ts'
import { INVALID } from './text.ts'

/** Most bytes of the original text that a rejected record carries. */
const RAW_LIMIT = 64 * 1024

export interface WriterOptions {
  /** Leave out this many records, counted from the first of the file. */
  fromRecord: number
  batchBytes: number
  /** Largest record in bytes, as written. */
  recordLimit: number
}

/**
 * Collects a file's records as NDJSON: one line each, position first. Rejected records are records too: the gate sends
 * them to quarantine. `ready` holds finished batches for the caller to take.
 */
export class RecordWriter {
  readonly ready: { lines: Uint8Array; records: number }[] = []
  readonly recordLimit: number
  readonly #head: string
  readonly #hidesText: boolean
  readonly #fromRecord: number
  readonly #batchBytes: number
  #seen = 0
  #text = ''
  #records = 0

  constructor(source: FilesSource, file: FileVersion, options: WriterOptions) {
    this.#head = `{"$source":${JSON.stringify(source.name)},"$file":${JSON.stringify(file.file)},"$line":`
    this.#hidesText = (source.exclude ?? []).length > 0
    this.#fromRecord = options.fromRecord
    this.#batchBytes = options.batchBytes
    this.recordLimit = options.recordLimit
  }

  /** A record that begins on physical line `line`. `members`: the inside of a JSON object, without line breaks. */
  record(line: number, members: string): void {
    if (this.#isBeforeStart()) return
    const text = members === '' ? `${this.#head}${line}}\n` : `${this.#head}${line},${members}}\n`
    // A UTF-16 unit is at most 3 bytes of UTF-8, so most records need no counting.
    if (text.length * 3 > this.recordLimit && Buffer.byteLength(text) > this.recordLimit) {
      this.#reject(line, `the record is larger than ${this.recordLimit} bytes`, members)
    } else this.#add(text)
  }

  /** A record that cannot be framed. `raw` is its text as far as it is known. */
  reject(line: number, reason: string, raw: string): void {
    if (!this.#isBeforeStart()) this.#reject(line, reason, raw)
  }

  /** Makes the records collected so far a batch; none is made of none. */
  flush(): void {
    if (this.#records === 0) return
    this.ready.push({ lines: Buffer.from(this.#text), records: this.#records })
    this.#text = ''
    this.#records = 0
  }

  #isBeforeStart(): boolean {
    return this.#seen++ < this.#fromRecord
  }

  #reject(line: number, reason: string, raw: string): void {
    const why = this.#hidesText ? `${reason} (the text is withheld: this source excludes fields)` : reason
    const rest = this.#hidesText ? '' : `,"$raw":${JSON.stringify(shorten(raw.replaceAll(INVALID, '\ufffd')))}`
    this.#add(`${this.#head}${line},"$reject":${JSON.stringify(why)}${rest}}\n`)
  }

  #add(line: string): void {
    this.#text += line
    this.#records++
    if (this.#text.length >= this.#batchBytes) this.flush()
  }
}

/** At most RAW_LIMIT bytes of UTF-8, cut between characters. */
function shorten(text: string): string {
  if (text.length * 3 <= RAW_LIMIT) return text
  const bytes = Buffer.from(text)
  // In streaming mode the decoder keeps back a character that is cut in two.
  return bytes.length <= RAW_LIMIT ? text : new TextDecoder().decode(bytes.subarray(0, RAW_LIMIT), { stream: true })
}

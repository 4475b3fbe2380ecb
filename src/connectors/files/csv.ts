import { MillraceError } from '../../base/errors.ts'
import type { FilesSource } from '../../project/source.ts'
import type { FileVersion } from '../files.ts'
import { type CsvStep, CsvText, type Dialect } from './csv-text.ts'
import { FieldNames, expectFields } from './fields.ts'
import type { Framer } from './framer.ts'
import type { RecordWriter } from './records.ts'
import { INVALID } from './text.ts'

/**
 * Frames CSV records. Blank lines are none.
 *
 * A quoted value that never closes, or goes on after its closing quote, costs the physical line it begins on and no
 * more: framing starts again on the next one. CSV libraries give up the rest of the file there.
 */
export class CsvFramer implements Framer {
  /** The field names as found, once the header is read. */
  header: readonly string[] | undefined
  readonly #source: FilesSource
  readonly #file: FileVersion
  readonly #writer: RecordWriter
  readonly #needed: readonly string[]
  readonly #trim: boolean
  readonly #csv: CsvText
  #line = 1
  /** Within a line too long to hold: everything up to its end is dropped. */
  #skipping = false
  /** Per column, the field's name in JSON with its colon; undefined for an excluded one. */
  #keys: readonly (string | undefined)[] | undefined

  /** `needed`: fields the file must have. Errors: `invalid`/`bad-source`, `invalid`/`missing-field`. */
  constructor(source: FilesSource, file: FileVersion, writer: RecordWriter, needed: readonly string[]) {
    const dialect = dialectOf(source)
    this.#source = source
    this.#file = file
    this.#writer = writer
    this.#needed = needed
    this.#trim = dialect.trim
    this.#csv = new CsvText(dialect)
    if (typeof source.header === 'object') this.#setNames(source.header)
  }

  push(text: string): void {
    this.#csv.append(text)
    this.#run()
  }

  end(): void {
    this.#csv.append(undefined)
    this.#run()
    if (this.#awaitsHeader) {
      const hint = `Deliver the file again, or declare header: false for source '${this.#source.name}'.`
      throw this.#fileError('no-header', 'the file is empty, but field names are expected', hint)
    }
  }

  get #awaitsHeader(): boolean {
    return this.#keys === undefined && (this.#source.header ?? true) === true
  }

  #run(): void {
    const csv = this.#csv
    if (this.#skipping && !this.#skipLine()) return
    while (csv.at < csv.text.length) {
      const step = csv.step()
      if (step.kind === 'record') {
        this.#accept(step, this.#line)
        csv.skipTo(step.end)
        this.#line += 1 + step.breaks
      } else if (step.kind === 'malformed') this.#rejectLine(step.reason)
      else if (csv.text.length - csv.at <= this.#writer.recordLimit || !this.#rejectHuge()) return
    }
  }

  #accept(step: Extract<CsvStep, { kind: 'record' }>, line: number): void {
    const { values, end } = step
    const length = end - this.#csv.at
    if (values.length === 1 && length === values[0]!.length && this.#clean(values[0]!) === '') return
    if (this.#csv.dirty && this.#raw(end).includes(INVALID)) return this.#undecodable(line, this.#raw(end))
    if (length > this.#writer.recordLimit) return this.#writer.reject(line, this.#tooLong, this.#raw(end))
    if (this.#awaitsHeader) {
      if (values.length === 1 && length === values[0]!.length) this.#expectOneField(values[0]!)
      return this.#setNames(values)
    }
    const keys = this.#keys ?? this.#setKeys(new FieldNames(this.#source).name(values.map(() => '')))
    if (values.length !== keys.length) {
      return this.#writer.reject(line, `${keys.length} columns are expected, found ${values.length}`, this.#raw(end))
    }
    let members = ''
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]
      if (key !== undefined) members += (members === '' ? '' : ',') + key + JSON.stringify(this.#clean(values[i]!))
    }
    this.#writer.record(line, members)
  }

  #raw(end: number): string {
    return this.#csv.text.slice(this.#csv.at, end)
  }

  #clean(value: string): string {
    return this.#trim ? value.trim() : value
  }

  get #tooLong(): string {
    return `the record is larger than ${this.#writer.recordLimit} bytes`
  }

  /** Rejects the physical line at the present position and goes on after it. */
  #rejectLine(reason: string): void {
    if (this.#awaitsHeader) {
      const hint = `Correct the file, or declare quote and delimiter of source '${this.#source.name}'.`
      throw this.#fileError('bad-header', `the field names cannot be read: ${reason}`, hint)
    }
    const line = this.#csv.line()!
    this.#writer.reject(this.#line, reason, line.text)
    this.#csv.skipTo(line.end)
    this.#line++
  }

  /** Rejects a line after more text than a record may have. False when the line's end has not come yet. */
  #rejectHuge(): boolean {
    const line = this.#csv.line()
    if (line !== undefined) {
      this.#rejectLine(`a quoted value opens on this line and does not close within ${this.#writer.recordLimit} bytes`)
      return true
    }
    this.#writer.reject(this.#line, this.#tooLong, this.#csv.text)
    this.#skipping = true
    return this.#skipLine()
  }

  /** Drops the text up to the next line; false when that has not come yet. */
  #skipLine(): boolean {
    const line = this.#csv.line()
    if (line === undefined) {
      this.#csv.drop()
      return false
    }
    this.#csv.skipTo(line.end)
    this.#line++
    this.#skipping = false
    return true
  }

  #undecodable(line: number, raw: string): void {
    const encoding = this.#source.encoding ?? 'utf-8'
    if (this.#awaitsHeader) {
      const hint = `Declare the encoding of source '${this.#source.name}', 'windows-1252' for example.`
      throw this.#fileError('bad-encoding', `the field names are not valid ${encoding}`, hint)
    }
    this.#writer.reject(line, `bytes that are not valid ${encoding}`, raw)
  }

  /** A line of field names that another delimiter would divide: every row of the file would miss every column. */
  #expectOneField(header: string): void {
    const divides = [',', ';', '\t', '|'].find((delimiter) => header.includes(delimiter))
    if (divides === undefined) return
    const hint = `Declare delimiter: ${JSON.stringify(divides)} for source '${this.#source.name}', if that is what separates them; put the name in quotes if it is one.`
    throw this.#fileError('bad-header', `the field names are not separated: '${header.slice(0, 200)}'`, hint)
  }

  #setNames(found: readonly string[]): void {
    const names = new FieldNames(this.#source).name(found)
    expectFields(this.#source, this.#file, found, names, this.#needed)
    this.header = found
    this.#setKeys(names)
  }

  #setKeys(names: readonly (string | undefined)[]): readonly (string | undefined)[] {
    return (this.#keys = names.map((name) => (name === undefined ? undefined : `${JSON.stringify(name)}:`)))
  }

  #fileError(code: string, what: string, hint: string): MillraceError {
    return new MillraceError('invalid', code, `${this.#file.file}, line ${this.#line}: ${what}.`, {
      hint,
      context: { source: this.#source.name, file: this.#file.file, line: this.#line },
    })
  }
}

/** The dialect of a source; tabs delimit in files called `.tsv`. Throws `invalid`/`bad-source`. */
function dialectOf(source: FilesSource): Dialect {
  const delimiter = source.delimiter ?? (/\.tsv(\.gz)?$/i.test(source.path) ? '\t' : ',')
  const quote = source.quote === undefined ? '"' : (source.quote ?? undefined)
  const wrong =
    delimiter.length !== 1 || /[\r\n]/.test(delimiter)
      ? `delimiter ${JSON.stringify(delimiter)} is not one character`
      : quote !== undefined && (quote.length !== 1 || /\s/.test(quote))
        ? `quote ${JSON.stringify(quote)} is not one character`
        : quote === delimiter
          ? 'delimiter and quote are the same'
          : undefined
  if (wrong === undefined) return { delimiter, quote, trim: source.trim ?? true }
  throw new MillraceError('invalid', 'bad-source', `Source '${source.name}': ${wrong}.`, {
    hint: "Give one character each, such as delimiter: ';' and quote: '\"'; quote: null for none.",
    context: { source: source.name },
  })
}

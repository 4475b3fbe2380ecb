import { INVALID } from './text.ts'

/** How the values of a CSV file are told apart. */
export interface Dialect {
  readonly delimiter: string
  /** Undefined: quotes have no meaning. */
  readonly quote: string | undefined
  /** White space around values, quoted or not, is nothing. */
  readonly trim: boolean
}

/** What stands at the present position. `end` is the position of the line break (or the end of the text) behind it. */
export type CsvStep =
  | { readonly kind: 'record'; readonly values: string[]; readonly end: number; readonly breaks: number }
  | { readonly kind: 'malformed'; readonly reason: string }
  /** The record may go on in text that has not come yet. */
  | { readonly kind: 'more' }

/**
 * CSV text that arrives in pieces, cut into records as RFC 4180 has it, with what files in the wild add: LF, CR LF or CR ends a record,
 * also mixed; a quote inside an unquoted value is a quote. Nothing is looked at twice, except a record that a piece ends in.
 */
export class CsvText {
  readonly #dialect: Dialect
  readonly #lf = new Finder('\n')
  readonly #cr = new Finder('\r')
  readonly #quote: Finder
  readonly #delimiter: Finder
  #atEnd = false
  text = ''
  /** Whether the text holds undecodable bytes somewhere. */
  dirty = false
  /** Where the next record begins. */
  at = 0

  constructor(dialect: Dialect) {
    this.#dialect = dialect
    this.#quote = new Finder(dialect.quote)
    this.#delimiter = new Finder(dialect.delimiter)
  }

  /** Adds a piece and forgets the text before `at`; undefined says that no more comes. */
  append(piece: string | undefined): void {
    if (piece === undefined) this.#atEnd = true
    this.#set(this.text.slice(this.at) + (piece ?? ''))
  }

  /** The record at `at`. Its end is where to go on, by `skipTo`. */
  step(): CsvStep {
    const end = this.#lineEnd(this.at)
    if (end < 0 && !this.#atEnd) return { kind: 'more' }
    const stop = end < 0 ? this.text.length : end
    if (this.#quote.from(this.at) < stop) return this.#quotedRecord()
    return {
      kind: 'record',
      values: this.text.slice(this.at, stop).split(this.#dialect.delimiter),
      end: stop,
      breaks: 0,
    }
  }

  /** Goes behind the line break at `end`. */
  skipTo(end: number): void {
    this.at = end + (this.text[end] === '\r' && this.text[end + 1] === '\n' ? 2 : 1)
  }

  /** The physical line at `at`, wherever `step` has looked since, and its end; undefined when its end has not come yet. */
  line(): { text: string; end: number } | undefined {
    this.#set(this.text.slice(this.at))
    const end = this.#lineEnd(0)
    if (end < 0 && !this.#atEnd) return undefined
    return end < 0 ? { text: this.text, end: this.text.length } : { text: this.text.slice(0, end), end }
  }

  /** Drops all text, but for a carriage return that may be the first half of a line break. */
  drop(): void {
    this.at = this.text.length - (this.text.endsWith('\r') ? 1 : 0)
  }

  #set(text: string): void {
    this.text = text
    this.at = 0
    this.dirty = text.includes(INVALID)
    for (const finder of [this.#lf, this.#cr, this.#quote, this.#delimiter]) finder.reset(text)
  }

  /** A record with a quote somewhere, value by value. */
  #quotedRecord(): CsvStep {
    const values: string[] = []
    for (let at = this.at; ; at++) {
      const open = this.#skipSpace(at)
      if (this.text[open] === this.#dialect.quote) {
        const value = this.#quotedValue(open + 1)
        if ('kind' in value) return value
        values.push(value.text)
        at = value.end
      } else {
        const end = this.#lineEnd(at)
        if (end < 0 && !this.#atEnd) return { kind: 'more' }
        const stop = Math.min(this.#delimiter.from(at), end < 0 ? this.text.length : end)
        values.push(this.text.slice(at, stop))
        at = stop
      }
      if (this.text[at] === this.#dialect.delimiter) continue
      return { kind: 'record', values, end: at, breaks: breaksBetween(this.text, this.at, at) }
    }
  }

  /** The value after an opening quote and the position of the delimiter or line break behind it. */
  #quotedValue(start: number): { text: string; end: number } | Exclude<CsvStep, { kind: 'record' }> {
    const { quote, delimiter } = this.#dialect
    let text = ''
    for (let at = start; ;) {
      const close = this.#quote.from(at)
      if (close === Infinity && this.#atEnd)
        return { kind: 'malformed', reason: 'a quoted value opens on this line and never closes' }
      if (close === Infinity) return { kind: 'more' }
      text += this.text.slice(at, close)
      if (this.text[close + 1] !== quote) {
        const end = this.#skipSpace(close + 1)
        const next = this.text[end]
        const cut = next === undefined || (next === '\r' && end + 1 === this.text.length)
        if (cut && !this.#atEnd) return { kind: 'more' }
        if (cut || next === '\n' || next === '\r' || next === delimiter) return { text, end }
        return { kind: 'malformed', reason: 'a quoted value goes on after its closing quote' }
      }
      text += quote
      at = close + 2
    }
  }

  /** The position after white space, when values are trimmed; a line break or the delimiter is none. */
  #skipSpace(from: number): number {
    let at = from
    if (this.#dialect.trim) {
      while (at < this.text.length && this.text[at] !== this.#dialect.delimiter && /[^\S\r\n]/u.test(this.text[at]!))
        at++
    }
    return at
  }

  /** Position of the next line break, or -1. What might turn out to be half of CR LF is not there yet. */
  #lineEnd(from: number): number {
    const end = Math.min(this.#lf.from(from), this.#cr.from(from))
    if (end === Infinity || (end === this.text.length - 1 && this.text[end] === '\r' && !this.#atEnd)) return -1
    return end
  }
}

/** Finds a character again and again without looking at any text twice. Infinity stands for "none". */
class Finder {
  readonly #character: string | undefined
  #text = ''
  #next = -1

  constructor(character: string | undefined) {
    this.#character = character
  }

  reset(text: string): void {
    this.#text = text
    this.#next = this.#character === undefined ? Infinity : -1
  }

  /** The first position at or after `at`, which must not go back between resets. */
  from(at: number): number {
    if (this.#next < at) {
      const found = this.#text.indexOf(this.#character!, at)
      this.#next = found < 0 ? Infinity : found
    }
    return this.#next
  }
}

function breaksBetween(text: string, start: number, end: number): number {
  let count = 0
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at)
    if (code === 10 || (code === 13 && text.charCodeAt(at + 1) !== 10)) count++
  }
  return count
}

import { isUtf8 } from 'node:buffer'
import { MillraceError } from '../base/errors.ts'

/** Records as the log takes them: complete lines, each ending in `\n`, none blank; buffers read as if concatenated. */
export interface RecordLines {
  readonly lines: readonly Buffer[]
  readonly records: number
}

export interface LineLimits {
  /** Bytes of one record. */
  readonly recordBytes: number
  /** Arrays and objects within each other; only looked at where records come in a JSON array. */
  readonly depth: number
}

export const defaultLineLimits: LineLimits = { recordBytes: 1024 * 1024, depth: 512 }

const NEWLINE = 10
const RETURN = 13
const SPACE = 32
const END_OF_LINE = Buffer.from('\n')

/**
 * The records of a body of newline-delimited JSON, without parsing them: malformed lines are records too, and go to quarantine
 * later. Accepts CRLF, blank lines, a byte order mark and a missing last newline; a body without those is returned as it is.
 *
 * Errors: `invalid`/`not-utf8`, `invalid`/`record-too-large`, naming the record, counted from 1.
 */
export function ndjsonLines(body: Buffer, limits: LineLimits = defaultLineLimits): RecordLines {
  const text = checkedText(body)
  let isClean = !text.includes(RETURN)
  let records = 0
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf(NEWLINE, at)
    const end = newline === -1 ? text.length : newline
    if (isBlank(text, at, end)) {
      isClean = false
    } else {
      records++
      if (end - at > limits.recordBytes) throw tooLarge(records, end - at, limits)
    }
    at = end + 1
  }
  if (!isClean) return { lines: [cleaned(text)], records }
  return { lines: text.length === 0 || text.at(-1) === NEWLINE ? [text] : [text, END_OF_LINE], records }
}

/** A copy without blank lines and carriage returns at line ends. */
function cleaned(text: Buffer): Buffer {
  const out = Buffer.allocUnsafe(text.length + 1)
  let length = 0
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf(NEWLINE, at)
    const next = newline === -1 ? text.length : newline
    const end = next > at && text[next - 1] === RETURN ? next - 1 : next
    if (!isBlank(text, at, end)) {
      length += text.copy(out, length, at, end)
      out[length++] = NEWLINE
    }
    at = next + 1
  }
  return out.subarray(0, length)
}

/** White space as C's isspace has it, vertical tab and form feed too: DuckDB passes over such a line. */
function isBlank(text: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    const byte = text[at]!
    if (byte !== SPACE && (byte < 9 || byte > RETURN)) return false
  }
  return true
}

/**
 * The records of a body that is a JSON array, or of one that is a single JSON value. Elements are cut out at the level of bytes,
 * so numbers of any length stay as they are; line breaks between their tokens become spaces. What is inside an element is not
 * checked beyond strings and brackets: that is for the gate.
 *
 * Errors: `invalid`/`bad-json` with the position (byte, from 0), `invalid`/`not-utf8`, `invalid`/`record-too-large`.
 */
export function jsonLines(body: Buffer, limits: LineLimits = defaultLineLimits): RecordLines {
  const text = checkedText(body)
  return new JsonSplitter(text, body.length - text.length, limits).split()
}

const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const COMMA = 0x2c
const QUOTE = 0x22
const BACKSLASH = 0x5c

class JsonSplitter {
  readonly #text: Buffer
  /** Bytes before `text` in the body, for positions in messages. */
  readonly #skipped: number
  readonly #limits: LineLimits
  /** Closing brackets awaited. */
  readonly #stack: Uint8Array
  readonly #out: Buffer
  #length = 0
  #records = 0

  constructor(text: Buffer, skipped: number, limits: LineLimits) {
    this.#text = text
    this.#skipped = skipped
    this.#limits = limits
    this.#stack = new Uint8Array(limits.depth)
    this.#out = Buffer.allocUnsafe(text.length + 1)
  }

  split(): RecordLines {
    const first = this.#space(0)
    const end = this.#text[first] === OPEN_ARRAY ? this.#elements(first + 1) : this.#element(first)
    const rest = this.#space(end)
    if (rest < this.#text.length) throw this.#wrong(rest, 'the end of the body')
    return { lines: [this.#out.subarray(0, this.#length)], records: this.#records }
  }

  /** From behind the opening bracket to behind the closing one. */
  #elements(from: number): number {
    let at = this.#space(from)
    if (this.#text[at] === CLOSE_ARRAY) return at + 1
    for (;;) {
      at = this.#space(this.#element(at))
      if (this.#text[at] === CLOSE_ARRAY) return at + 1
      if (this.#text[at] !== COMMA) throw this.#wrong(at, "',' or ']'")
      at = this.#space(at + 1)
    }
  }

  #element(from: number): number {
    const end = this.#value(from)
    this.#records++
    if (end - from > this.#limits.recordBytes) throw tooLarge(this.#records, end - from, this.#limits)
    const start = this.#length
    this.#length += this.#text.copy(this.#out, start, from, end)
    // Strings hold no line breaks (`#string` refuses them), so these are all between tokens.
    for (let at = start; at < this.#length; at++) {
      const byte = this.#out[at]
      if (byte === NEWLINE || byte === RETURN) this.#out[at] = SPACE
    }
    this.#out[this.#length++] = NEWLINE
    return end
  }

  /** The position behind the value that begins at `from`. */
  #value(from: number): number {
    const first = this.#text[from]
    if (first === QUOTE) return this.#string(from)
    if (first === OPEN_ARRAY || first === OPEN_OBJECT) return this.#container(from)
    let at = from
    while (at < this.#text.length && !isDelimiter(this.#text[at]!)) at++
    if (at === from) throw this.#wrong(from, 'a value')
    return at
  }

  #container(from: number): number {
    const text = this.#text
    let depth = 0
    for (let at = from; at < text.length; at++) {
      const byte = text[at]!
      if (byte === QUOTE) {
        at = this.#string(at) - 1
      } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
        if (depth === this.#limits.depth) throw this.#tooDeep(at)
        // ']' and '}' are each two above what they close.
        this.#stack[depth++] = byte + 2
      } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) {
        if (this.#stack[--depth] !== byte) throw this.#wrong(at, `'${String.fromCharCode(this.#stack[depth]!)}'`)
        if (depth === 0) return at + 1
      }
    }
    throw this.#wrong(text.length, `'${String.fromCharCode(this.#stack[depth - 1]!)}'`)
  }

  #string(from: number): number {
    const text = this.#text
    for (let at = from + 1; at < text.length; at++) {
      const byte = text[at]!
      if (byte === QUOTE) return at + 1
      if (byte === BACKSLASH) at++
      else if (byte < SPACE) throw this.#wrong(at, 'no control character within a string')
    }
    throw this.#wrong(text.length, `the end of the string that begins at byte ${from + this.#skipped}`)
  }

  #space(from: number): number {
    let at = from
    while (at < this.#text.length && isSpace(this.#text[at]!)) at++
    return at
  }

  #wrong(at: number, expected: string): MillraceError {
    const byte = this.#text[at]
    const found = byte === undefined ? 'the body ends' : `found ${JSON.stringify(String.fromCharCode(byte))}`
    return this.#badJson(at, `expected ${expected}, ${found}`)
  }

  #tooDeep(at: number): MillraceError {
    return this.#badJson(at, `more than ${this.#limits.depth} arrays and objects within each other`)
  }

  #badJson(at: number, what: string): MillraceError {
    const position = at + this.#skipped
    return new MillraceError('invalid', 'bad-json', `The body is not valid JSON: byte ${position}: ${what}.`, {
      hint: 'Send one JSON array of records, or newline-delimited JSON as application/x-ndjson.',
      context: { position, record: this.#records + 1 },
    })
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === NEWLINE || byte === RETURN || byte === 9
}

function isDelimiter(byte: number): boolean {
  return (
    isSpace(byte) ||
    byte === COMMA ||
    byte === CLOSE_ARRAY ||
    byte === CLOSE_OBJECT ||
    byte === QUOTE ||
    byte === OPEN_ARRAY ||
    byte === OPEN_OBJECT
  )
}

/** The body without a byte order mark, once it is known to be UTF-8. */
function checkedText(body: Buffer): Buffer {
  if (!isUtf8(body)) {
    const position = firstInvalidByte(body)
    throw new MillraceError('invalid', 'not-utf8', `The body is not UTF-8: byte ${position} is wrong.`, {
      hint: 'Encode it as UTF-8.',
      context: { position },
    })
  }
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? body.subarray(3) : body
}

/** Where the first character begins that is not valid: bisection down to a few bytes, then character by character. */
function firstInvalidByte(body: Buffer): number {
  let valid = 0
  let invalid = body.length
  while (invalid - valid > 64) {
    // A character has at most three continuation bytes, so this ends between characters if there are any.
    let end = (valid + invalid) >> 1
    for (let back = 0; back < 3 && (body[end]! & 0xc0) === 0x80; back++) end--
    if (isUtf8(body.subarray(valid, end))) valid = end
    else invalid = end
  }
  for (;;) {
    const length = [1, 2, 3, 4].find((n) => isUtf8(body.subarray(valid, valid + n)))
    if (length === undefined || valid >= body.length) return valid
    valid += length
  }
}

function tooLarge(record: number, bytes: number, limits: LineLimits): MillraceError {
  return new MillraceError(
    'invalid',
    'record-too-large',
    `Record ${record} has ${bytes} bytes; the limit is ${limits.recordBytes}.`,
    {
      hint: 'Split the record, or send large values elsewhere and a reference to them here.',
      context: { record, bytes, limit: limits.recordBytes },
    },
  )
}

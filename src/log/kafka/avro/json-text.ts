import { Unreadable } from './reader.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const SPACE = 0x20
const ZERO = 0x30
/** Control characters as JSON has them. */
const ESCAPES = Array.from({ length: SPACE }, (_, code) => escaped(String.fromCharCode(code)))
const BACKSLASHES = [escaped('"'), escaped('\\')] as const

/** What the text of one value may grow to: a few bytes must not fill the memory. */
const TEXT_BYTES_MAX = 64 * 1024 * 1024
/** Room that is kept from one value to the next. */
const KEPT_BYTES_MAX = 1024 * 1024

/** JSON that is being written, as UTF-8. */
export class JsonText {
  #bytes = Buffer.allocUnsafe(4096)
  #length = 0

  /** Begins anew. */
  reset(): void {
    this.#length = 0
    if (this.#bytes.length > KEPT_BYTES_MAX) this.#bytes = Buffer.allocUnsafe(4096)
  }

  /** What was written, until the next value. */
  get written(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#bytes.length) return
    if (needed > TEXT_BYTES_MAX) throw new Unreadable(`its text has more than ${TEXT_BYTES_MAX} bytes`)
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }

  byte(byte: number): void {
    this.#room(1)
    this.#bytes[this.#length++] = byte
  }

  /** Text as it is, in ASCII. */
  ascii(text: string): void {
    this.#room(text.length)
    for (let i = 0; i < text.length; i++) this.#bytes[this.#length++] = text.charCodeAt(i)
  }

  /** Bytes as they are. */
  raw(source: Uint8Array): void {
    this.#room(source.length)
    for (let i = 0; i < source.length; i++) this.#bytes[this.#length++] = source[i]!
  }

  /** Bytes [from, to) of UTF-8 as a string, with its quotes. */
  string(source: Uint8Array, from: number, to: number): void {
    this.#room(to - from + 2)
    this.#bytes[this.#length++] = QUOTE
    for (let i = from; i < to; i++) {
      const byte = source[i]!
      if (byte >= SPACE && byte !== QUOTE && byte !== BACKSLASH) {
        this.#bytes[this.#length++] = byte
        continue
      }
      const escape = ESCAPES[byte] ?? BACKSLASHES[byte === QUOTE ? 0 : 1]
      this.#room(to - i + escape.length)
      for (let k = 0; k < escape.length; k++) this.#bytes[this.#length++] = escape[k]!
    }
    this.#bytes[this.#length++] = QUOTE
  }

  integer(value: number | bigint): void {
    // Small ones are the most of them.
    if (value >= 0 && value < 10) this.byte(ZERO + Number(value))
    else this.ascii(String(value))
  }

  /** What JSON has no number for is a string, which no column of numbers takes. */
  float(value: number): void {
    if (!Number.isFinite(value)) this.ascii(`"${value}"`)
    else this.ascii(Object.is(value, -0) ? '-0.0' : String(value))
  }

  /** A number of zero or more with at least so many digits. */
  padded(value: number, digits: number): void {
    this.#room(digits)
    for (let i = digits - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 10)) {
      this.#bytes[this.#length + i] = ZERO + (rest % 10)
    }
    this.#length += digits
  }
}

function escaped(character: string): Buffer {
  return Buffer.from(JSON.stringify(character).slice(1, -1))
}

import { TextDecoder } from 'node:util'
import { MillraceError } from '../../base/errors.ts'
import { codePage } from './codepages.ts'

/**
 * Stands for bytes that the encoding cannot decode. No decoder yields two low surrogates in a row, so this is told apart
 * from a U+FFFD that the file really holds: a record that contains it goes to quarantine and no other does.
 */
export const INVALID = '\udfff\udfff'

/** Bytes to wait for a safe place to cut before cutting anywhere. */
const CARRY_LIMIT = 1024 * 1024

const LF = 0x0a

interface Encoding {
  readonly label: string
  /** Throws a TypeError on invalid bytes. */
  decode(bytes: Uint8Array): string
  /** The same with U+FFFD in their place. */
  decodeLoosely(bytes: Uint8Array): string
  /** How many of the bytes form whole characters, counted from the start. */
  wholeLength(bytes: Uint8Array): number
  /** Bytes of a line feed. */
  readonly unit: 1 | 2
}

/**
 * Turns the bytes of a file, in chunks of any size, into text: `push` each chunk, then `end`. A byte-order mark wins over the declared
 * encoding. Throws `invalid`/`bad-encoding-name` on an unknown label.
 */
export class TextReader {
  #encoding: Encoding
  #started = false
  #carry: Uint8Array = new Uint8Array(0)

  constructor(label: string, place: string) {
    this.#encoding = encodingOf(label, place)
  }

  /** The encoding in use: the declared one, or the byte-order mark's once it is seen. */
  get encoding(): string {
    return this.#encoding.label
  }

  push(chunk: Uint8Array): string {
    const bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk])
    if (!this.#started && bytes.length < 3) {
      this.#carry = bytes
      return ''
    }
    return this.#read(bytes, false)
  }

  end(): string {
    return this.#read(this.#carry, true)
  }

  #read(all: Uint8Array, atEnd: boolean): string {
    const bytes = this.#started ? all : this.#skipMark(all)
    this.#started = true
    let whole = atEnd ? bytes.length : this.#encoding.wholeLength(bytes)
    if (whole === 0 && bytes.length > CARRY_LIMIT) whole = bytes.length
    this.#carry = bytes.subarray(whole)
    return decodeOrMark(this.#encoding, bytes.subarray(0, whole))
  }

  #skipMark(bytes: Uint8Array): Uint8Array {
    const marked =
      bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
        ? 'utf-8'
        : bytes[0] === 0xff && bytes[1] === 0xfe
          ? 'utf-16le'
          : bytes[0] === 0xfe && bytes[1] === 0xff
            ? 'utf-16be'
            : undefined
    if (marked === undefined) return bytes
    this.#encoding = encodingOf(marked, '')
    return bytes.subarray(marked === 'utf-8' ? 3 : 2)
  }
}

function decodeOrMark(encoding: Encoding, bytes: Uint8Array): string {
  try {
    return encoding.decode(bytes)
  } catch {
    return lines(bytes, encoding)
      .map((line) => markInvalid(encoding, line))
      .join('')
  }
}

function markInvalid(encoding: Encoding, line: Uint8Array): string {
  try {
    return encoding.decode(line)
  } catch {
    return encoding.decodeLoosely(line).replaceAll('\ufffd', INVALID)
  }
}

/** The bytes cut after each line feed. A line feed's byte is never part of another character in any supported encoding of unit 1. */
function lines(bytes: Uint8Array, { unit, label }: Encoding): Uint8Array[] {
  const found: Uint8Array[] = []
  let start = 0
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    let end = at + 1
    if (unit === 2) {
      const low = label === 'utf-16le' ? at : at - 1
      if (low % 2 !== 0 || bytes[label === 'utf-16le' ? at + 1 : at - 1] !== 0) continue
      end = low + 2
    }
    found.push(bytes.subarray(start, end))
    start = end
  }
  if (start < bytes.length) found.push(bytes.subarray(start))
  return found
}

function encodingOf(label: string, place: string): Encoding {
  const page = codePage(label)
  if (page !== undefined) return singleByte(label, page)
  const strict = decoderOf(label, true, place)
  const loose = decoderOf(label, false, place)
  const name = strict.encoding
  const named = codePage(name)
  if (named !== undefined) return singleByte(name, named)
  return {
    label: name,
    decode: (bytes) => strict.decode(bytes),
    decodeLoosely: (bytes) => loose.decode(bytes),
    wholeLength:
      name === 'utf-8' ? wholeUtf8 : name.startsWith('utf-16') ? wholeUtf16(name === 'utf-16be') : wholeLegacy,
    unit: name.startsWith('utf-16') ? 2 : 1,
  }
}

function singleByte(label: string, decode: (bytes: Uint8Array) => string): Encoding {
  return { label, decode, decodeLoosely: decode, wholeLength: (bytes) => bytes.length, unit: 1 }
}

function decoderOf(label: string, fatal: boolean, place: string): TextDecoder {
  try {
    // ignoreBOM: U+FEFF within a file is content; only the file's own mark is taken off, above.
    return new TextDecoder(label, { fatal, ignoreBOM: true })
  } catch (error) {
    throw new MillraceError('invalid', 'bad-encoding-name', `${place}: encoding '${label}' is not known.`, {
      hint: "Use a label of the WHATWG Encoding Standard, such as 'utf-8', 'windows-1252' or 'utf-16le', or a DOS code page, 'cp437' or 'cp850'.",
      cause: error,
    })
  }
}

function wholeUtf8(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!
    if (byte < 0x80) break
    if (byte < 0xc0) continue
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return needed > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}

function wholeUtf16(bigEndian: boolean) {
  return (bytes: Uint8Array): number => {
    const even = bytes.length - (bytes.length % 2)
    const high = bytes[even - (bigEndian ? 2 : 1)]
    return high !== undefined && high >= 0xd8 && high <= 0xdb ? even - 2 : even
  }
}

/** White space is never part of another character or of a shift sequence in any legacy encoding of the standard. */
function wholeLegacy(bytes: Uint8Array): number {
  return bytes.findLastIndex((byte) => byte === 0x20 || byte === LF || byte === 0x0d || byte === 0x09) + 1
}

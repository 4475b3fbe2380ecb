import { crc32 } from 'node:zlib'
import { MillraceError } from '../../base/errors.ts'

/** What a frame's header says (docs/formats/log.md). */
export interface FrameHeader {
  /** Offset of the first record. */
  readonly offset: number
  readonly records: number
  /** Length of the payload. */
  readonly bytes: number
  /** When it was appended, ms since the epoch. */
  readonly atMs: number
  readonly key: string | undefined
  /** Source mark; undefined for none. */
  readonly mark: unknown
  /** CRC-32 of the payload. */
  readonly crc: number
  /** Offset at which the write began that this frame was part of. */
  readonly write: number
}

const VERSION = 1
/** How every header line begins. */
export const HEADER_START = Buffer.from('{"$millrace":[')
/** `,"crc":"1a2b3c4d"}`, what follows the checked part of a header line. */
const SEAL_LENGTH = 18
const NEWLINE = 10

/** Longest header line: numbers and punctuation, a key and a mark of the lengths given (an escaped key is six times as long). */
export function headerBytesMax(limits: { readonly keyLength: number; readonly markBytes: number }): number {
  return 256 + 6 * limits.keyLength + limits.markBytes
}

/** The header line, newline included. `mark` is JSON text already: it is made once, when its length is checked. */
export function encodeHeader(header: Omit<FrameHeader, 'mark'> & { readonly markJson: string | undefined }): Buffer {
  const { offset, records, bytes, atMs, key, markJson, crc, write } = header
  const keyJson = key === undefined ? 'null' : JSON.stringify(key)
  const text = `{"$millrace":[${VERSION},${offset},${records},${bytes},${atMs},${keyJson},${markJson ?? 'null'},${crc},${write}]`
  return Buffer.from(`${text},"crc":"${hex(crc32(text))}"}\n`)
}

/** Reads a header line (without its newline); undefined when it is not one or its CRC does not match. */
export function decodeHeader(line: Buffer): FrameHeader | undefined {
  const end = line.length - SEAL_LENGTH
  if (end < HEADER_START.length || line.compare(HEADER_START, 0, HEADER_START.length, 0, HEADER_START.length) !== 0)
    return undefined
  const checked = line.subarray(0, end)
  if (line.toString('latin1', end) !== `,"crc":"${hex(crc32(checked))}"}`) return undefined
  const values = headerValues(checked)
  if (values === undefined) return undefined
  if (values[0] !== VERSION) {
    throw new MillraceError(
      'invalid',
      'log-version',
      `The log has format version ${String(values[0])}; this Millrace reads ${VERSION}.`,
      {
        hint: 'Use the newer Millrace that wrote it.',
      },
    )
  }
  const [, offset, records, bytes, atMs, key, mark, crc, write] = values as [
    number,
    number,
    number,
    number,
    number,
    string | null,
    unknown,
    number,
    number,
  ]
  return { offset, records, bytes, atMs, key: key ?? undefined, mark: mark ?? undefined, crc, write }
}

/** A right CRC does not make it ours: a record may look like a header. */
function headerValues(checked: Buffer): unknown[] | undefined {
  try {
    const { $millrace: values } = JSON.parse(`${checked.toString('utf8')}}`) as { $millrace: unknown }
    return Array.isArray(values) ? values : undefined
  } catch {
    return undefined
  }
}

/** CRC-32 over pieces as if concatenated. */
export function crcOf(pieces: readonly Uint8Array[]): number {
  let crc = 0
  for (const piece of pieces) crc = crc32(piece, crc)
  return crc
}

/** Eight hexadecimal digits. */
export function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

/** `corrupt`/`log-corrupt` at a byte of a file. */
export function corruption(path: string, position: number, what: string, cause?: unknown): MillraceError {
  return new MillraceError('corrupt', 'log-corrupt', `${path}: byte ${position}: ${what}.`, {
    hint:
      'The file is not what was written. Restore it from a copy; or, to give up what it holds from there on, ' +
      'keep a copy elsewhere and cut it at this byte.',
    context: { path, position },
    cause,
  })
}

export interface ScanHandlers {
  /** A header was read; `line` is its line number if every frame holds as many lines as it says. */
  header?(header: FrameHeader, position: number, line: number): void
  /** Bytes of the current frame's payload. */
  payload?(piece: Buffer): void
  /** The current frame's payload is complete and its CRC matches. */
  frame?(header: FrameHeader, position: number, line: number): void
}

/**
 * Checks frames in a stream of chunks of any size, in bounded memory: headers, payload CRCs, offsets without gaps. Throws
 * `corrupt`/`log-corrupt`; `position` then is where the first frame begins that is not whole and right.
 */
export class FrameScanner {
  readonly #path: string
  readonly #handlers: ScanHandlers
  readonly #headerMax: number
  #header: FrameHeader | undefined
  #headerPieces: Buffer[] = []
  #headerBytes = 0
  #payloadLeft = 0
  #crc = 0
  #last = NEWLINE
  #seen = 0
  #line = 0
  /** Where the frame begins that is being read. */
  position = 0
  /** Offset the next frame must have. */
  offset: number
  frames = 0

  constructor(path: string, offset: number, headerMax: number, handlers: ScanHandlers = {}) {
    this.#path = path
    this.offset = offset
    this.#headerMax = headerMax
    this.#handlers = handlers
  }

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#header === undefined) {
        const newline = chunk.indexOf(NEWLINE, at)
        const end = newline === -1 ? chunk.length : newline
        this.#headerBytes += end - at
        if (this.#headerBytes > this.#headerMax) throw this.#wrong('no frame header')
        this.#headerPieces.push(chunk.subarray(at, end))
        at = newline === -1 ? chunk.length : newline + 1
        if (newline !== -1) this.#begin()
      } else {
        const piece = chunk.subarray(at, at + this.#payloadLeft)
        this.#crc = crc32(piece, this.#crc)
        this.#last = piece[piece.length - 1]!
        this.#payloadLeft -= piece.length
        at += piece.length
        this.#handlers.payload?.(piece)
        if (this.#payloadLeft === 0) this.#end()
      }
    }
    this.#seen += chunk.length
  }

  /** Call when the chunks have ended. */
  finish(): void {
    if (this.#header !== undefined || this.#headerBytes > 0)
      throw this.#wrong(`the frame is cut off at byte ${this.#seen}`)
  }

  #begin(): void {
    const line = this.#headerPieces.length === 1 ? this.#headerPieces[0]! : Buffer.concat(this.#headerPieces)
    const header = decodeHeader(line)
    if (header === undefined) throw this.#wrong('no frame header, or its CRC does not match')
    if (header.offset !== this.offset) throw this.#wrong(`offset ${header.offset} where ${this.offset} must follow`)
    this.#header = header
    this.#payloadLeft = header.bytes
    this.#crc = 0
    this.#last = NEWLINE
    this.#handlers.header?.(header, this.position, this.#line)
    if (this.#payloadLeft === 0) this.#end()
  }

  #end(): void {
    const header = this.#header!
    if (this.#crc !== header.crc || this.#last !== NEWLINE) throw this.#wrong('the CRC of the records does not match')
    this.#handlers.frame?.(header, this.position, this.#line)
    this.position += this.#headerBytes + 1 + header.bytes
    this.offset += header.records
    this.#line += 1 + header.records
    this.frames++
    this.#header = undefined
    this.#headerPieces = []
    this.#headerBytes = 0
  }

  /** Records of the frame being read; 0 between frames. */
  get records(): number {
    return this.#header?.records ?? 0
  }

  #wrong(what: string): MillraceError {
    return corruption(this.#path, this.position, what)
  }
}

import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { LineRange } from './function-messages.ts'

const LINE_FEED = 10
const READ_BYTES = 256 * 1024
const WRITE_CHARACTERS = 64 * 1024

/** Reads lines one by one, synchronously: for threads of their own. May be read beyond the end of its range. */
export class LineReader {
  readonly #file: number
  readonly #to: number
  #buffer = Buffer.alloc(0)
  #at = 0
  #filePosition: number
  /** Where the next line begins. */
  position: number

  constructor({ path, from, to }: LineRange) {
    this.#file = openSync(path, 'r')
    this.#to = to
    this.#filePosition = this.position = from
  }

  /** Whether the next line begins in the range. */
  get inRange(): boolean {
    return this.position < this.#to
  }

  /** The next line without its end; undefined at the end of the file. */
  next(): string | undefined {
    let end = this.#buffer.indexOf(LINE_FEED, this.#at)
    while (end === -1) {
      const searched = this.#buffer.length - this.#at
      if (!this.#fill()) return undefined
      end = this.#buffer.indexOf(LINE_FEED, this.#at + searched)
    }
    const line = this.#buffer.toString('utf8', this.#at, end)
    this.position += end + 1 - this.#at
    this.#at = end + 1
    return line
  }

  #fill(): boolean {
    const chunk = Buffer.allocUnsafe(READ_BYTES)
    const read = readSync(this.#file, chunk, 0, READ_BYTES, this.#filePosition)
    this.#filePosition += read
    if (read > 0) this.#buffer = Buffer.concat([this.#buffer.subarray(this.#at), chunk.subarray(0, read)])
    if (read > 0) this.#at = 0
    return read > 0
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Writes text to a new file, synchronously; none is made when nothing is written. */
export class LineWriter {
  readonly #path: string
  #file: number | undefined
  #text = ''

  constructor(path: string) {
    this.#path = path
  }

  write(text: string): void {
    this.#text += text
    if (this.#text.length >= WRITE_CHARACTERS) this.#flush()
  }

  #flush(): void {
    if (this.#text === '') return
    this.#file ??= openSync(this.#path, 'w')
    const bytes = Buffer.from(this.#text)
    for (let at = 0; at < bytes.length;) at += writeSync(this.#file, bytes, at)
    this.#text = ''
  }

  close(): void {
    this.#flush()
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}

/** Cuts a file of lines into ranges of about so many bytes each. */
export async function* lineRanges(path: string, bytes: number): AsyncGenerator<LineRange> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    for (let from = 0; from < size;) {
      const to = from + bytes >= size ? size : await nextLine(file, from + bytes - 1, size)
      yield { path, from, to }
      from = to
    }
  } finally {
    await file.close()
  }
}

/** Where the line after the one at a position begins. */
async function nextLine(file: FileHandle, position: number, size: number): Promise<number> {
  const chunk = Buffer.allocUnsafe(READ_BYTES)
  for (let at = position; at < size;) {
    const { bytesRead } = await file.read(chunk, 0, READ_BYTES, at)
    if (bytesRead === 0) return size
    const end = chunk.subarray(0, bytesRead).indexOf(LINE_FEED)
    if (end !== -1) return at + end + 1
    at += bytesRead
  }
  return size
}

import { Readable, pipeline } from 'node:stream'
import { createZstdDecompress } from 'node:zlib'
import { MillraceError } from '../../base/errors.ts'
import type { Disk, DiskFile } from '../../storage/disk.ts'
import { HEADER_START, corruption, decodeHeader } from './frame.ts'
import type { FrameHeader } from './frame.ts'

const CHUNK_BYTES = 256 * 1024
/** What a look at a header reads at first: most headers, and small frames behind them, fit. */
const GLANCE_BYTES = 16 * 1024

export interface DataFile {
  readonly path: string
  readonly compression: 'none' | 'zstd'
}

/** The frames' bytes of a file, decompressed, in chunks. `length` bounds what is read of an uncompressed file. */
export async function* rawChunks(disk: Disk, file: DataFile, length = Infinity): AsyncGenerator<Buffer> {
  if (file.compression === 'none') {
    yield* fileChunks(disk, file.path, length)
    return
  }
  const unzip = createZstdDecompress({ chunkSize: CHUNK_BYTES })
  // pipeline destroys both ends when either fails or the reader stops early, which closes the file.
  pipeline(Readable.from(fileChunks(disk, file.path, Infinity), { objectMode: false }), unzip, () => undefined)
  let done = 0
  try {
    for await (const chunk of unzip as AsyncIterable<Buffer>) {
      yield chunk
      done += chunk.length
    }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw corruption(file.path, done, 'cannot be decompressed from this byte of its content on', error)
  }
}

async function* fileChunks(disk: Disk, path: string, length: number): AsyncGenerator<Buffer> {
  const file = await disk.open(path, 'read')
  try {
    for (let at = 0; at < length;) {
      const chunk = await file.read(at, Math.min(CHUNK_BYTES, length - at))
      if (chunk.length === 0) return
      yield chunk
      at += chunk.length
    }
  } finally {
    await file.close()
  }
}

export interface WalkedFrame {
  readonly header: FrameHeader
  readonly line: number
}

/**
 * The headers of an uncompressed file, payloads skipped unread. Headers carry their own CRC, so this finds gaps and
 * foreign bytes between frames, but not damage within payloads.
 */
export async function* walkHeaders(
  disk: Disk,
  path: string,
  extent: { readonly bytes: number; readonly from: number; readonly to: number },
  headerMax: number,
): AsyncGenerator<WalkedFrame> {
  const file = await disk.open(path, 'read')
  try {
    const window = new Window(file, extent.bytes)
    let at = 0
    let offset = extent.from
    let line = 0
    while (at < extent.bytes) {
      const text = await window.line(at, headerMax)
      const header = text === undefined ? undefined : decodeHeader(text)
      if (header === undefined) throw corruption(path, at, 'no frame header, or its CRC does not match')
      if (header.offset !== offset) throw corruption(path, at, `offset ${header.offset} where ${offset} must follow`)
      const next = at + text!.length + 1 + header.bytes
      if (next > extent.bytes) throw corruption(path, at, `the frame is cut off at byte ${extent.bytes}`)
      yield { header, line }
      at = next
      offset += header.records
      line += 1 + header.records
    }
    if (offset !== extent.to)
      throw corruption(path, at, `the file ends with offset ${offset} where ${extent.to} must follow`)
  } finally {
    await file.close()
  }
}

/** Lines of a file at any position, read through a window that serves several small frames at once. */
class Window {
  readonly #file: DiskFile
  readonly #size: number
  #start = 0
  #bytes: Buffer = Buffer.alloc(0)

  constructor(file: DiskFile, size: number) {
    this.#file = file
    this.#size = size
  }

  /** The line that begins at `at`, without its newline; undefined when it is longer than `most` or not ended. */
  async line(at: number, most: number): Promise<Buffer | undefined> {
    for (const length of [0, GLANCE_BYTES, most + 1]) {
      if (length > 0) {
        this.#start = at
        this.#bytes = await this.#file.read(at, Math.min(length, this.#size - at))
      }
      const begin = at - this.#start
      if (begin < 0 || begin >= this.#bytes.length) continue
      const newline = this.#bytes.indexOf(10, begin)
      if (newline !== -1) return newline - begin > most ? undefined : this.#bytes.subarray(begin, newline)
    }
    return undefined
  }
}

/** Positions in `bytes` at which a frame header may begin. */
export function* headerPositions(bytes: Buffer): Generator<number> {
  for (let at = bytes.indexOf(HEADER_START); at !== -1; at = bytes.indexOf(HEADER_START, at + 1)) yield at
}

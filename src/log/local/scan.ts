import { MillraceError } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import type { StoredFile } from './files.ts'
import { FrameScanner, corruption } from './frame.ts'
import { finishAt } from './merged.ts'
import { rawChunks } from './read.ts'

const NEWLINE = 10

/** The records at `offsets`, in the order asked, without their newlines. Reads the file as a stream, up to the last one needed. */
export async function readRecords(
  disk: Disk,
  file: StoredFile,
  offsets: readonly number[],
  headerMax: number,
): Promise<Buffer[]> {
  const outside = offsets.find((offset) => !(offset >= file.from && offset < file.to && Number.isInteger(offset)))
  if (outside !== undefined) {
    throw new MillraceError(
      'invalid',
      'not-in-segment',
      `${file.path} holds offsets ${file.from} to ${file.to - 1}, not ${outside}.`,
    )
  }
  const found = new Map<number, Buffer>()
  const wanted = [...new Set(offsets)].sort((a, b) => a - b)
  let next = 0
  let pieces: Buffer[] = []
  const scanner = new FrameScanner(file.path, file.from, headerMax, {
    payload: (piece) => {
      if (next < wanted.length && wanted[next]! < scanner.offset + scanner.records) pieces.push(piece)
    },
    frame: ({ offset, records }) => {
      const payload = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
      pieces = []
      for (let at = 0, line = offset; next < wanted.length && wanted[next]! < offset + records; line++) {
        const end = payload.indexOf(NEWLINE, at)
        if (line === wanted[next]) found.set(wanted[next++]!, Buffer.from(payload.subarray(at, end)))
        at = end + 1
      }
    },
  })
  for await (const chunk of rawChunks(disk, file)) {
    scanner.push(chunk)
    if (next === wanted.length) break
  }
  return offsets.map((offset) => found.get(offset)!)
}

/** Reads a file back and checks all of it: CRCs, offsets, number of lines. Throws `corrupt`/`log-corrupt`. */
export async function verifyFile(
  disk: Disk,
  file: StoredFile,
  headerMax: number,
): Promise<{ frames: number; records: number }> {
  let lines = 0
  const scanner = new FrameScanner(file.path, file.from, headerMax, {
    payload: (piece) => (lines += newlines(piece)),
    frame: ({ records }, position) => {
      if (lines !== records) throw corruption(file.path, position, `a frame of ${records} records holds ${lines} lines`)
      lines = 0
    },
  })
  for await (const chunk of rawChunks(disk, file, file.rawBytes)) scanner.push(chunk)
  finishAt(scanner, file)
  return { frames: scanner.frames, records: file.to - file.from }
}

function newlines(bytes: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}

import { pipeline } from 'node:stream/promises'
import { constants, crc32, createZstdCompress } from 'node:zlib'
import { join } from 'node:path'
import type { Disk } from '../../storage/disk.ts'
import { FrameScanner, corruption, hex } from './frame.ts'
import type { FrameHeader } from './frame.ts'
import type { DataFile, WalkedFrame } from './read.ts'
import { rawChunks } from './read.ts'
import { indexName, mergedName } from './names.ts'

/** A file with frames, as the log's list of files knows it. */
export interface MergeSource extends DataFile {
  readonly from: number
  readonly to: number
  readonly rawBytes: number
}

/** Frame headers as a merged file's index keeps them; `write` means nothing once a frame is sealed. */
type IndexEntry = readonly [number, number, number, number, string | null, unknown, number]

/**
 * Writes the frames of neighbouring files into one compressed file, checking them on the way; complete and synced, under
 * its temporary name; renamed to the path returned, it stands for its sources.
 */
export async function writeMerged(
  disk: Disk,
  directory: string,
  sources: readonly MergeSource[],
  options: { readonly level: number; readonly headerMax: number },
): Promise<MergeSource & { readonly bytes: number }> {
  const from = sources[0]!.from
  const to = sources.at(-1)!.to
  const rawBytes = sources.reduce((sum, source) => sum + source.rawBytes, 0)
  const path = join(directory, mergedName(from, to))
  const headers: FrameHeader[] = []
  let bytes: number
  await disk.remove(temporaryPath(path))
  const out = await disk.open(temporaryPath(path), 'create')
  try {
    // The size in the file's header lets a reader see how long the content is, and makes a cut file an error.
    const zip = createZstdCompress({
      params: { [constants.ZSTD_c_compressionLevel]: options.level },
      pledgedSrcSize: rawBytes,
    })
    await pipeline(checkedChunks(disk, sources, options.headerMax, headers), zip, async (compressed) => {
      for await (const chunk of compressed as AsyncIterable<Buffer>) await out.write(chunk)
    })
    await out.dataSync()
    bytes = await out.size()
  } finally {
    await out.close()
  }
  await writeIndex(disk, path, headers)
  return { path, compression: 'zstd', from, to, bytes, rawBytes }
}

/** The name of a merged file that is not complete, or not yet to be counted on. */
export const temporaryPath = (path: string): string => `${path}.tmp`

async function* checkedChunks(
  disk: Disk,
  sources: readonly MergeSource[],
  headerMax: number,
  headers: FrameHeader[],
): AsyncGenerator<Buffer> {
  for (const source of sources) {
    const scanner = new FrameScanner(source.path, source.from, headerMax, { frame: (header) => headers.push(header) })
    for await (const chunk of rawChunks(disk, source)) {
      scanner.push(chunk)
      yield chunk
    }
    finishAt(scanner, source)
  }
}

/** Ends a scan of a sealed file: it must reach exactly the offset at which the next file begins. */
export function finishAt(scanner: FrameScanner, file: { readonly path: string; readonly to: number }): void {
  scanner.finish()
  if (scanner.offset !== file.to) {
    throw corruption(
      file.path,
      scanner.position,
      `the file ends with offset ${scanner.offset} where ${file.to} must follow`,
    )
  }
}

/** The frames of a merged file: from its index, or from itself when that is missing or broken; then the index is written again. */
export async function mergedFrames(disk: Disk, file: MergeSource, headerMax: number): Promise<WalkedFrame[]> {
  const indexed = await readIndex(disk, file.path)
  if (indexed !== undefined) return withLines(indexed)
  const headers: FrameHeader[] = []
  const scanner = new FrameScanner(file.path, file.from, headerMax, { frame: (header) => headers.push(header) })
  for await (const chunk of rawChunks(disk, file)) scanner.push(chunk)
  finishAt(scanner, file)
  // The index only saves time: that it cannot be written is no reason to fail a read.
  await writeIndex(disk, file.path, headers).catch(() => undefined)
  return withLines(headers)
}

function withLines(headers: readonly FrameHeader[]): WalkedFrame[] {
  let line = 0
  return headers.map((header) => {
    const at = line
    line += 1 + header.records
    return { header, line: at }
  })
}

async function writeIndex(disk: Disk, mergedPath: string, headers: readonly FrameHeader[]): Promise<void> {
  const path = indexName(mergedPath)
  const entries = headers.map((h): IndexEntry => [
    h.offset,
    h.records,
    h.bytes,
    h.atMs,
    h.key ?? null,
    h.mark ?? null,
    h.crc,
  ])
  const text = JSON.stringify(entries)
  await disk.remove(path)
  const file = await disk.open(path, 'create')
  try {
    await file.write(Buffer.from(`{"frames":${text},"crc":"${hex(crc32(text))}"}\n`))
  } finally {
    await file.close()
  }
}

async function readIndex(disk: Disk, mergedPath: string): Promise<FrameHeader[] | undefined> {
  const path = indexName(mergedPath)
  if ((await disk.stat(path)) === undefined) return undefined
  const text = (await disk.readFile(path)).toString('utf8')
  const match = /^\{"frames":(.*),"crc":"([0-9a-f]{8})"\}\n$/s.exec(text)
  if (match === null || hex(crc32(match[1]!)) !== match[2]) return undefined
  const entries = JSON.parse(match[1]!) as IndexEntry[]
  return entries.map(([offset, records, bytes, atMs, key, mark, crc]) => ({
    offset,
    records,
    bytes,
    atMs,
    key: key ?? undefined,
    mark: mark ?? undefined,
    crc,
    write: offset,
  }))
}

/**
 * The content size a Zstandard frame's header states (RFC 8878, section 3.1.1.1), as `writeMerged` makes it state.
 */
export async function contentBytes(disk: Disk, path: string): Promise<number> {
  const file = await disk.open(path, 'read')
  try {
    const head = await file.read(0, 18)
    const size = frameContentSize(head)
    if (size === undefined) throw corruption(path, 0, 'no Zstandard frame that states its content size')
    return size
  } finally {
    await file.close()
  }
}

/** What the header of a Zstandard frame says of its content; undefined when it says nothing. */
export function frameContentSize(head: Buffer): number | undefined {
  if (head.length < 6 || head.readUInt32LE(0) !== 0xfd2fb528) return undefined
  const descriptor = head[4]!
  const singleSegment = (descriptor & 0x20) !== 0
  const length = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!
  const at = 5 + (singleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]!
  if (length === 0 || head.length < at + length) return undefined
  if (length === 8) return Number(head.readBigUInt64LE(at))
  return head.readUIntLE(at, length) + (length === 2 ? 256 : 0)
}

/**
 * The next run of neighbouring files to merge, or undefined. `files` are oldest first, all below the checkpoint. A run is
 * complete when it reaches `mergedBytes`; files at the end that do not are merged once there are `mergedFiles` of them, those of
 * similar size first, so that a byte is compressed again a logarithmic number of times (size-tiered compaction, as in Bigtable).
 */
export function planMerge<F extends MergeSource>(
  files: readonly F[],
  limits: { readonly mergedBytes: number; readonly mergedFiles: number },
): F[] | undefined {
  let run: F[] = []
  let size = 0
  for (const file of files) {
    if (file.compression === 'zstd' && file.rawBytes >= limits.mergedBytes / 2) {
      if (run.some(({ compression }) => compression === 'none')) return run
      run = []
      size = 0
      continue
    }
    run.push(file)
    size += file.rawBytes
    if (size >= limits.mergedBytes) return run
  }
  return run.length < Math.max(2, limits.mergedFiles) ? undefined : similarEnd(run)
}

/** The end of a run, as long as it can be without beginning with a file that dwarfs all after it. */
function similarEnd<F extends MergeSource>(run: readonly F[]): F[] {
  let first = 0
  let size = 0
  for (let i = run.length - 1; i >= 0; i--) {
    if (size > 0 && run[i]!.rawBytes <= 4 * size) first = i
    size += run[i]!.rawBytes
  }
  return run.slice(first)
}

import { join } from 'node:path'
import { MillraceError } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import type { Frame } from '../log.ts'
import { contentBytes, mergedFrames } from './merged.ts'
import type { MergeSource } from './merged.ts'
import type { DataName } from './names.ts'
import { indexName, isIndexName, parseDataName } from './names.ts'
import type { WalkedFrame } from './read.ts'
import { walkHeaders } from './read.ts'

/** A sealed file of a partition. */
export interface StoredFile extends MergeSource {
  readonly bytes: number
}

export interface Listing {
  /** Sealed files, oldest first, without gaps. */
  readonly files: readonly StoredFile[]
  /** The segment to go on with. */
  readonly tail: { readonly path: string; readonly from: number } | undefined
}

/**
 * What a partition's directory holds. Removes unfinished files, and files whose offsets a merged file holds as well. Throws
 * `corrupt`/`log-gap` when files are missing in between.
 */
export async function listFiles(disk: Disk, directory: string): Promise<Listing> {
  // Names that an earlier process made and did not live to sync: nothing may be removed on account of one that can vanish.
  await disk.syncDirectory(directory)
  const names = await disk.list(directory)
  for (const name of names) if (name.endsWith('.tmp')) await disk.remove(join(directory, name))
  const parsed = names.map(parseDataName).filter((name) => name !== undefined)
  const { kept, superseded } = resolveOverlaps(directory, parsed)
  for (const { name } of superseded) await disk.remove(join(directory, name))
  const indexes = new Set(kept.filter(({ to }) => to !== undefined).map(({ name }) => indexName(name)))
  for (const name of names) if (isIndexName(name) && !indexes.has(name)) await disk.remove(join(directory, name))

  const last = kept.at(-1)
  const hasTail = last !== undefined && last.to === undefined
  const sealed = hasTail ? kept.slice(0, -1) : kept
  const files: StoredFile[] = []
  for (const [i, data] of sealed.entries())
    files.push(await storedFile(disk, directory, data, data.to ?? kept[i + 1]!.from))
  return { files, tail: hasTail ? { path: join(directory, last.name), from: last.from } : undefined }
}

/** Merged files win over what they were merged from. The rest must follow each other without a gap. */
function resolveOverlaps(directory: string, names: readonly DataName[]): { kept: DataName[]; superseded: DataName[] } {
  const kept: DataName[] = []
  const superseded: DataName[] = []
  let covered = -1
  for (const data of [...names].sort((a, b) => a.from - b.from || (b.to ?? -1) - (a.to ?? -1))) {
    if (data.from < covered && (data.to ?? data.from) <= covered) {
      superseded.push(data)
      continue
    }
    const before = kept.at(-1)
    if (data.from < covered || (before?.to !== undefined && data.from !== before.to))
      throw gap(directory, before!, data)
    kept.push(data)
    covered = data.to ?? covered
  }
  return { kept, superseded }
}

function gap(directory: string, before: DataName, data: DataName): MillraceError {
  return new MillraceError(
    'corrupt',
    'log-gap',
    `${directory}: ${data.name} does not follow ${before.name}, which ends with offset ${before.to}.`,
    {
      hint: 'A file of the log is missing or misplaced. Restore it from a copy.',
      context: { path: join(directory, data.name), expected: before.to, found: data.from },
    },
  )
}

async function storedFile(disk: Disk, directory: string, data: DataName, to: number): Promise<StoredFile> {
  const path = join(directory, data.name)
  const bytes = (await disk.stat(path))?.size ?? 0
  if (data.to === undefined) return { path, compression: 'none', from: data.from, to, bytes, rawBytes: bytes }
  return { path, compression: 'zstd', from: data.from, to, bytes, rawBytes: await contentBytes(disk, path) }
}

/** The headers of a sealed file, in order. */
export async function storedHeaders(disk: Disk, file: StoredFile, headerMax: number): Promise<WalkedFrame[]> {
  if (file.compression === 'zstd') return mergedFrames(disk, file, headerMax)
  const frames: WalkedFrame[] = []
  for await (const frame of walkHeaders(disk, file.path, file, headerMax)) frames.push(frame)
  return frames
}

export function frameOf({ header, line }: WalkedFrame): Frame {
  const { offset, records, atMs, mark } = header
  return { offset, records, line, atMs, ...(mark === undefined ? {} : { mark }) }
}

/** Frames of sealed files in memory, as many as `limit`; the longest unused go first. */
export class FrameCache {
  readonly #limit: number
  readonly #frames = new Map<string, readonly Frame[]>()
  #size = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get(path: string): readonly Frame[] | undefined {
    const frames = this.#frames.get(path)
    if (frames !== undefined) {
      this.#frames.delete(path)
      this.#frames.set(path, frames)
    }
    return frames
  }

  set(path: string, frames: readonly Frame[]): void {
    this.delete(path)
    this.#frames.set(path, frames)
    this.#size += frames.length
    for (const oldest of this.#frames.keys()) {
      if (this.#size <= this.#limit) break
      this.delete(oldest)
    }
  }

  delete(path: string): void {
    this.#size -= this.#frames.get(path)?.length ?? 0
    this.#frames.delete(path)
  }
}

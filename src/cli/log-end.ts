import { join } from 'node:path'
import type { Disk } from '../storage/disk.ts'
import { FrameScanner, headerBytesMax } from '../log/local/frame.ts'
import { defaultLogLimits } from '../log/local/limits.ts'
import { parseDataName } from '../log/local/names.ts'
import { rawChunks } from '../log/local/read.ts'

/** Where a log partition begins and ends. */
export interface Extent {
  readonly from: number
  readonly to: number
}

/** The extents of a stream's log partitions, read without taking the log: nothing on disk is changed. */
export async function logExtents(disk: Disk, directory: string): Promise<Extent[]> {
  const partitions = (await disk.list(directory))
    .filter((name) => /^\d+$/.test(name))
    .sort((a, b) => Number(a) - Number(b))
  return Promise.all(partitions.map((name) => partitionExtent(disk, join(directory, name))))
}

async function partitionExtent(disk: Disk, directory: string): Promise<Extent> {
  const files = (await disk.list(directory)).map(parseDataName).filter((name) => name !== undefined)
  if (files.length === 0) return { from: 0, to: 0 }
  const last = files.reduce((a, b) => (b.from > a.from ? b : a))
  return {
    from: Math.min(...files.map((file) => file.from)),
    to: last.to ?? (await tailEnd(disk, join(directory, last.name), last.from)),
  }
}

/** The offset after the last whole frame. A write under way, or one that was torn, ends the reading. */
async function tailEnd(disk: Disk, path: string, from: number): Promise<number> {
  const scanner = new FrameScanner(path, from, headerBytesMax(defaultLogLimits))
  try {
    for await (const chunk of rawChunks(disk, { path, compression: 'none' })) scanner.push(chunk)
  } catch {
    return scanner.offset
  }
  return scanner.offset
}

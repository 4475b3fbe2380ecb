import { open, readFile } from 'node:fs/promises'
import type { Frame, PartitionLog, Segment } from '../../log/log.ts'
import { storageError } from '../../storage/disk.ts'

/** Segments are joined up to this size; it bounds what is copied at a time, too. */
const JOINED_BYTES_MAX = 16 * 1024 ** 2

/**
 * Neighbouring segments in groups that make one batch each. A log that was left behind has many small ones, and a batch costs some
 * milliseconds whatever it holds.
 */
export function groupsOf(segments: readonly Segment[]): Segment[][] {
  const groups: Segment[][] = []
  let bytes = Infinity
  for (const segment of segments) {
    const size = segment.compression === 'none' ? segment.rawBytes : Infinity
    bytes += size
    if (bytes <= JOINED_BYTES_MAX) groups.at(-1)!.push(segment)
    else {
      groups.push([segment])
      bytes = size
    }
  }
  return groups
}

/** What a group is once `writeJoined` has written it. */
export function joinedSegment(group: readonly Segment[], path: string): Segment {
  const rawBytes = group.reduce((sum, segment) => sum + segment.rawBytes, 0)
  return { ...group[0]!, path, to: group.at(-1)!.to, bytes: rawBytes, rawBytes }
}

/** Writes the segments of a group one after the other into a file, and gives the frames of that. Errors: as `storageError` has them. */
export async function writeJoined(log: PartitionLog, group: readonly Segment[], path: string): Promise<Frame[]> {
  try {
    return await join(log, group, path)
  } catch (error) {
    throw storageError(error, path)
  }
}

async function join(log: PartitionLog, group: readonly Segment[], path: string): Promise<Frame[]> {
  const frames: Frame[] = []
  let lines = 0
  const file = await open(path, 'w')
  try {
    for (const segment of group) {
      const own = await log.frames(segment)
      for (const frame of own) frames.push({ ...frame, line: frame.line + lines })
      lines += own.reduce((sum, frame) => sum + 1 + frame.records, 0)
      await file.writeFile(await readFile(segment.path))
    }
  } finally {
    await file.close()
  }
  return frames
}

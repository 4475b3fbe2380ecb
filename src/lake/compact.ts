import type { DataFile } from './data-file.ts'
import type { PartitionValue } from './transform.ts'

export interface CompactionOptions {
  /** Size to which files are brought together. */
  readonly targetBytes: number
  /** Fewer files than this are not worth a rewrite. */
  readonly minFiles: number
}

/** Files of one partition to be rewritten as one. */
export interface CompactionGroup {
  readonly partition: readonly PartitionValue[]
  readonly files: readonly DataFile[]
  readonly bytes: number
  readonly records: number
}

/** A file this near the target is left alone. */
const FULL_SHARE = 0.75

/**
 * Groups small live files, by partition, for the caller to rewrite and commit as `replace`, adding the new file and
 * removing the group's. A file takes part only if the smaller ones of its group weigh at least as much as it does: its
 * rows are then rewritten some log2(target / first size) times in all, not once for each small file that arrives.
 */
export function planCompaction(
  files: readonly DataFile[],
  { targetBytes, minFiles }: CompactionOptions,
): CompactionGroup[] {
  const partitions = Map.groupBy(
    files.filter((file) => file.bytes < targetBytes * FULL_SHARE),
    (file) =>
      `${file.specId ?? ''}:${JSON.stringify(file.partition.map(String))}:${file.partition.map((value) => typeof value).join()}`,
  )
  return [...partitions.values()].flatMap((members) =>
    groups(worthwhile(members), targetBytes)
      .filter((group) => group.length >= Math.max(2, minFiles))
      .map(describe),
  )
}

/** The smallest files, up to the last that weighs no more than those before it together. */
function worthwhile(files: readonly DataFile[]): DataFile[] {
  const sorted = files.toSorted((a, b) => a.bytes - b.bytes)
  let total = 0
  let end = 0
  for (const [i, file] of sorted.entries()) {
    if (i === 0 || file.bytes <= total) end = i + 1
    total += file.bytes
  }
  return sorted.slice(0, end)
}

/** Runs of files that together just reach the target. */
function groups(files: readonly DataFile[], targetBytes: number): DataFile[][] {
  const result: DataFile[][] = []
  let size = Infinity
  for (const file of files) {
    if (size + file.bytes > targetBytes) {
      result.push([])
      size = 0
    }
    result.at(-1)!.push(file)
    size += file.bytes
  }
  return result
}

function describe(files: readonly DataFile[]): CompactionGroup {
  return {
    partition: files[0]!.partition,
    files,
    bytes: files.reduce((total, file) => total + file.bytes, 0),
    records: files.reduce((total, file) => total + file.records, 0),
  }
}

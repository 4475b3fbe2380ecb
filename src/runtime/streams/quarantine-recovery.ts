import { asMillraceError, assert } from '../../base/errors.ts'
import type { DataFile } from '../../lake/data-file.ts'
import { columnBounds } from '../../lake/filter.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import { type Committed, newestRecord } from './committed.ts'
import { readRecord } from '../record.ts'

export interface Takeover {
  readonly quarantine: LakeTable
  /** Where the stream stands. */
  readonly committed: Committed
  /** Partitions whose records will be gated again from there on. */
  readonly partitions: readonly number[]
  /** A replay that did not come to its end is undone; otherwise what it left stays, for it is done again. */
  readonly undoesReplays: boolean
  /** Whether the newest snapshot of quarantine says already whose the partitions are. */
  isTold(line: readonly Snapshot[]): boolean
  /** Summary of a commit to quarantine that tells it. */
  summary(line: Iterable<Snapshot>): Readonly<Record<string, string>>
}

/**
 * Takes refused records back whose rows never came to be committed. Quarantine is committed before the rows; where a worker
 * died in between, or was fenced, its records will be gated again. What other workers committed stays.
 */
export async function recoverQuarantine(takeover: Takeover): Promise<void> {
  const { quarantine, committed, partitions, summary, isTold, undoesReplays } = takeover
  for (;;) {
    await quarantine.refresh()
    try {
      if (undoesReplays) await undoReplay(quarantine, committed.replays)
      const at = quarantine.snapshot()
      const isReplayed = (newestRecord(quarantine.history().toReversed())?.replays ?? 0) > committed.replays
      const remove = at && !isReplayed ? await filesAhead(quarantine, at, committed.offsets, partitions) : []
      if (remove.length === 0 && isTold(quarantine.history().toReversed())) return
      const operation = remove.length === 0 ? 'append' : 'delete'
      await quarantine.commit({ operation, add: [], remove, summary, parent: at?.id ?? null })
      return
    } catch (error) {
      // Its former owner may have committed in this moment; with the next commit it can no more.
      if (asMillraceError(error).code !== 'moved') throw error
    }
  }
}

/** A replay is alone at work while it lasts, so what it left can be undone as a whole. */
async function undoReplay(quarantine: LakeTable, replays: number): Promise<void> {
  const line = quarantine.history().toReversed()
  const isAhead = (snapshot: Snapshot | undefined) =>
    snapshot !== undefined && (readRecord(snapshot.summary)?.replays ?? 0) > replays
  const [newest] = line
  if (!newest || !isAhead(newest)) return
  const before = line.find((snapshot) => !isAhead(snapshot))
  assert(before ?? line.at(-1)!.parentId === undefined, 'the snapshot before an unfinished replay has not expired')
  await quarantine.setRef('main', before?.id, newest.id)
}

async function filesAhead(
  quarantine: LakeTable,
  at: Snapshot,
  offsets: readonly number[],
  partitions: readonly number[],
): Promise<string[]> {
  const found: string[] = []
  for (const partition of partitions) {
    const files = await quarantine.files(at, [
      { column: '_partition', op: '=', value: partition },
      { column: '_offset', op: '>=', value: offsets[partition]! },
    ])
    for (const file of files) if (isAhead(quarantine, file, offsets, partition)) found.push(file.path)
  }
  return found
}

/**
 * Whether a file of quarantine holds records of a partition at or after its offset. As long as they are not committed they
 * lie in files of their own: each batch writes its own, and compaction leaves them (`settledFiles`).
 */
function isAhead(quarantine: LakeTable, file: DataFile, offsets: readonly number[], partition?: number): boolean {
  const partitions = columnBounds(file, '_partition', quarantine.fields)
  const [lowest] = columnBounds(file, '_offset', quarantine.fields) ?? []
  if (!partitions || lowest === undefined) return false
  const [first, last] = partitions
  return (
    first === last &&
    (partition === undefined || Number(first) === partition) &&
    Number(lowest) >= (offsets[Number(first)] ?? 0)
  )
}

/** Files of quarantine whose rows are committed for good: what compaction may bring together. */
export function settledFiles<T extends DataFile>(
  quarantine: LakeTable,
  files: readonly T[],
  offsets: readonly number[],
): T[] {
  return files.filter((file) => !isAhead(quarantine, file, offsets))
}

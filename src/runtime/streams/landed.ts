import type { WrittenFile } from '../../engine/duckdb/parquet.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { Segment } from '../../log/log.ts'
import type { Advance, Move } from './committed.ts'
import type { BatchResult } from './lane-messages.ts'
import { type Counts, NO_COUNTS, addCounts } from '../record.ts'
import { toDataFiles } from '../warehouse.ts'

/** A gated micro-batch that awaits its commit: part of the hot view. */
export interface LandedBatch {
  readonly partition: number
  readonly from: number
  readonly to: number
  readonly files: readonly DataFile[]
  /** The same, for the commit, once they are durable. */
  readonly rows: Promise<readonly DataFile[]>
  readonly refused: Promise<readonly DataFile[]>
  /** Its refused records are in quarantine already: the commit of its rows failed since. */
  isRefusedIn: boolean
  readonly counts: Counts
  readonly newestMs: number
}

/** A batch as it comes from its lane, and the tables that its files are to be part of. */
export interface Landing {
  readonly segment: Segment
  readonly from: number
  readonly result: BatchResult
  readonly table: LakeTable
  readonly quarantine: LakeTable | undefined
}

/** Micro-batches that have been gated and not been committed, in the order they landed. */
export class Landed {
  #batches: readonly LandedBatch[] = []

  get batches(): readonly LandedBatch[] {
    return this.#batches
  }

  get files(): readonly DataFile[] {
    return this.#batches.flatMap(({ files }) => files)
  }

  get counts(): Counts {
    return countsOf(this.#batches)
  }

  /** Takes up a batch of records [from, to), whose files are made durable from now on. */
  add({ segment, from, result, table, quarantine }: Landing): void {
    const { accepted, duplicates, quarantined, files, quarantineFiles, newestMs } = result
    const batch = {
      partition: segment.partition,
      from,
      to: segment.to,
      files: toDataFiles(table, files),
      rows: syncAhead(table, files),
      refused: quarantineFiles.length === 0 ? Promise.resolve([]) : syncAhead(quarantine!, quarantineFiles),
      isRefusedIn: false,
      counts: { received: accepted + duplicates + quarantined, accepted, duplicates, quarantined },
      newestMs,
    }
    // A list of its own: whoever commits has the one before.
    this.#batches = [...this.#batches, batch]
  }

  /** Lets go of batches that are committed. */
  remove(batches: readonly LandedBatch[]): void {
    this.#batches = this.#batches.filter((batch) => !batches.includes(batch))
  }

  /** Lets go of everything: it will be gated again. */
  clear(): void {
    this.#batches = []
  }

  /** Lets go of what another worker will gate again. */
  drop(partition: number): void {
    this.#batches = this.#batches.filter((batch) => batch.partition !== partition)
  }
}

/** What a commit of batches adds to where the stream stands. */
export function advanceOf(batches: readonly LandedBatch[]): Advance {
  const moves = new Map<number, Move>()
  for (const { partition, from, to, newestMs } of batches) {
    const before = moves.get(partition)
    moves.set(partition, {
      from: before?.from ?? from,
      to,
      newestMs: newestMs > -Infinity ? newestMs : before?.newestMs,
    })
  }
  return { moves, counts: countsOf(batches) }
}

function countsOf(batches: readonly LandedBatch[]): Counts {
  return batches.reduce((sum, { counts }) => addCounts(sum, counts), NO_COUNTS)
}

function syncAhead(table: LakeTable, written: readonly WrittenFile[]): Promise<readonly DataFile[]> {
  const synced = table.syncAhead(toDataFiles(table, written))
  // Told by the commit.
  synced.catch(() => undefined)
  return synced
}

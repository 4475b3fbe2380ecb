import { MillraceError } from '../../base/errors.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import { type Counts, NO_COUNTS, type StepRecord, type Superseded, addCounts, readRecord } from '../record.ts'

/** What the rows of a table of functions are made by, and of. When either is another, all of them are to be made anew. */
export interface Basis {
  readonly code: string
  /** Names the rows of the input: `Reach.source`. */
  readonly source: string
}

/** Where a stream stands in the lake, or a table that functions make of one. */
export interface Committed {
  /** Next offset per partition. */
  readonly offsets: readonly number[]
  readonly counts: Counts
  /** Newest event time accepted per partition, ms; null before the first. Empty without an event time. */
  readonly newest: readonly (number | null)[]
  /** Epoch of the lease under which each partition was last taken; null where it never was. */
  readonly epochs: readonly (number | null)[]
  /** Replays done, of log or quarantine. */
  readonly replays: number
  /** Ranges that hold an older version of a file, and were left out. */
  readonly superseded: readonly Superseded[]
  /** Tables of functions; undefined before the first rows. */
  readonly basis?: Basis | undefined
  /** Tables of functions: the snapshots that the newest rows were made of. */
  readonly inputs?: StepRecord['inputs'] | undefined
}

/** What a commit adds to where a stream stands, whatever others have added meanwhile. */
export interface Advance {
  readonly moves: ReadonlyMap<number, Move>
  readonly counts: Counts
  /** Of tables of functions. */
  readonly made?: { readonly basis: Basis; readonly inputs: StepRecord['inputs'] }
}

/** A partition's records [from, to) are in the commit. */
export interface Move {
  readonly from: number
  readonly to: number
  /** Newest event time accepted up to `to`, ms; undefined where there is none. */
  readonly newestMs: number | undefined
}

/** What is known of a stream's partitions before any commit tells. */
export interface Beginning {
  /** First offset of each partition. */
  readonly starts: readonly number[]
  readonly hasEventTime: boolean
  /** Of a table whose rows were made by steps that recorded no offsets. */
  readonly basis?: Basis
}

export function isSameBasis(a: Basis, b: Basis): boolean {
  return a.code === b.code && a.source === b.source
}

/** Where the newest of some snapshots with a record, newest first, says that the stream stands. */
export function committedIn(line: Iterable<Snapshot>, { starts, hasEventTime, basis }: Beginning): Committed {
  const record = newestRecord(line)
  return {
    basis:
      record?.source !== undefined
        ? { code: record.code, source: record.source }
        : record?.offsets
          ? undefined
          : record && basis,
    inputs: record?.inputs,
    offsets: starts.map((start, i) => record?.offsets?.[i] ?? start),
    counts: record?.counts ?? NO_COUNTS,
    newest: hasEventTime ? starts.map((_, i) => record?.newest?.[i] ?? null) : [],
    epochs: starts.map((_, i) => record?.epochs?.[i] ?? null),
    replays: record?.replays ?? 0,
    superseded: record?.superseded ?? [],
  }
}

/**
 * The newest record: other writers' snapshots have none, and change nothing about where the steps are. Errors: `corrupt` /
 * `record-expired` when there was one and somebody else has expired it; Millrace never does.
 */
export function newestRecord(line: Iterable<Snapshot>): StepRecord | undefined {
  let oldest: Snapshot | undefined
  for (const snapshot of line) {
    const record = readRecord(snapshot.summary)
    if (record) return record
    oldest = snapshot
  }
  if (oldest?.parentId === undefined) return undefined
  throw new MillraceError(
    'corrupt',
    'record-expired',
    `Another engine has expired the snapshots that say how far the stream was read: the oldest left is ${oldest.id}.`,
    {
      hint: "Let none but Millrace expire snapshots of the project's tables. Roll the table back to a copy that has them, or drop it and replay the log.",
      context: { snapshot: String(oldest.id) },
    },
  )
}

/** The snapshots that the next commit to a branch of a table stands on, newest first: `main`'s where there is no such branch. */
export function lineOfRef(table: LakeTable, ref: string): Snapshot[] {
  return table.history(table.snapshot(ref) ? ref : 'main').toReversed()
}

/** Where the stream stands after a commit. The rest is as others left it. */
export function advanced(before: Committed, { moves, counts, made }: Advance): Committed {
  const newest = [...before.newest]
  for (const [partition, { newestMs }] of moves)
    if (newestMs !== undefined && newest.length > 0) newest[partition] = newestMs
  return {
    ...before,
    ...made,
    offsets: before.offsets.map((offset, i) => moves.get(i)?.to ?? offset),
    counts: addCounts(before.counts, counts),
    newest,
  }
}

/** A worker's claim on a partition. */
export interface Claim {
  /** Epoch of its lease; undefined where only one process can be at work. */
  readonly epoch: number | undefined
  /** Offset up to which it believes that the stream is committed; undefined where that says nothing, as in quarantine. */
  readonly offset?: number
}

/**
 * Refuses a worker that another has taken the place of. Errors: `conflict`/`fenced`, whose context says which partition.
 */
export function checkClaims(dataset: Dataset, committed: Committed, claims: ReadonlyMap<number, Claim>): void {
  for (const [partition, { epoch, offset }] of claims) {
    const known = committed.epochs[partition] ?? undefined
    const reached = committed.offsets[partition]!
    if (known === epoch && (offset === undefined || offset === reached)) continue
    throw fenced(
      dataset,
      partition,
      known === epoch
        ? `is committed up to ${reached}, and this process goes on from ${offset}`
        : `was taken with epoch ${known ?? 'none'}, and this process has ${epoch ?? 'none'}`,
    )
  }
}

function fenced({ kind, name }: Dataset, partition: number, what: string): MillraceError {
  return new MillraceError(
    'conflict',
    'fenced',
    `Partition ${partition} of ${kind} '${name}' ${what}: another worker has it, and nothing was committed.`,
    {
      hint: 'Let one process at a time work on a partition; this one may take it again under a new lease.',
      context: { dataset: name, partition },
    },
  )
}

/** Refuses what was made beside rows that are not there any more. Errors: `conflict`/`overtaken`. */
export function overtaken(table: string): MillraceError {
  return new MillraceError(
    'conflict',
    'overtaken',
    `Table '${table}' is being computed anew by another process: nothing was committed.`,
    { hint: 'It is tried again by itself.', context: { dataset: table } },
  )
}

/** Refuses to take partitions that others took later. Errors: `conflict`/`fenced`. */
export function checkEpochs(
  dataset: Dataset,
  committed: Committed,
  partitions: ReadonlyMap<number, number | undefined>,
): void {
  for (const [partition, epoch = Infinity] of partitions) {
    const known = committed.epochs[partition] ?? -Infinity
    if (known > epoch)
      throw fenced(dataset, partition, `was taken with epoch ${known}, and this process asks with ${epoch}`)
  }
}

/** The partition that a refused commit was about; undefined for other errors. */
export function fencedPartition(error: unknown): number | undefined {
  if (!(error instanceof MillraceError) || error.code !== 'fenced') return undefined
  return Number(error.context['partition'])
}

/** The record of a stream that stands so. */
export function recordOf(
  { offsets, counts, newest, epochs, replays, superseded, basis, inputs }: Committed,
  { run, code }: { readonly run: string; readonly code: string },
): StepRecord {
  return {
    run,
    code,
    ...(basis === undefined ? {} : basis),
    ...(basis === undefined || inputs === undefined ? {} : { inputs }),
    offsets,
    counts,
    ...(newest.length === 0 ? {} : { newest }),
    ...epochsAndReplays({ epochs, replays }),
    ...(superseded.length === 0 ? {} : { superseded }),
  }
}

/** The record of quarantine: where each partition was when it last got something, and whose it is. */
export function refusedRecordOf(
  { offsets, epochs, replays }: Committed,
  { run, code }: { readonly run: string; readonly code: string },
): StepRecord {
  return { run, code, offsets, ...epochsAndReplays({ epochs, replays }) }
}

function epochsAndReplays({ epochs, replays }: Pick<Committed, 'epochs' | 'replays'>): Partial<StepRecord> {
  return {
    ...(epochs.every((epoch) => epoch === null) ? {} : { epochs }),
    ...(replays === 0 ? {} : { replays }),
  }
}

import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import { timedStream } from '../../project/event-time.ts'
import type { Stream } from '../../project/stream.ts'
import type { Table } from '../../project/table.ts'
import { hasAudits } from '../audits.ts'
import { type Basis, type Beginning, newestRecord } from '../streams/committed.ts'

/** How far the rows of a stream, or of a table that functions make of one, go in each partition of its log. */
export interface Reach {
  /** Newest event time of the records below the offsets, per partition, ms; undefined where there is no event time. */
  readonly newest: readonly (number | null)[] | undefined
  /** Next offset per partition: rows of all records below, that there are any of, are there. */
  readonly offsets: readonly number[]
  /** Which rows those are: another name once rows below the offsets came or went, or the table is another one. */
  readonly source: string
}

/**
 * The stream by whose partitions the work on a dataset is shared: its own, or that of the records which functions make its rows of.
 * Undefined for a table that needs all partitions at once: one of a query, a mapReduce, and one whose rows are checked as a whole.
 */
export function sharedStream(dataset: Dataset): Stream | undefined {
  if (dataset.kind === 'stream') return dataset
  const { materialization, transform } = dataset
  if (materialization.kind !== 'function' || hasAudits(dataset)) return undefined
  return sharedStream(transform!.input!)
}

/**
 * How far a dataset goes in a snapshot. A step of an older form recorded the snapshot of its input in place of offsets: it goes as
 * far as that. Undefined where that cannot be told any more.
 */
export function reachAt(
  dataset: Dataset,
  snapshotId: string | null | undefined,
  lakeTableOf: (dataset: Dataset) => LakeTable,
): Reach | undefined {
  const table = lakeTableOf(dataset)
  const record = newestRecord(lineFrom(table, snapshotId))
  if (!record) return undefined
  const { offsets, newest, inputs, replays = 0 } = record
  const source = `${table.uuid}/${replays}`
  if (offsets)
    return {
      offsets: Array.from({ length: originOf(dataset).partitions }, (_, i) => offsets[i] ?? 0),
      newest,
      source,
    }
  if (dataset.kind === 'stream') return undefined
  const input = dataset.transform!.input!
  const further = reachAt(input, inputs?.[input.name], lakeTableOf)
  return further && { ...further, newest: newest ?? further.newest, source }
}

/** The stream of the records that the rows of a dataset were made of, one by one. */
function originOf(dataset: Dataset): Stream {
  return dataset.kind === 'stream' ? dataset : originOf(dataset.transform!.input!)
}

/** Of some partitions, those that a snapshot of a dataset has all rows of that its stream has: none where that cannot be told. */
export function takenOf(
  dataset: Dataset,
  snapshot: Snapshot | undefined,
  partitions: ReadonlySet<number>,
  lakeTableOf: (dataset: Dataset) => LakeTable,
): ReadonlySet<number> {
  const stream = timedStream(dataset)!
  if (dataset === stream || partitions.size === 0) return partitions
  const taken = snapshot && reachAt(dataset, String(snapshot.id), lakeTableOf)
  const last = lakeTableOf(stream).snapshot()
  const all = last && reachAt(stream, String(last.id), lakeTableOf)
  return new Set([...partitions].filter((i) => taken && all && taken.offsets[i]! >= all.offsets[i]!))
}

/** A snapshot of what is published and those before it, newest first; empty where it has expired. */
function lineFrom(table: LakeTable, id: string | null | undefined): Snapshot[] {
  const line = table.history().toReversed()
  const at = line.findIndex((snapshot) => String(snapshot.id) === id)
  return at === -1 ? [] : line.slice(at)
}

const NOBODY: Basis = { code: '', source: '' }

/** Where a table stands as long as its steps have recorded no offsets. What cannot be told is to be made anew. */
export function beginningOf(table: Table, lakeTableOf: (dataset: Dataset) => LakeTable): Beginning {
  const input = table.transform!.input!
  const own = newestRecord(lakeTableOf(table).history().toReversed())
  const told = own && reachAt(input, own.inputs?.[input.name], lakeTableOf)
  return {
    hasEventTime: timedStream(table) !== undefined,
    starts: told?.offsets ?? Array.from({ length: sharedStream(table)!.partitions }, () => 0),
    basis: own && told ? { code: own.code, source: told.source } : NOBODY,
  }
}

import type { SerializedError } from '../../base/errors.ts'
import type { WrittenFile } from '../../engine/duckdb/parquet.ts'
import type { PartitionField } from '../../lake/partition.ts'
import type { IdentifiedField } from '../../project/columns.ts'
import type { EventTime } from '../../project/event-time.ts'

/** Settings of a lane worker, given when its thread starts. */
export interface LaneWorkerOptions {
  readonly memory: number
  readonly temporary: string
  /** Bytes of keys a lane may remember. */
  readonly uniqueMemory: number
}

/** A micro-batch for a lane. All SQL is made by the gate; the worker only runs it. */
export interface BatchJob {
  readonly kind: 'batch'
  /** `stream/partition`: owns the keys seen. */
  readonly lane: string
  readonly partition: number
  /** Gives the records in their order, typed, checked and fingerprinted. */
  readonly prepare: string
  /** The columns of accepted rows. */
  readonly accepted: string
  /** Whether the verdict asks for the keys seen. */
  readonly unique: boolean
  /** Whether `prepare` reads every record for itself; otherwise a batch may fail as `unavailable`/`misread`. */
  readonly exact: boolean
  /** Diagnoses the records written to `diagnosePath`. */
  readonly diagnose: string
  readonly diagnosePath: string
  readonly segment: { readonly path: string; readonly compressed: boolean; readonly from: number; readonly to: number }
  /** Lines of the segment that are frame headers. */
  readonly headerLines: readonly number[]
  /** When records arrived: those from `offset` on, ms since the epoch. */
  readonly arrivals: readonly { readonly offset: number; readonly atMs: number }[]
  readonly skip: readonly (readonly [number, number])[]
  /** Offsets of the records, when they do not follow each other. */
  readonly offsets?: readonly number[]
  readonly directory: string
  readonly fields: readonly IdentifiedField[]
  readonly partitionBy: readonly PartitionField[]
  readonly quarantineDirectory: string
  readonly quarantineFields: readonly IdentifiedField[]
  readonly code: string
  /** With `offsets`: the newest event time accepted before each, ms. */
  readonly newestBefore?: readonly number[]
  /** How time moves, when the stream has an event time. */
  readonly eventTime: EventTime | undefined
  /** Whether the lane remembers what came before; it must have been restored then. */
  readonly remembers: boolean
  /** Its work may begin before its turn: a processor is free. */
  readonly ahead?: boolean
}

export interface BatchResult {
  readonly partition: number
  /** Newest event time the lane has accepted, ms since the epoch; -Infinity before the first. */
  readonly newestMs: number
  readonly files: readonly WrittenFile[]
  readonly quarantineFiles: readonly WrittenFile[]
  readonly accepted: number
  readonly duplicates: number
  readonly quarantined: number
  readonly skipped: number
}

/** Rebuilds what a lane remembers from the lake. */
export interface RestoreJob {
  readonly kind: 'restore'
  readonly lane: string
  /** Newest event time accepted, ms since the epoch. */
  readonly newestMs: number
  /** The keys seen, for a stream with a unique key. */
  readonly keys:
    | {
        readonly horizonMs: number | undefined
        /** Gives two 64-bit hashes and the event time in milliseconds, in any order; undefined when nothing is in the lake. */
        readonly sql: string | undefined
      }
    | undefined
}

/** Drops what a lane remembers. */
export interface ForgetJob {
  readonly kind: 'forget'
  readonly lane: string
}

export type LaneJob = BatchJob | RestoreJob | ForgetJob
export type LaneRequest = LaneJob & { readonly id: number }
export type LaneResponse =
  { readonly id: number; readonly result: unknown } | { readonly id: number; readonly error: SerializedError }

import { durationMs } from '../../base/duration.ts'
import type { FileMark } from '../../connectors/files.ts'
import type { Hold } from '../../lake/store.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { Frame, Segment } from '../../log/log.ts'
import type { EventTime } from '../../project/event-time.ts'
import type { Stream } from '../../project/stream.ts'
import { type Gate, fingerprintSql, timeMsSql } from '../../quality/gate.ts'
import type { BatchJob, RestoreJob } from './lane-messages.ts'
import type { Lanes } from './lanes.ts'
import type { FileRef } from '../warehouse.ts'
import { holding, localDataDirectory, relationOf } from '../warehouse.ts'

export interface BatchPlan {
  /** Owner of the keys seen; see `laneName`. */
  readonly lane: string
  /** For the records of `sourcesOf(frames)`. */
  readonly gate: Gate
  readonly segment: Segment
  readonly frames: readonly Frame[]
  /** Offset ranges [from, to) to pass over. */
  readonly skip: readonly (readonly [number, number])[]
  /** Offsets of the records, when they do not follow each other. */
  readonly offsets?: readonly number[]
  /** With `offsets`: the newest event time accepted before each, ms. */
  readonly newestBefore?: readonly number[]
  /** How time moves, when the stream has an event time. */
  readonly eventTime: EventTime | undefined
  /** When they arrived, when the frames do not tell. */
  readonly arrivals?: readonly { readonly offset: number; readonly atMs: number }[]
  readonly table: LakeTable
  readonly quarantine: LakeTable
  readonly code: string
  /** For files that live as long as the batch. */
  readonly temporary: string
  /** Reads the segment exactly: slower, and never `misread`. */
  readonly exact?: boolean
  /** Where accepted rows go, instead of the table's own place. */
  readonly directory?: string
}

/** The lane of a stream's partition. */
export function laneName(stream: Stream, partition: number): string {
  return `${stream.name}/${partition}`
}

/** The job that gates a segment. */
export function batchJob(plan: BatchPlan): BatchJob {
  const { lane, gate, segment, frames, skip, table, quarantine, code } = plan
  const offsets = plan.offsets ?? offsetsAmongGaps(segment, frames)
  const diagnosePath = `${plan.temporary}/${lane.replaceAll(/[^a-z0-9]/g, '-')}-${segment.from}.ndjson`
  return {
    kind: 'batch',
    lane,
    partition: segment.partition,
    prepare: gate.prepare(segment.path, plan.exact ?? false),
    accepted: gate.accepted(segment.partition),
    unique: gate.fingerprint !== undefined,
    exact: plan.exact ?? false,
    diagnose: gate.diagnose(diagnosePath),
    diagnosePath,
    segment: {
      path: segment.path,
      compressed: segment.compression === 'zstd',
      from: segment.from,
      to: offsets === undefined ? segment.to : segment.from + offsets.length,
    },
    headerLines: frames.map((frame) => frame.line),
    arrivals: plan.arrivals ?? frames.map(({ offset, atMs }) => ({ offset, atMs })),
    skip,
    ...(offsets === undefined ? {} : { offsets }),
    directory: plan.directory ?? localDataDirectory(table),
    fields: table.fields,
    partitionBy: table.partition,
    quarantineDirectory: plan.directory ?? localDataDirectory(quarantine),
    quarantineFields: quarantine.fields,
    code,
    ...(plan.newestBefore === undefined ? {} : { newestBefore: plan.newestBefore }),
    eventTime: plan.eventTime,
    remembers: gate.fingerprint !== undefined || plan.eventTime !== undefined,
  }
}

/** Offsets of a segment's records, when they do not follow each other: a topic skips numbers. */
function offsetsAmongGaps(segment: Segment, frames: readonly Frame[]): number[] | undefined {
  const records = frames.reduce((sum, frame) => sum + frame.records, 0)
  if (records === segment.to - segment.from) return undefined
  return frames.flatMap((frame) => Array.from({ length: frame.records }, (_, i) => frame.offset + i))
}

/** Sources of the files that all of these frames came from; undefined when some came otherwise. */
export function sourcesOf(frames: readonly Frame[]): ReadonlySet<string> | undefined {
  const marks = frames.map(({ mark }) => mark as FileMark | undefined)
  return marks.length > 0 && marks.every((mark) => mark?.kind === 'file')
    ? new Set(marks.map((mark) => mark!.source))
    : undefined
}

/** Whether the verdict on a record of a stream rests on what came before it. */
export function remembers(stream: Stream): boolean {
  return stream.unique !== undefined || stream.time !== undefined
}

/** What a lane is to remember: of the rows of a partition that these files hold, below an offset. */
export interface Memory {
  readonly lane: string
  readonly stream: Stream
  readonly partition: number
  /** Newest event time accepted, ms. */
  readonly newestMs: number
  readonly table: LakeTable
  readonly files: readonly FileRef[]
  readonly before?: number
}

/** Rebuilds what a lane remembers: the newest event time, and the keys seen from the files that hold its accepted rows. */
export async function restoreLane(lanes: Pick<Lanes, 'restore'>, memory: Memory): Promise<void> {
  const { stream, partition, table, before = Infinity } = memory
  const files = stream.unique === undefined ? [] : memory.files
  await holding(table, async (hold) => {
    const accepted = files.length === 0 ? undefined : await acceptedBelow(table, files, partition, before, hold)
    await lanes.restore(restoreJob(memory, accepted))
  })
}

function restoreJob({ lane, stream, newestMs }: Memory, accepted: string | undefined): RestoreJob {
  const job = { kind: 'restore', lane, newestMs } as const
  if (stream.unique === undefined) return { ...job, keys: undefined }
  const { horizon } = stream.unique
  const horizonMs = horizon === undefined ? undefined : durationMs(horizon, 'unique.horizon')
  if (accepted === undefined) return { ...job, keys: { horizonMs, sql: undefined } }
  const time = horizonMs === undefined ? '0::DOUBLE' : timeMsSql(stream)
  // A slice more than the horizon: what counts as seen is decided slice by slice.
  const within =
    horizonMs === undefined ? '' : ` WHERE ${time} >= (SELECT max(${time}) FROM ${accepted}) - ${horizonMs * 1.25}`
  const sql = `SELECT ${fingerprintSql(stream.unique.columns).join(', ')}, ${time} FROM ${accepted}${within}`
  return { ...job, keys: { horizonMs, sql } }
}

/** A stream's accepted rows of a partition, those below an offset. */
export async function acceptedBelow(
  table: LakeTable,
  files: readonly FileRef[],
  partition: number,
  before: number,
  hold: Hold,
): Promise<string> {
  const below = Number.isFinite(before) ? ` AND _offset < ${before}` : ''
  return `(SELECT * FROM ${await relationOf(table, files, hold)} WHERE _partition = ${partition}${below})`
}

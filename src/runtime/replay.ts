import { mkdir, writeFile } from 'node:fs/promises'
import { MillraceError, asMillraceError, assert } from '../base/errors.ts'
import type { Database, Row } from '../engine/duckdb/database.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Stream } from '../project/stream.ts'
import { acceptedBelow, batchJob, remembers, restoreLane, sourcesOf } from './streams/lane-job.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { BatchResult } from './streams/lane-messages.ts'
import { rewriteWithout } from './tables/rewrite.ts'
import { type Counts, NO_COUNTS, type Superseded, addCounts } from './record.ts'
import type { StreamRunner } from './streams/stream-runner.ts'
import { timeMsSql } from '../quality/gate.ts'
import { holding, newestStep, relationOf, toDataFiles } from './warehouse.ts'

export interface ReplayOptions {
  readonly database: Database
  /** Per partition, the first offset to gate anew. */
  readonly from: readonly number[]
  readonly superseded: readonly Superseded[]
  onProgress?(done: number, total: number): void
}

export interface ReplayResult {
  readonly counts: Counts
  /** Records gated anew. */
  readonly records: number
}

/**
 * Gates a stream's log again from some offset on, through the present code, and replaces what came of it before as one
 * step. Offsets are the identity of records, so nothing can arrive twice.
 *
 * Errors: `invalid`/`offset-gone` when the log no longer holds the offset.
 */
export async function replayStream(runner: StreamRunner, options: ReplayOptions): Promise<ReplayResult> {
  return runner.exclusively(async () => {
    const { table, database } = { table: runner.table, database: options.database }
    const quarantine = await runner.quarantineTable()
    const offsets = runner.committed.offsets
    const total = offsets.reduce((sum, end, i) => sum + Math.max(0, end - options.from[i]!), 0)
    const kept = await countsBelow(runner, database, options)
    const results = await regate(runner, { ...options, lanePrefix: '' })
    const fresh = results.reduce((sum, r) => addCounts(sum, countsOf(r)), NO_COUNTS)
    const rows = await withoutFrom(table, database, options.from)
    const refused = await withoutFrom(quarantine, database, options.from)
    await runner.replace({
      committed: {
        counts: addCounts(kept, fresh),
        superseded: options.superseded,
        newest: newestAfter(runner, results),
      },
      add: [
        ...rows.add,
        ...toDataFiles(
          table,
          results.flatMap((r) => r.files),
        ),
      ],
      remove: rows.remove,
      quarantineAdd: [
        ...refused.add,
        ...toDataFiles(
          quarantine,
          results.flatMap((r) => r.quarantineFiles),
        ),
      ],
      quarantineRemove: refused.remove,
    })
    return { counts: fresh, records: total }
  })
}

interface RegateOptions extends ReplayOptions {
  readonly lanePrefix: string
  /** Where files go, instead of the tables' own places. */
  readonly directory?: string
  readonly exact?: boolean
}

/** Gates [from, committed) of every partition on a lane of its own; the results are not committed. */
export async function regate(runner: StreamRunner, options: RegateOptions): Promise<BatchResult[]> {
  try {
    return await regateOnce(runner, options)
  } catch (error) {
    if (asMillraceError(error).code !== 'misread') throw error
    return regateOnce(runner, { ...options, exact: true })
  }
}

async function regateOnce(runner: StreamRunner, options: RegateOptions): Promise<BatchResult[]> {
  const { stream, eventTime, lanes, gate, code, temporary } = runner.options
  const newest = newestStep(runner.table)
  const files = newest ? await runner.table.files(newest.snapshot) : []
  const results: BatchResult[] = []
  const total = runner.committed.offsets.reduce((sum, end, i) => sum + Math.max(0, end - options.from[i]!), 0)
  let done = 0
  for (const partition of runner.log.partitions) {
    const from = options.from[partition.partition]!
    const to = runner.committed.offsets[partition.partition]!
    if (from >= to) continue
    if (from < partition.start) throw offsetGone(stream, partition.start, from)
    const lane = `${options.lanePrefix}replay:${stream.name}/${partition.partition}`
    const newestMs = await newestBelow(runner, options.database, files, partition.partition, from)
    if (remembers(stream))
      await restoreLane(lanes, {
        lane,
        stream,
        partition: partition.partition,
        newestMs,
        table: runner.table,
        files,
        before: from,
      })
    const release = partition.hold()
    try {
      let reached = from
      for await (const segment of partition.segments(from, to)) {
        const skip: (readonly [number, number])[] = options.superseded
          .filter((s) => s.partition === partition.partition)
          .map((s) => [s.from, s.to])
        if (segment.from < from) skip.push([segment.from, from])
        if (segment.to > to) skip.push([to, segment.to])
        const frames = await partition.frames(segment)
        const job = batchJob({
          lane,
          gate: await gate(sourcesOf(frames)),
          segment,
          frames,
          skip,
          table: runner.table,
          quarantine: await runner.quarantineTable(),
          code,
          temporary,
          eventTime,
          exact: options.exact ?? false,
          ...(options.directory === undefined ? {} : { directory: options.directory }),
        })
        results.push(await lanes.batch(job))
        assert(segment.from <= reached, 'the segments of a log follow each other')
        reached = segment.to
        done += Math.min(segment.to, to) - Math.max(segment.from, from)
        options.onProgress?.(done, total)
      }
      // What is not read would be replaced by nothing.
      assert(reached >= to, 'a replay reads every record it replaces')
    } finally {
      release()
      await lanes.forget(lane)
    }
  }
  return results
}

function offsetGone({ name }: Stream, start: number, from: number): MillraceError {
  return new MillraceError(
    'invalid',
    'offset-gone',
    `Stream '${name}' can be replayed from offset ${start} on; ${from} is no longer in its log.`,
    {
      hint: `Replay from ${start}, or keep records longer with retention.`,
      context: { dataset: name },
    },
  )
}

/** Newest event time accepted below an offset of a partition, ms; -Infinity for none. */
async function newestBelow(
  { stream, table }: StreamRunner,
  database: Database,
  files: readonly DataFile[],
  partition: number,
  from: number,
): Promise<number> {
  if (stream.time === undefined || from === 0 || files.length === 0) return -Infinity
  const [row] = await holding(table, async (hold) => {
    const below = await acceptedBelow(table, files, partition, from, hold)
    return database.rows(`SELECT max(${timeMsSql(stream)}) AS newest FROM ${below}`)
  })
  return row!.newest === null ? -Infinity : Number(row!.newest)
}

/** Newest event times per partition once these batches, each partition's in order, have passed; `floor` are those they cannot go below. */
function newestAfter(
  runner: StreamRunner,
  results: readonly BatchResult[],
  floor: readonly (number | null)[] = [],
): (number | null)[] {
  const newest = [...runner.committed.newest]
  if (runner.stream.time === undefined) return newest
  for (const { partition, newestMs } of results) {
    const reached = Math.max(newestMs, floor[partition] ?? -Infinity)
    newest[partition] = reached === -Infinity ? null : reached
  }
  return newest
}

/** Newest event time accepted before each of some ascending offsets of a partition, ms; undefined where nobody asks. */
async function newestBeforeEach(
  { stream, table, options }: StreamRunner,
  database: Database,
  files: readonly DataFile[],
  partition: number,
  offsets: readonly number[],
): Promise<number[] | undefined> {
  if (options.eventTime === undefined || options.eventTime.acceptLateMs === Infinity) return undefined
  if (files.length === 0) return offsets.map(() => -Infinity)
  const rows = await holding(table, async (hold) => {
    const accepted = await acceptedBelow(table, files, partition, Infinity, hold)
    return database.rows(
      `SELECT newest FROM (SELECT unnest([${offsets.join(', ')}]) AS asked) ASOF LEFT JOIN ` +
        `(SELECT _offset, max(${timeMsSql(stream)}) OVER (ORDER BY _offset) AS newest FROM ${accepted}) ON asked > _offset ORDER BY asked`,
    )
  })
  return rows.map(({ newest }) => (newest === null ? -Infinity : Number(newest)))
}

function countsOf({ accepted, duplicates, quarantined }: BatchResult): Counts {
  return { received: accepted + duplicates + quarantined, accepted, duplicates, quarantined }
}

/** What came of the records below the replayed ones: rows and quarantine tell, and the rest were duplicates. */
async function countsBelow(
  runner: StreamRunner,
  database: Database,
  { from, superseded }: ReplayOptions,
): Promise<Counts> {
  const accepted = await rowsBelow(runner.table, database, from)
  const quarantined = runner.quarantine ? await rowsBelow(runner.quarantine, database, from) : 0
  const left = superseded.reduce((sum, s) => sum + Math.max(0, Math.min(s.to, from[s.partition] ?? 0) - s.from), 0)
  const received = from.reduce((sum, offset) => sum + offset, 0) - left
  return { received, accepted, quarantined, duplicates: received - accepted - quarantined }
}

async function rowsBelow(table: LakeTable, database: Database, from: readonly number[]): Promise<number> {
  const newest = newestStep(table)
  if (!newest) return 0
  const files = await table.files(newest.snapshot)
  const [row] = await holding(table, async (hold) =>
    database.rows(`SELECT count(*) AS n FROM ${await relationOf(table, files, hold)} WHERE NOT (${replayed(from)})`),
  )
  return Number(row!.n)
}

/** Condition for rows at or after the given offsets. */
function replayed(from: readonly number[]): string {
  return from.map((offset, partition) => `(_partition = ${partition} AND _offset >= ${offset})`).join(' OR ')
}

/** Files without the rows at or after the given offsets: files that hold some go, their other rows are written anew. */
async function withoutFrom(
  table: LakeTable,
  database: Database,
  from: readonly number[],
): Promise<{ add: DataFile[]; remove: string[] }> {
  const newest = newestStep(table)
  if (!newest) return { add: [], remove: [] }
  const files = await table.files(newest.snapshot)
  return duckdbEngine(database).step((step) => rewriteWithout(step, table, files, replayed(from)))
}

/**
 * Gates the records in quarantine again, through the present code. Those that pass join the stream's rows under their
 * own offsets, those that turn out to be duplicates are counted so, the rest stays: one step.
 */
export async function replayQuarantine(
  runner: StreamRunner,
  database: Database,
  where = 'true',
): Promise<Counts & { readonly withheld: number }> {
  return runner.exclusively(async () => {
    const quarantine = await runner.quarantineTable()
    const newest = quarantine.snapshot()
    const files = newest ? await quarantine.files(newest) : []
    if (files.length === 0) return { ...NO_COUNTS, withheld: 0 }
    const { table } = runner.options
    const rows = await holding(quarantine, async (hold) =>
      database.rows(
        `SELECT raw, source, _partition, _offset, epoch_ms(received_at) AS at FROM ${await relationOf(quarantine, files, hold)} WHERE (${where}) ORDER BY _partition, _offset`,
      ),
    )
    const replayable = rows.filter((row) => row.raw !== null)
    const results = await regateRefused(runner, database, quarantine, replayable)
    const fresh = results.reduce((sum, r) => addCounts(sum, countsOf(r)), NO_COUNTS)
    const gone = await duckdbEngine(database).step((step) =>
      rewriteWithout(step, quarantine, files, `(${where}) AND raw IS NOT NULL`),
    )
    const before = runner.committed.counts
    await runner.replace({
      committed: {
        counts: {
          received: before.received,
          accepted: before.accepted + fresh.accepted,
          duplicates: before.duplicates + fresh.duplicates,
          quarantined: before.quarantined - fresh.accepted - fresh.duplicates,
        },
        newest: newestAfter(runner, results, runner.committed.newest),
      },
      add: toDataFiles(
        table,
        results.flatMap((r) => r.files),
      ),
      remove: [],
      quarantineAdd: [
        ...gone.add,
        ...toDataFiles(
          quarantine,
          results.flatMap((r) => r.quarantineFiles),
        ),
      ],
      quarantineRemove: gone.remove,
    })
    return { ...fresh, withheld: rows.length - replayable.length }
  })
}

/** Gates rows of quarantine on lanes of their own; the results are not committed. */
async function regateRefused(
  runner: StreamRunner,
  database: Database,
  quarantine: LakeTable,
  rows: readonly Row[],
): Promise<BatchResult[]> {
  const { lanes, stream, eventTime, table, gate, code, temporary } = runner.options
  const step = newestStep(table)
  const live = step ? await table.files(step.snapshot) : []
  const results: BatchResult[] = []
  await mkdir(temporary, { recursive: true })
  for (const { partition } of runner.log.partitions) {
    const own = rows.filter((row) => row._partition === partition)
    if (own.length === 0) continue
    const path = `${temporary}/quarantine-${stream.name}-${partition}.ndjson`
    await writeFile(
      path,
      own.map((row) => `${String(row.raw)}\n`),
    )
    const lane = `quarantine:${stream.name}/${partition}`
    if (remembers(stream))
      await restoreLane(lanes, { lane, stream, partition, newestMs: -Infinity, table, files: live })
    const offsets = own.map((row) => Number(row._offset))
    const arrivals = own.map((row) => ({ offset: Number(row._offset), atMs: Number(row.at) }))
    const segment = { partition, path, compression: 'none', from: 0, to: own.length, bytes: 0, rawBytes: 0 } as const
    const sources = own.every((row) => row.source !== null) ? new Set(own.map((row) => String(row.source))) : undefined
    const newestBefore = await newestBeforeEach(runner, database, live, partition, offsets)
    const job = batchJob({
      lane,
      gate: await gate(sources),
      segment,
      frames: [],
      exact: true,
      skip: [],
      offsets,
      ...(newestBefore === undefined ? {} : { newestBefore }),
      eventTime,
      arrivals,
      table,
      quarantine,
      code,
      temporary,
    })
    results.push(await lanes.batch(job))
    await lanes.forget(lane)
  }
  return results
}

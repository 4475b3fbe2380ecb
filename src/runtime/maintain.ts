import { durationMs } from '../base/duration.ts'
import { asMillraceError } from '../base/errors.ts'
import { type CompactionGroup, planCompaction } from '../lake/compact.ts'
import { expireSnapshots } from '../lake/expire.ts'
import type { DataFile } from '../lake/data-file.ts'
import { removeOrphans } from '../lake/orphans.ts'
import { writingSince } from '../lake/scratch.ts'
import type { LakeTable, Snapshot } from '../lake/table.ts'
import type { PartitionLog } from '../log/log.ts'
import { checkInputsOf, inputsOf } from '../project/project.ts'
import { settledFiles } from './streams/quarantine-recovery.ts'
import { carriedSummary } from './record.ts'
import { neededBy } from './changes/handlers.ts'
import type { Runtime } from './runtime.ts'
import { CANDIDATE, newestStep } from './warehouse.ts'

export interface MaintainOptions {
  /** Files are brought together only where at least so many are small. */
  readonly minFiles: number
  /** Files no snapshot needs are deleted when older, ms; undefined leaves them. */
  readonly orphanAgeMs?: number
  /** At most so much is rewritten at a time, bytes; the rest waits for the next time. */
  readonly rewriteBytesMax: number
  readonly signal?: AbortSignal
}

export interface MaintainReport {
  readonly table: string
  /** Files rewritten, and those that took their place. */
  readonly compacted: number
  readonly into: number
  readonly expiredSnapshots: number
  readonly deletedFiles: number
  /** Log files merged into compressed ones. */
  readonly mergedSegments: number
}

const DEFAULTS = { snapshotAge: '7 days', targetFileSize: 128 * 1024 ** 2 } as const
/** Snapshots kept at least (a query may read files of the last minute), and at most however young: metadata is read whole. */
const SNAPSHOTS_MIN = 100
const SNAPSHOTS_MAX = 500

/** Compacts small files, expires snapshots, merges and retires log segments. Changes no row. */
export async function maintain(runtime: Runtime, options: MaintainOptions): Promise<MaintainReport[]> {
  const reports: MaintainReport[] = []
  for (const dataset of runtime.project.order) {
    const runner = runtime.streams.get(dataset.name)
    const refreshed = runtime.tables.get(dataset.name)
    const keeper = runner ?? refreshed
    // Of processes that share a stream, one keeps its house.
    if (!keeper || (runner ?? refreshed?.shares)?.owned.includes(0) === false) continue
    const { quarantine } = keeper
    const tables = [runtime.lakeTable(dataset.name), ...(quarantine ? [quarantine] : [])]
    for (const table of tables) {
      if (options.signal?.aborted) return reports
      // Beside a replay or a refresh, each would take away the files the other works on.
      const { files, into } = await keeper.rewriting(() => compact(runtime, table, options))
      const expired = await expireSnapshots(table, retentionOf(runtime, table))
      const orphans = await keeper.rewriting(() => withoutOrphans(runtime, table, options))
      reports.push({
        table: `${table.id.namespace}.${table.id.name}`,
        compacted: files,
        into,
        expiredSnapshots: expired.snapshots,
        deletedFiles: expired.files + orphans,
        mergedSegments: table === runner?.table ? await maintainLog(runner.log.partitions, runner.stream.retention) : 0,
      })
    }
  }
  return reports
}

/**
 * A step may take longer than orphans are spared. Its own process does not come here meanwhile; of one that lost the table to us, or whose engine goes on
 * writing, the scratch tables tell.
 */
async function withoutOrphans(
  { warehouse: { lake } }: Runtime,
  table: LakeTable,
  { orphanAgeMs }: MaintainOptions,
): Promise<number> {
  if (orphanAgeMs === undefined) return 0
  return (await removeOrphans(table, orphanAgeMs, await writingSince(lake, table))).length
}

async function maintainLog(partitions: readonly PartitionLog[], retention: string | undefined): Promise<number> {
  let merged = 0
  for (const partition of partitions) {
    merged += await partition.compact()
    if (retention !== undefined) await partition.retain({ ageMs: durationMs(retention, 'retention') })
  }
  return merged
}

/**
 * What to keep of a table's snapshots: the configured age, but no more than a bound, and always back to the oldest that
 * a reader has computed from, for the difference since then is what it recomputes next.
 */
function retentionOf(runtime: Runtime, table: LakeTable): { keepLast: number; maxAgeMs: number } {
  const history = table.history()
  const readers = [...runtime.tables.values()].filter((reader) =>
    [...inputsOf(reader.table), ...checkInputsOf(reader.table)].some((input) => input.name === table.id.name),
  )
  const consumed = new Set([
    ...readers.map((reader) => newestStep(reader.lakeTable)?.record.inputs?.[table.id.name]),
    ...neededBy(runtime.handlers.of(table.id.name)),
  ])
  const oldest = history.findIndex((snapshot) => consumed.has(String(snapshot.id)))
  const needed = oldest === -1 ? 0 : history.length - oldest
  const age = durationMs(runtime.project.config.lake?.snapshotAge ?? DEFAULTS.snapshotAge, 'lake.snapshotAge')
  return {
    keepLast: Math.min(SNAPSHOTS_MAX, Math.max(SNAPSHOTS_MIN, needed)),
    maxAgeMs: history.length > SNAPSHOTS_MAX ? 0 : age,
  }
}

async function compact(
  runtime: Runtime,
  table: LakeTable,
  options: MaintainOptions,
): Promise<{ files: number; into: number }> {
  const main = compactable(table)
  if (!main) return { files: 0, into: 0 }
  const targetBytes = runtime.project.config.lake?.targetFileSize ?? DEFAULTS.targetFileSize
  const groups = planCompaction(await settled(runtime, table, await table.files(main)), {
    targetBytes,
    minFiles: options.minFiles,
  })
  let [files, into, bytes] = [0, 0, 0]
  for (const group of groups) {
    if (bytes > 0 && bytes + group.bytes > options.rewriteBytesMax) break
    bytes += group.bytes
    into += await rewrite(runtime, table, group)
    files += group.files.length
  }
  return { files, into }
}

/** Files that may be brought together: what was refused of a partition stays by itself until its rows are committed. */
async function settled(runtime: Runtime, table: LakeTable, files: DataFile[]): Promise<DataFile[]> {
  const rows = runtime.lakeTable(table.id.name)
  if (table === rows) return files
  // After the files were listed: what is ahead of this is not among them, or is told.
  await rows.refresh()
  const offsets = newestStep(rows)?.record.offsets
  return offsets ? settledFiles(table, files, offsets) : files
}

/** What is published, unless another snapshot awaits its audit: that one rests on the files that compaction would take away. */
function compactable(table: LakeTable): Snapshot | undefined {
  const main = table.snapshot('main')
  const candidate = table.snapshot(CANDIDATE)
  return candidate && candidate.id !== main?.id ? undefined : main
}

/** Tries to commit between the commits of a busy stream. */
const ATTEMPTS_MAX = 8

async function rewrite(runtime: Runtime, table: LakeTable, group: CompactionGroup): Promise<number> {
  const written = await runtime.engine.step(async (step) =>
    step.write(table, `SELECT * FROM ${await step.relation(table, group.files)}`),
  )
  const add = await table.syncAhead(written)
  const remove = group.files.map((file) => file.path)
  for (let attempt = 1; ; attempt++) {
    const main = compactable(table)
    if (!main) return 0
    try {
      const summary = carriedSummary(main.summary)
      const snapshot = await table.commit({ operation: 'replace', add, remove, summary, parent: main.id })
      if (table.snapshot(CANDIDATE)?.id === main.id) await table.setRef(CANDIDATE, snapshot.id)
      return add.length
    } catch (error) {
      const { kind, code } = asMillraceError(error)
      if (kind !== 'conflict') throw error
      // The summary to carry on is that of whoever committed meanwhile. Files that are gone, or a stream that is always faster: the
      // next time will do.
      if (code !== 'moved' || attempt === ATTEMPTS_MAX) return 0
    }
  }
}

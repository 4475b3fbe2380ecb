import { type Counts, NO_COUNTS } from '../../runtime/record.ts'
import { replayQuarantine, replayStream } from '../../runtime/replay.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import { ofRule } from '../../runtime/functions/transform-runner.ts'
import { newestStep } from '../../runtime/warehouse.ts'
import { type Tell, drain } from './progress.ts'

export interface ReplayInput {
  readonly stream: string
  /** Where to begin: an offset of every partition, the first record acknowledged at or after a time, or the start. */
  readonly fromOffset?: number
  readonly fromMs?: number
}

export interface QuarantineReplayInput {
  readonly stream: string
  /** Only records refused for this rule. */
  readonly rule?: string
}

export interface ReplayReport {
  readonly stream: string
  /** Records processed again, and what became of them. */
  readonly records: number
  readonly result: Counts
  readonly before: Counts
  readonly after: Counts
  /** Records that could not be replayed: their bytes were not kept. */
  readonly withheld: number
}

/** Takes the log of a stream through the present code again. */
export async function replay(
  runtime: Runtime,
  { stream, fromOffset, fromMs }: ReplayInput,
  tell: Tell,
): Promise<ReplayReport> {
  const runner = runtime.stream(stream)
  await drain(runtime, runner, tell)
  const from = await Promise.all(
    runner.log.partitions.map(async (partition, i) => {
      const end = runner.committed.offsets[i]!
      if (fromOffset !== undefined) return Math.min(fromOffset, end)
      return fromMs === undefined ? partition.start : Math.min(await partition.offsetAt(fromMs), end)
    }),
  )
  const before = runner.counts
  const { records, counts } = await replayStream(runner, {
    database: runtime.database,
    from,
    superseded: runner.committed.superseded,
    onProgress: (done, total) => tell({ phase: 'process', stream, done, total }),
  })
  tell({ phase: 'refresh' })
  await runtime.scheduler.settled()
  return { stream, records, result: counts, before, after: runner.counts, withheld: 0 }
}

/** Takes the records in quarantine through the present code again. */
export async function replayRefused(
  runtime: Runtime,
  { stream, rule }: QuarantineReplayInput,
  tell: Tell,
): Promise<ReplayReport> {
  const where = ofRule(rule)
  if (runtime.tables.get(stream)?.table.transform) return replayFunction(runtime, stream, where, tell)
  const runner = runtime.stream(stream)
  await drain(runtime, runner, tell)
  const before = runner.counts
  const { withheld, ...result } = await replayQuarantine(runner, runtime.database, where)
  tell({ phase: 'refresh' })
  await runtime.scheduler.settled()
  return { stream, records: result.received, result, before, after: runner.counts, withheld }
}

/** Calls the function of a table again for the rows it has refused. */
async function replayFunction(runtime: Runtime, name: string, where: string, tell: Tell): Promise<ReplayReport> {
  tell({ phase: 'refresh', dataset: name })
  const counts = () => newestStep(runtime.lakeTable(name))?.record.counts ?? NO_COUNTS
  await runtime.scheduler.settled()
  const before = counts()
  const result = await runtime.replayRefused(name, where)
  return { stream: name, records: result.received, result, before, after: counts(), withheld: 0 }
}

import { MillraceError } from '../base/errors.ts'
import { quoteLiteral } from '../base/identifier.ts'
import { didYouMean } from '../base/suggest.ts'
import type { LoadProgress, LoadReport } from '../runtime/file-loader.ts'
import { type MaintainReport, maintain } from '../runtime/maintain.ts'
import { type AuditResult, type Counts, readRecord } from '../runtime/record.ts'
import { replayQuarantine, replayStream } from '../runtime/replay.ts'
import { type Runtime, isAudited } from '../runtime/runtime.ts'
import { datasetStatuses, observe } from '../runtime/status.ts'
import type { StreamRunner } from '../runtime/stream-runner.ts'
import { type Verification, verify } from '../runtime/verify.ts'
import { newestStep } from '../runtime/warehouse.ts'

/** What the command line asks of a runtime: its own, or that of a server beside it. JSON in, progress, JSON out. */
export interface Verbs {
  run(input: RunInput): RunReport
  replay(input: ReplayInput): ReplayReport
  'quarantine-replay'(input: QuarantineReplayInput): ReplayReport
  verify(input: { readonly datasets: readonly string[] }): readonly Verification[]
  maintain(input: MaintainInput): readonly MaintainReport[]
}

export type Verb = keyof Verbs
export type InputOf<V extends Verb> = Parameters<Verbs[V]>[0]
export type ResultOf<V extends Verb> = ReturnType<Verbs[V]>

export interface RunInput {
  /** Tables to recompute though nothing of them is due; with a range, its intervals only. */
  readonly tables?: readonly string[]
  /** Recompute the intervals that start in [fromMs, toMs). */
  readonly fromMs?: number
  readonly toMs?: number
}

export interface RunReport {
  readonly streams: readonly (Counts & {
    readonly name: string
    readonly total: Counts
    readonly state: string
    readonly reason?: string
    readonly files?: FilesReport
  })[]
  readonly tables: readonly TableReport[]
  readonly ms: number
}

export type FilesReport = Omit<LoadReport, 'stream' | 'failed'> & {
  readonly failed: readonly { readonly file: string; readonly message: string; readonly hint?: string }[]
}

export interface TableReport {
  readonly name: string
  readonly outcome: 'refreshed' | 'unchanged' | 'blocked' | 'failed' | 'held' | 'empty'
  readonly reason?: string
  readonly rows: number
  /** Checks that did not pass. */
  readonly failedChecks: readonly AuditResult[]
}

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

export interface MaintainInput {
  readonly minFiles: number
  readonly orphanAgeMs: number
}

/** What is told while a verb is carried out. */
export type Progress =
  | (LoadProgress & { readonly phase: 'load' })
  | { readonly phase: 'process'; readonly stream: string; readonly done: number; readonly total: number }
  | { readonly phase: 'refresh' | 'verify' | 'maintain'; readonly dataset?: string }

type Tell = (event: Progress) => void

type Handlers = { readonly [V in Verb]: (runtime: Runtime, input: InputOf<V>, tell: Tell) => Promise<ResultOf<V>> }

const HANDLERS: Handlers = { run, replay, 'quarantine-replay': replayRefused, verify: verifyAll, maintain: maintainAll }

/** Carries a verb out. Errors: `invalid`/`unknown-verb`, and those of the verb. */
export async function carryOut(
  runtime: Runtime,
  verb: string,
  input: unknown,
  tell: (event: Record<string, unknown>) => void,
): Promise<unknown> {
  const handler = Object.hasOwn(HANDLERS, verb) ? HANDLERS[verb as Verb] : undefined
  if (handler === undefined)
    throw new MillraceError('invalid', 'unknown-verb', `There is no control request '${verb}'.`, {
      hint: didYouMean(verb, Object.keys(HANDLERS)),
    })
  return (handler as (runtime: Runtime, input: unknown, tell: Tell) => Promise<unknown>)(runtime, input, (event) =>
    tell({ ...event }),
  )
}

async function run(runtime: Runtime, { tables, fromMs, toMs }: RunInput, tell: Tell): Promise<RunReport> {
  const { clock } = runtime.options
  const started = clock.monotonic()
  const ranged = fromMs !== undefined || toMs !== undefined
  const chosen = chosenTables(runtime, tables, ranged)
  const counts = new Map([...runtime.streams].map(([name, runner]) => [name, runner.counts]))
  const published = new Map([...runtime.tables].map(([name, { lakeTable }]) => [name, lakeTable.snapshot('main')?.id]))
  const files = new Map<string, LoadReport>()
  for (const [name, runner] of runtime.streams) {
    if (runner.stream.sources.length > 0)
      files.set(name, await runtime.load(name, (progress) => tell({ phase: 'load', ...progress })))
    await drain(runtime, runner, tell)
  }
  tell({ phase: 'refresh' })
  for (const dataset of runtime.project.order)
    if (dataset.kind === 'table' || isAudited(dataset)) runtime.scheduler.due(dataset)
  await runtime.scheduler.settled()
  for (const name of chosen) {
    tell({ phase: 'refresh', dataset: name })
    const range = { ...(fromMs === undefined ? {} : { fromMs }), ...(toMs === undefined ? {} : { toMs }) }
    const { outcome, reason } = await runtime.refresh(name, ranged ? range : { everything: true })
    if (outcome === 'blocked')
      runtime.scheduler.setState(runtime.tables.get(name)!.table, {
        state: 'blocked',
        reason: reason ?? 'an audit failed',
      })
  }
  const statuses = new Map(
    datasetStatuses(runtime.project.order, observe(runtime)).map((status) => [status.name, status]),
  )
  return {
    streams: [...runtime.streams].map(([name, runner]) => {
      const { state, reason } = statuses.get(name)!
      const report = files.get(name)
      return {
        name,
        ...difference(runner.counts, counts.get(name)!),
        total: runner.counts,
        state,
        ...(reason === undefined ? {} : { reason }),
        ...(report === undefined ? {} : { files: filesReport(report) }),
      }
    }),
    tables: tablesOf(runtime).map(([name, { lakeTable }]): TableReport => {
      const { state, reason, rows } = statuses.get(name)!
      const main = lakeTable.snapshot('main')
      const audits = newestStep(lakeTable)?.record.audits ?? (main && readRecord(main.summary)?.audits) ?? []
      return {
        name,
        outcome: state === 'ok' ? (published.get(name) === main?.id ? 'unchanged' : 'refreshed') : state,
        ...(reason === undefined ? {} : { reason }),
        rows,
        failedChecks: audits.filter(({ passed }) => !passed),
      }
    }),
    ms: Math.round(clock.monotonic() - started),
  }
}

/** Tables, each after what it reads. */
function tablesOf(runtime: Runtime) {
  return runtime.project.order.flatMap(({ name }) => {
    const runner = runtime.tables.get(name)
    return runner === undefined ? [] : [[name, runner] as const]
  })
}

/** Tables to recompute in any case, each after what it reads. Errors: `invalid` / `unknown-dataset`, `not-a-table`, `not-by-interval`. */
function chosenTables(runtime: Runtime, tables: readonly string[] | undefined, ranged: boolean): string[] {
  for (const name of tables ?? []) {
    const dataset = runtime.project.dataset(name)
    if (dataset.kind === 'stream')
      throw new MillraceError('invalid', 'not-a-table', `'${name}' is a stream.`, {
        hint: `Its records are processed again with \`millrace replay ${name}\`.`,
        context: { dataset: name },
      })
    if (ranged && dataset.materialization.kind !== 'interval')
      throw new MillraceError(
        'invalid',
        'not-by-interval',
        `Table '${name}' is not computed by interval, so a part of it cannot be.`,
        { hint: 'Leave out --from and --to: all of it is recomputed.', context: { dataset: name } },
      )
  }
  if (tables === undefined && !ranged) return []
  return runtime.project.order.flatMap((dataset) => {
    if (dataset.kind !== 'table') return []
    return (tables === undefined ? dataset.materialization.kind === 'interval' : tables.includes(dataset.name))
      ? [dataset.name]
      : []
  })
}

const LOOK_MS = 200

/** Gates and commits what a stream has acknowledged, telling how far it is. */
async function drain(runtime: Runtime, runner: StreamRunner, tell: Tell): Promise<void> {
  const total = runner.lag
  if (total === 0) return runner.drain()
  const done = new AbortController()
  const watch = (async () => {
    while (!done.signal.aborted) {
      tell({ phase: 'process', stream: runner.stream.name, done: Math.max(0, total - runner.lag), total })
      await runtime.options.clock.sleep(LOOK_MS, done.signal)
    }
  })()
  try {
    await runner.drain()
  } finally {
    done.abort()
    await watch
  }
}

function filesReport({ loaded, changed, unchanged, removed, unmatched, failed, records }: LoadReport): FilesReport {
  return {
    loaded,
    changed,
    unchanged,
    removed,
    unmatched,
    records,
    failed: failed.map(({ file, error }) => ({
      file,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })),
  }
}

async function replay(
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
      return fromMs === undefined ? partition.start : offsetAt(runner, i, fromMs, end)
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

/** The offset of the first record that arrived at or after a time; `end` when none did. */
async function offsetAt(runner: StreamRunner, index: number, timeMs: number, end: number): Promise<number> {
  const partition = runner.log.partitions[index]!
  const release = partition.hold()
  try {
    for (const segment of partition.segments(partition.start)) {
      const frames = await partition.frames(segment)
      const found = frames.find(({ atMs }) => atMs >= timeMs)
      if (found) return Math.min(found.offset, end)
    }
    return end
  } finally {
    release()
  }
}

async function replayRefused(
  runtime: Runtime,
  { stream, rule }: QuarantineReplayInput,
  tell: Tell,
): Promise<ReplayReport> {
  const runner = runtime.stream(stream)
  await drain(runtime, runner, tell)
  const before = runner.counts
  const { withheld, ...result } = await replayQuarantine(
    runner,
    runtime.database,
    rule === undefined ? 'true' : `rule = ${quoteLiteral(rule)}`,
  )
  tell({ phase: 'refresh' })
  await runtime.scheduler.settled()
  return { stream, records: result.received, result, before, after: runner.counts, withheld }
}

async function verifyAll(runtime: Runtime, { datasets }: InputOf<'verify'>, tell: Tell): Promise<Verification[]> {
  const names = datasets.length === 0 ? runtime.project.order.map(({ name }) => name) : datasets
  for (const name of names) runtime.project.dataset(name)
  const found: Verification[] = []
  for (const name of names) {
    tell({ phase: 'verify', dataset: name })
    found.push(await verify(runtime, name, (done, total) => tell({ phase: 'process', stream: name, done, total })))
  }
  return found
}

async function maintainAll(
  runtime: Runtime,
  { minFiles, orphanAgeMs }: MaintainInput,
  tell: Tell,
): Promise<MaintainReport[]> {
  tell({ phase: 'maintain' })
  return maintain(runtime, { minFiles, orphanAgeMs, rewriteBytesMax: Infinity })
}

function difference(after: Counts, before: Counts): Counts {
  return {
    received: after.received - before.received,
    accepted: after.accepted - before.accepted,
    duplicates: after.duplicates - before.duplicates,
    quarantined: after.quarantined - before.quarantined,
  }
}

import { MillraceError } from '../../base/errors.ts'
import { isAudited } from '../../runtime/audits.ts'
import type { LoadReport } from '../../runtime/streams/file-loader.ts'
import { frameOf } from '../../runtime/tables/frame.ts'
import { type AuditResult, type Counts, readRecord } from '../../runtime/record.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import { datasetStatuses, observe } from '../../runtime/status.ts'
import { newestStep } from '../../runtime/warehouse.ts'
import { type Tell, drain } from './progress.ts'

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
  readonly handlers: readonly HandlerReport[]
  readonly ms: number
}

export type FilesReport = Omit<LoadReport, 'stream' | 'failed'> & {
  readonly failed: readonly { readonly file: string; readonly message: string; readonly hint?: string }[]
}

export interface HandlerReport {
  readonly name: string
  readonly dataset: string
  /** Rows delivered by this run. */
  readonly rows: number
  readonly state: 'ok' | 'failed'
  readonly reason?: string
}

export interface TableReport {
  readonly name: string
  readonly outcome: 'refreshed' | 'unchanged' | 'blocked' | 'failed' | 'held' | 'empty'
  readonly reason?: string
  readonly rows: number
  /** Checks that did not pass. */
  readonly failedChecks: readonly AuditResult[]
}

/** Loads files, processes what is acknowledged, refreshes what is due, and recomputes what is asked for. */
export async function run(runtime: Runtime, { tables, fromMs, toMs }: RunInput, tell: Tell): Promise<RunReport> {
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
  const handlers = await deliver(runtime, tell)
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
    handlers,
    ms: Math.round(clock.monotonic() - started),
  }
}

/** Calls the handlers with what they have not seen. */
async function deliver({ handlers }: Runtime, tell: Tell): Promise<HandlerReport[]> {
  if (handlers.runners.size === 0) return []
  tell({ phase: 'deliver' })
  const before = new Map([...handlers.runners].map(([name, { calls }]) => [name, calls.delivered]))
  await handlers.drain()
  return [...handlers.runners].map(([name, { handler, calls }]) => ({
    name,
    dataset: handler.dataset.name,
    rows: calls.delivered - before.get(name)!,
    state: calls.error === undefined ? 'ok' : 'failed',
    ...(calls.error === undefined ? {} : { reason: calls.error.message }),
  }))
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
    if (ranged && frameOf(dataset) === undefined)
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
    return (tables === undefined ? frameOf(dataset) !== undefined : tables.includes(dataset.name)) ? [dataset.name] : []
  })
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

function difference(after: Counts, before: Counts): Counts {
  return {
    received: after.received - before.received,
    accepted: after.accepted - before.accepted,
    duplicates: after.duplicates - before.duplicates,
    quarantined: after.quarantined - before.quarantined,
  }
}

import { checkName } from '../project/check.ts'
import type { Dataset } from '../project/dataset.ts'
import { timeColumn, timedStream } from '../project/event-time.ts'
import { checkInputsOf, inputsOf, refusesRows } from '../project/project.ts'
import type { DatasetDetail, DatasetStatus, HandlerStatus } from '../project/status.ts'
import type { LakeTable } from '../lake/table.ts'
import { handlerStatus } from './changes/handlers.ts'
import { type AuditResult, NO_COUNTS, type StepRecord, readRecord } from './record.ts'
import { reachAt } from './functions/reach.ts'
import type { Runtime } from './runtime.ts'
import type { StepState } from './scheduler.ts'
import { newestStep, rowsVersion } from './warehouse.ts'
import { streamWatermark } from './tables/watermark.ts'

/** What status needs of a project, running or only looked at. */
export interface Observed {
  readonly nowMs: number
  lakeTable(name: string): LakeTable
  /** Acknowledged records that are not in a committed snapshot. */
  streamLag(name: string): number | undefined
  /** Results of checks newer than those in the snapshots. */
  auditsOf(name: string): readonly AuditResult[]
  stateOf(dataset: Dataset): StepState
  handlersOf(name: string): HandlerStatus[]
  /** Why work on a dataset cannot go on at present, though nothing is wrong with it: something else does not answer. */
  waitsFor?(dataset: Dataset): string | undefined
  heldBy(dataset: Dataset): { dataset: Dataset; state: StepState } | undefined
}

export function observe(runtime: Runtime): Observed {
  return {
    nowMs: runtime.options.clock.now(),
    lakeTable: (name) => runtime.lakeTable(name),
    streamLag: (name) => runtime.lagOf(name),
    auditsOf: (name) => runtime.audits.get(name) ?? [],
    handlersOf: (name) =>
      runtime.handlers
        .of(name)
        .map(({ handler, place, calls }) => handlerStatus(handler, place, runtime.lakeTable(name), calls)),
    stateOf: (dataset) => runtime.scheduler.stateOf(dataset),
    waitsFor: (dataset) => runtime.waitsFor(dataset),
    heldBy: (dataset) => runtime.scheduler.heldBy(dataset),
  }
}

export function datasetStatuses(datasets: Iterable<Dataset>, observed: Observed): DatasetStatus[] {
  return [...datasets].map((dataset) => datasetStatus(dataset, observed))
}

function datasetStatus(dataset: Dataset, observed: Observed): DatasetStatus {
  const table = observed.lakeTable(dataset.name)
  const main = table.snapshot('main')
  const newest = newestStep(table)
  const counts = newest?.record.counts ?? NO_COUNTS
  const rows = Number(main?.summary['total-records'] ?? 0)
  const handlers = observed.handlersOf(dataset.name)
  return {
    name: dataset.name,
    kind: dataset.kind,
    ...stateOf(dataset, table, observed),
    snapshot: newest ? String(newest.snapshot.id) : null,
    published: main ? String(main.id) : null,
    rows,
    // A table of a query receives what it publishes: nothing is refused on the way.
    ...(refusesRows(dataset) ? counts : { received: rows, accepted: rows, duplicates: 0, quarantined: 0 }),
    refuses: refusesRows(dataset),
    lag:
      dataset.kind === 'stream' ? (observed.streamLag(dataset.name) ?? null) : inputsBehind(dataset, table, observed),
    freshness_ms: main ? Math.max(0, observed.nowMs - main.timestampMs) : null,
    ...(handlers.length === 0 ? {} : { handlers }),
    watermark: watermarkText(dataset, newest?.record),
  }
}

function watermarkText(dataset: Dataset, record: StepRecord | undefined): string | null {
  if (timeColumn(dataset) === undefined) return null
  const stream = timedStream(dataset)
  const ms = stream ? streamWatermark(stream, record?.newest ?? [], new Set()) : record?.watermark
  return ms === undefined ? null : new Date(ms).toISOString()
}

function stateOf(dataset: Dataset, table: LakeTable, observed: Observed): Pick<DatasetStatus, 'state' | 'reason'> {
  const step = observed.stateOf(dataset)
  if (step.state !== 'ok') return { state: step.state, reason: step.reason }
  const waitsFor = observed.waitsFor?.(dataset)
  if (waitsFor !== undefined) return { state: 'held', reason: waitsFor }
  const newest = newestStep(table)
  const blocking =
    newest && !newest.published
      ? newest.record.audits?.find((audit) => !audit.passed && audit.severity === 'block')
      : undefined
  if (blocking) return { state: 'blocked', reason: `${blocking.check}: ${blocking.message}` }
  const held = observed.heldBy(dataset)
  if (held)
    return {
      state: 'held',
      reason: `'${held.dataset.name}' is ${held.state.state}: ${'reason' in held.state ? held.state.reason : ''}`,
    }
  return table.snapshot('main') ? { state: 'ok' } : { state: 'empty' }
}

/** Inputs published since the table was computed. */
function inputsBehind(dataset: Dataset, table: LakeTable, observed: Observed): number {
  const { inputs: consumed, offsets, source } = newestStep(table)?.record ?? {}
  return inputsOf(dataset).filter((input) => {
    const read = observed.lakeTable(input.name)
    if (offsets) {
      const main = read.snapshot('main')
      const reach = main && reachAt(input, String(main.id), ({ name }) => observed.lakeTable(name))
      return reach && (reach.source !== source || reach.offsets.some((to, i) => to > (offsets[i] ?? 0)))
    }
    return rowsVersion(read, read.snapshot('main')) !== (consumed?.[input.name] ?? null)
  }).length
}

export async function datasetDetail(
  dataset: Dataset,
  readers: readonly Dataset[],
  observed: Observed,
): Promise<DatasetDetail> {
  const table = observed.lakeTable(dataset.name)
  const main = table.snapshot('main')
  const files = main ? await table.files(main) : []
  const newest = newestStep(table)
  const recorded = newest?.record.audits ?? (main && readRecord(main.summary)?.audits) ?? []
  const audits = new Map([...recorded, ...observed.auditsOf(dataset.name)].map((audit) => [audit.check, audit]))
  return {
    ...datasetStatus(dataset, observed),
    ...(dataset.doc === undefined ? {} : { doc: dataset.doc }),
    fields: table.fields,
    inputs: [...new Set([...inputsOf(dataset), ...checkInputsOf(dataset)])].map((input) => input.name),
    outputs: readers.map((reader) => reader.name),
    checks: dataset.checks.map((check) => {
      if (check.on === 'row') return { name: checkName(check), severity: 'quarantine', state: 'unknown' }
      const audit = audits.get(checkName(check))
      return {
        name: checkName(check),
        severity: check.severity,
        state: audit === undefined ? 'unknown' : audit.passed ? 'passed' : 'failed',
        ...(audit ? { message: audit.message } : {}),
      }
    }),
    files: files.length,
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    ...(dataset.kind === 'table' ? { sql: dataset.sql.toString() } : {}),
  }
}

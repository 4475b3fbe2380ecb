import { DAY_MS, sqlDate, sqlTimestamp } from '../../base/interval.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import { timeColumn } from '../../project/event-time.ts'
import type { EngineStep } from '../engine.ts'
import type { StepRecord } from '../record.ts'
import { rowsVersion } from '../warehouse.ts'

/** A dataset at the snapshot a step reads. */
export interface Pin {
  readonly dataset: Dataset
  readonly table: LakeTable
  readonly snapshot: Snapshot | undefined
}

/** What a step reads, by name, fixed for the whole step. */
export type Pins = ReadonlyMap<string, Pin>

/** What became of an input's files since a step. */
export interface InputChange {
  readonly added: readonly DataFile[]
  readonly removed: readonly DataFile[]
}

export type InputChanges = ReadonlyMap<string, InputChange>

export function isChanged(change: InputChange | undefined): boolean {
  return change === undefined || change.added.length > 0 || change.removed.length > 0
}

/** Some datasets as a step read them; undefined when that cannot be had any more. */
export function pinsOf(
  datasets: readonly Dataset[],
  record: StepRecord,
  lakeTableOf: (dataset: Dataset) => LakeTable,
): Pins | undefined {
  const pins = new Map<string, Pin>()
  for (const dataset of datasets) {
    const table = lakeTableOf(dataset)
    const id = record.inputs?.[dataset.name]
    if (id === undefined) return undefined
    const snapshot = id === null ? undefined : table.snapshot(BigInt(id))
    if (id !== null && !snapshot) return undefined
    pins.set(dataset.name, { dataset, table, snapshot })
  }
  return pins
}

/** File changes of each input since a step; undefined when some cannot be told, and all is to be recomputed. */
export async function changesSince(pins: Pins, record: StepRecord): Promise<InputChanges | undefined> {
  const all = new Map<string, InputChange>()
  for (const [name, pin] of pins) {
    const before = record.inputs?.[name]
    if (before === undefined) return undefined
    if (before === rowsVersion(pin.table, pin.snapshot)) {
      all.set(name, { added: [], removed: [] })
      continue
    }
    if (!pin.snapshot) return undefined
    const from = before === null ? undefined : pin.table.snapshot(BigInt(before))
    if (before !== null && !from) return undefined
    const changes = await pin.table.changes(from, pin.snapshot)
    if (!changes) return undefined
    all.set(name, changes)
  }
  return all
}

/** The rows of an input, as a table expression. */
export async function wholeRelation(engine: EngineStep, pin: Pin): Promise<string> {
  return engine.relation(pin.table, pin.snapshot ? await pin.table.files(pin.snapshot) : [])
}

/** The rows of an input whose time lies in [fromMs, toMs), as a table expression over the files that may hold some. */
export async function rangeRelation(engine: EngineStep, pin: Pin, fromMs: number, toMs: number): Promise<string> {
  const bounds = boundsOf(pin, fromMs, toMs)
  const relation = await engine.relation(pin.table, await rangeFiles(pin, fromMs, toMs))
  if (bounds.length === 0) return relation
  const { identifier, timestamp } = engine.dialect
  const literal = (ms: number) => (isDated(pin) ? `DATE '${firstDate(ms)}'` : timestamp(ms))
  const conditions = bounds.map(({ column, op, ms }) => `${identifier(column)} ${op} ${literal(ms)}`)
  return `(SELECT * FROM ${relation} WHERE ${conditions.join(' AND ')})`
}

/** The files of an input that may hold rows whose time lies in [fromMs, toMs); all of one without a time. */
export async function rangeFiles(pin: Pin, fromMs: number, toMs: number): Promise<DataFile[]> {
  if (!pin.snapshot) return []
  const filter = boundsOf(pin, fromMs, toMs).map(({ column, op, ms }) => {
    return { column, op, value: isDated(pin) ? firstDate(ms) : sqlTimestamp(ms) }
  })
  return pin.table.files(pin.snapshot, filter)
}

function boundsOf({ dataset }: Pin, fromMs: number, toMs: number) {
  const column = timeColumn(dataset)
  if (column === undefined) return []
  return [
    ...(fromMs === -Infinity ? [] : [{ column, op: '>=', ms: fromMs } as const]),
    ...(toMs === Infinity ? [] : [{ column, op: '<', ms: toMs } as const]),
  ]
}

function isDated({ dataset, table }: Pin): boolean {
  return table.fields.find(({ name }) => name === timeColumn(dataset))!.type.kind === 'date'
}

/** The first date whose midnight is not before a moment. A date lies in the interval of its midnight, an hour's too. */
function firstDate(ms: number): string {
  return sqlDate(Math.ceil(ms / DAY_MS) * DAY_MS)
}

import { asMillraceError } from '../../base/errors.ts'
import { asTimestamp } from '../../engine/dialect.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { FileFilter } from '../../lake/filter.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import { timeColumn } from '../../project/event-time.ts'
import type { Emit, Reach } from '../../project/window.ts'
import { type Table, queryFor } from '../../project/table.ts'
import type { EngineStep } from '../engine.ts'
import type { Frame } from './frame.ts'
import {
  type InputChanges,
  type Pin,
  type Pins,
  isChanged,
  rangeFiles,
  rangeRelation,
  wholeRelation,
} from './inputs.ts'
import { reachMs } from './watermark.ts'

export interface WindowedStep {
  readonly table: Table
  readonly frame: Frame
  readonly emit: Emit
  readonly engine: EngineStep
  readonly lakeTable: LakeTable
  /** What the query reads. */
  readonly pins: Pins
  /** Since the last step; undefined to compute all. */
  readonly changes: InputChanges | undefined
  /** Up to where the last step took all events to have come, ms; -Infinity before. */
  readonly fromMs: number
  /** The same for this step; undefined while nobody can tell. */
  readonly watermarkMs: number | undefined
  /** Only windows that end after `from` and start before `to`, whether due or not. */
  readonly only: { readonly fromMs: number; readonly toMs: number } | undefined
  /** Files of the published rows. */
  live(filter?: FileFilter): Promise<DataFile[]>
  /** Writes the rows of a relation, brought to the table's columns. */
  write(relations: readonly string[]): Promise<DataFile[]>
  /** Writes rows of the table itself. */
  rewrite(sql: string): Promise<DataFile[]>
}

/** Files that a step adds and removes, and the number of windows it computed. */
export interface WindowedChange {
  readonly add: readonly DataFile[]
  readonly remove: readonly DataFile[]
  readonly intervals: number
}

/**
 * Computes the windows that are due, each from all its rows, and replaces what is published of them; one that no row is left of
 * goes. A window is due when rows of it came or went and, where closed windows are published, when the watermark has passed its end. So late rows and
 * replays correct what is published by the same way by which it came to be.
 */
export async function computeWindows(step: WindowedStep): Promise<WindowedChange> {
  const { engine, frame, only, changes, lakeTable } = step
  const { fromMs, toMs } = only ?? { fromMs: -Infinity, toMs: Infinity }
  const { replaced, filled } = await dueWindows(step)
  const inOrder = (starts: ReadonlySet<number>) =>
    [...starts].filter((start) => frame.endOf(start) > fromMs && start < toMs).sort((a, b) => a - b)
  const due = inOrder(filled)
  const kept =
    changes === undefined && only === undefined
      ? { add: [], remove: await step.live() }
      : await keepOthers(step, inOrder(replaced))
  const add: DataFile[] = [...kept.add]
  if (due.length > SINGLE_MAX && (await isSmall(step, due)) && (await isLateral(step))) {
    for (let i = 0; i < due.length; i += LATERAL_MAX)
      add.push(...(await step.write([await renderTogether(step, due.slice(i, i + LATERAL_MAX))])))
  } else {
    for (let i = 0; i < due.length; i += SINGLE_MAX) {
      const parts = due.slice(i, i + SINGLE_MAX).map((start) => renderOne(step, start))
      add.push(...(await step.write(await Promise.all(parts))))
    }
  }
  return { add, remove: kept.remove, intervals: due.length }

  /** Live files that hold due windows go; their rows of other windows are written anew. */
  async function keepOthers({ live, rewrite }: WindowedStep, starts: readonly number[]) {
    if (starts.length === 0) return { add: [], remove: [] }
    const remove = await live([{ column: frame.column, op: 'in', values: starts.map((start) => frame.text(start)) }])
    if (remove.length === 0) return { add: [], remove: [] }
    const literals = starts.map((start) => frame.literal(engine.dialect, start))
    const isDue = `${engine.dialect.identifier(frame.column)} IN (${literals.join(', ')})`
    return {
      add: await rewrite(`SELECT * FROM ${await engine.relation(lakeTable, remove)} WHERE NOT (${isDue})`),
      remove,
    }
  }
}

/** Windows computed by subqueries of their own, put together: enough to spread the fixed cost, few enough to keep the text small. */
const SINGLE_MAX = 32
/** Windows computed by one statement over the rows of all. */
const LATERAL_MAX = 4_096

/** Starts of windows. */
interface Due {
  /** Those of which nothing stays that is published. */
  readonly replaced: ReadonlySet<number>
  /** Of these, those that have rows to be computed from: a query that aggregates would give a row for none. */
  readonly filled: ReadonlySet<number>
}

async function dueWindows(step: WindowedStep): Promise<Due> {
  const { frame, emit, pins, changes, only, fromMs, watermarkMs } = step
  const isClosed = (start: number) => watermarkMs !== undefined && frame.endOf(start) <= watermarkMs
  const isWanted = emit === 'closed' ? isClosed : () => true
  const everything =
    changes === undefined ||
    only !== undefined ||
    [...pins].some(([name, { dataset }]) => timeColumn(dataset) === undefined && isChanged(changes.get(name)))
  const due = new Set<number>()
  const plain = plainInputs(step)
  if (everything) {
    for (const pin of plain) for (const start of await startsIn(step, pin, -Infinity, Infinity)) due.add(start)
    const filled = new Set([...due].filter(isWanted))
    return { replaced: new Set([...filled, ...(await publishedStarts(step)).filter(isWanted)]), filled }
  }
  let mayBeEmpty = false
  for (const pin of plain) {
    const { added, removed } = changes.get(pin.dataset.name)!
    mayBeEmpty ||= removed.length > 0
    for (const start of await starts(step, pin, await step.engine.relation(pin.table, [...added, ...removed])))
      due.add(start)
  }
  for (const [lowMs, highMs] of await reached(step, changes))
    for (const pin of plain) for (const start of await startsIn(step, pin, lowMs, highMs)) due.add(start)
  // Windows that the watermark has passed since: published now, or no longer open.
  const passes = emit === 'closed' || frame.marksOpen
  if (passes && watermarkMs !== undefined && watermarkMs > fromMs) {
    const low = fromMs === -Infinity ? -Infinity : frame.firstOf(fromMs)
    for (const pin of plain)
      for (const start of await startsIn(step, pin, low, watermarkMs))
        if (frame.endOf(start) > fromMs && isClosed(start)) due.add(start)
  }
  const replaced = new Set([...due].filter(isWanted))
  if (!mayBeEmpty || replaced.size === 0) return { replaced, filled: replaced }
  const [first, last] = [Math.min(...replaced), Math.max(...replaced)]
  const filled = new Set<number>()
  for (const pin of plain)
    for (const start of await startsIn(step, pin, first, frame.endOf(last))) if (replaced.has(start)) filled.add(start)
  return { replaced, filled }
}

/** The inputs whose rows make windows: those with a time that the query reads for the window alone. */
function plainInputs({ table, pins }: WindowedStep): Pin[] {
  const plain = new Set(table.sql.references.filter(({ reach }) => reach === undefined).map(({ dataset }) => dataset))
  return [...pins.values()].filter(({ dataset }) => plain.has(dataset) && timeColumn(dataset) !== undefined)
}

/** Ranges of time, ms, in which rows lie whose windows read a changed row of a `within`. */
async function reached(step: WindowedStep, changes: InputChanges): Promise<[number, number][]> {
  const ranges: [number, number][] = []
  for (const { dataset, reach } of step.table.sql.withins) {
    const { added, removed } = changes.get(dataset.name)!
    if (added.length + removed.length === 0) continue
    const pin = step.pins.get(dataset.name)!
    const { dialect } = step.engine
    const time = dialect.epochMs(asTimestamp(dialect, dialect.identifier(timeColumn(dataset)!)))
    const relation = await step.engine.relation(pin.table, [...added, ...removed])
    const [row] = await step.engine.rows(`SELECT min(${time}) AS low, max(${time}) AS high FROM ${relation}`)
    if (row!.low === null) continue
    const { beforeMs, afterMs } = reachMs(reach)
    // A window that begins or ends near the edge reaches further by its own length.
    ranges.push([step.frame.firstOf(Number(row!.low) - afterMs), step.frame.endOf(Number(row!.high)) + beforeMs])
  }
  return ranges
}

/** Starts of the windows that an input's rows of [fromMs, toMs) lie in. */
async function startsIn(step: WindowedStep, pin: Pin, fromMs: number, toMs: number): Promise<number[]> {
  return starts(step, pin, await rangeRelation(step.engine, pin, fromMs, toMs))
}

async function starts({ frame, engine }: WindowedStep, pin: Pin, relation: string): Promise<number[]> {
  const { dialect } = engine
  const slot = frame.slotSql(dialect, dialect.identifier(timeColumn(pin.dataset)!))
  const rows = await engine.rows(
    `SELECT DISTINCT ${dialect.epochMs('slot')} AS slot FROM (SELECT ${slot} AS slot FROM ${relation})`,
  )
  return rows.flatMap((row) => frame.startsOf(Number(row.slot)))
}

async function publishedStarts({ frame, engine, lakeTable, live }: WindowedStep): Promise<number[]> {
  const files = await live()
  if (files.length === 0) return []
  const { dialect } = engine
  const column = dialect.epochMs(asTimestamp(dialect, dialect.identifier(frame.column)))
  const rows = await engine.rows(`SELECT DISTINCT ${column} AS start FROM ${await engine.relation(lakeTable, files)}`)
  return rows.map((row) => Number(row.start))
}

/** The rows of one window. */
async function renderOne(step: WindowedStep, startMs: number): Promise<string> {
  const { engine, frame, watermarkMs } = step
  const query = await render(step, async (pin, reach) => {
    const { beforeMs, afterMs } = reach ? reachMs(reach) : { beforeMs: 0, afterMs: 0 }
    return rangeRelation(engine, pin, startMs - beforeMs, frame.endOf(startMs) + afterMs)
  })
  const start = frame.literal(engine.dialect, startMs)
  return `(SELECT ${frame.columnsSql(engine.dialect, start, watermarkMs)}, * FROM (${query}))`
}

/**
 * The rows of many windows by one statement: the query as a lateral join, which the engine turns into the same query
 * grouped by window.
 */
async function renderTogether(step: WindowedStep, due: readonly number[]): Promise<string> {
  const { engine, frame, watermarkMs } = step
  const [first, last] = [due[0]!, due.at(-1)!]
  return lateral(
    step,
    due.map((start) => frame.literal(engine.dialect, start)),
    watermarkMs,
    (pin) => rangeRelation(engine, pin, first, frame.endOf(last)),
  )
}

async function lateral(
  step: WindowedStep,
  due: readonly string[],
  watermarkMs: number | undefined,
  relation: (pin: Pin) => Promise<string>,
): Promise<string> {
  const { frame, engine } = step
  const { dialect } = engine
  const quote = dialect.identifier
  const [window, windows, rows, result] = [quote('$window'), quote('$windows'), quote('$rows'), quote('$result')]
  const start = `${windows}.${quote('$start')}`
  const query = await render(step, async (pin) => {
    const starts = frame.startsSql(dialect, quote(timeColumn(pin.dataset)!))
    const all = `SELECT *, ${starts} AS ${window} FROM ${await relation(pin)}`
    return `(SELECT ${dialect.allBut('$window')} FROM (${all}) AS ${rows} WHERE ${rows}.${window} = ${start})`
  })
  const moments = dialect.valuesRelation(
    due.map((literal) => asTimestamp(dialect, literal)),
    '$start',
  )
  return `(SELECT ${frame.columnsSql(dialect, start, watermarkMs)}, ${result}.* FROM ${moments} AS ${windows}, LATERAL (${query}) AS ${result})`
}

/**
 * Whether the windows have so few rows that a subquery for each would cost more than spreading rows over windows. Files tell
 * about how many there are.
 */
async function isSmall({ engine, frame, pins }: WindowedStep, due: readonly number[]): Promise<boolean> {
  let rows = 0
  for (const pin of pins.values()) {
    const files = await rangeFiles(pin, due[0]!, frame.endOf(due.at(-1)!))
    rows += files.reduce((sum, { records }) => sum + records, 0)
  }
  return (rows * frame.overlap) / due.length < engine.subqueryRows
}

/** Whether the engine can compute windows together. What is read beyond the windows would be there once for each. */
async function isLateral(step: WindowedStep): Promise<boolean> {
  if (step.table.sql.withins.length > 0) return false
  try {
    const { engine, frame } = step
    const none = (pin: Pin) => engine.relation(pin.table, [])
    await engine.describe(`SELECT * FROM ${await lateral(step, [frame.literal(engine.dialect, 0)], 0, none)}`)
    return true
  } catch (error) {
    if (asMillraceError(error).kind === 'invalid') return false
    throw error
  }
}

/** The table's query with its inputs written by the caller; those without a time are read whole. */
async function render(
  { table, pins, engine }: WindowedStep,
  timed: (pin: Pin, reach: Reach | undefined) => Promise<string>,
): Promise<string> {
  const key = (dataset: Dataset, reach: Reach | undefined) => JSON.stringify([dataset.name, reach])
  const relations = new Map<string, string>()
  const sql = queryFor(table, engine.dialect.name)
  for (const { dataset, reach } of sql.references) {
    const pin = pins.get(dataset.name)!
    if (relations.has(key(dataset, reach))) continue
    relations.set(
      key(dataset, reach),
      await (timeColumn(dataset) === undefined ? wholeRelation(engine, pin) : timed(pin, reach)),
    )
  }
  return sql.render({
    dataset: (dataset, reach) => relations.get(key(dataset, reach))!,
    parameter: (name) => `$${name}`,
  })
}

import { durationMs } from '../../base/duration.ts'
import { type Dialect, asTimestamp } from '../../engine/dialect.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable } from '../../lake/table.ts'
import { WINDOW_END, WINDOW_OPEN, WINDOW_START, timeColumn } from '../../project/event-time.ts'
import type { Dataset } from '../../project/dataset.ts'
import { type Materialization, type Table, queryFor } from '../../project/table.ts'
import type { EngineStep } from '../engine.ts'
import { type InputChanges, type Pin, type Pins, isChanged, rangeRelation, wholeRelation } from './inputs.ts'
import { rewriteWithout } from './rewrite.ts'
import { type SessionShape, lateSql, numberedSql, sameKey, sessionsSql } from './session-sql.ts'
import type { TableChange } from './table-runner.ts'

export interface SessionStep {
  readonly table: Table
  readonly sessions: Extract<Materialization, { kind: 'session' }>
  readonly engine: EngineStep
  readonly lakeTable: LakeTable
  readonly pins: Pins
  /** Names, in lower case, that the query has for columns; undefined where it may read any. */
  readonly named: ReadonlySet<string> | undefined
  /** Since the last step; undefined to compute all. */
  readonly changes: InputChanges | undefined
  /** Up to where the last step took all events to have come, ms, and the start of the earliest session it left open. */
  readonly fromMs: number | undefined
  readonly frontierMs: number | undefined
  /** Up to where all events have come now, ms; undefined while nobody can tell. */
  readonly watermarkMs: number | undefined
  live(): Promise<DataFile[]>
  /** Writes the rows of a relation, brought to the table's columns. */
  write(relation: string): Promise<DataFile[]>
}

/**
 * Computes the sessions that the watermark has passed since the last step, from the events since the earliest session that
 * was open then: the lake is the only state. The sessions of a key of which events came late, or are gone, are computed
 * again from the one these belong to.
 */
export async function computeSessions(step: SessionStep): Promise<TableChange> {
  const { pins, changes, fromMs, frontierMs } = step
  const driver = driverOf(step.table, pins)
  const others = [...pins.values()].filter((pin) => pin !== driver)
  const scratch = new Scratch(step, driver)
  if (
    !changes ||
    fromMs === undefined ||
    frontierMs === undefined ||
    others.some(({ dataset }) => isChanged(changes.get(dataset.name)))
  )
    return computeAll(step, scratch, driver)
  return computeSince(step, scratch, driver, changes.get(driver.dataset.name)!, fromMs, frontierMs)
}

async function computeAll(step: SessionStep, scratch: Scratch, driver: Pin): Promise<TableChange> {
  await scratch.number(await rangeRelation(step.engine, driver, -Infinity, Infinity))
  const wanted = step.sessions.emit === 'continuous' ? 'true' : isClosed(step)
  return { add: await emit(step, scratch, wanted), remove: await step.live(), ...(await frontierOf(step, scratch)) }
}

async function computeSince(
  step: SessionStep,
  scratch: Scratch,
  driver: Pin,
  changed: { readonly added: readonly DataFile[]; readonly removed: readonly DataFile[] },
  fromMs: number,
  frontierMs: number,
): Promise<TableChange> {
  const { sessions, watermarkMs, lakeTable, engine } = step
  const isMarked = sessions.emit === 'continuous'
  const live = await step.live()
  const lateFromMs = await scratch.findLate(driver, [...changed.added, ...changed.removed], live, fromMs, frontierMs)
  const isPassed = watermarkMs !== undefined && watermarkMs > fromMs
  if (!isPassed && lateFromMs === undefined && !(isMarked && isChanged(changed)))
    return { add: [], remove: [], frontierMs }
  const events = await rangeRelation(step.engine, driver, Math.min(frontierMs, lateFromMs ?? Infinity), Infinity)
  await scratch.number(lateFromMs === undefined ? events : scratch.sinceLate(events, frontierMs))
  // Published before, if at all, as open: others among those found are the ends of closed ones.
  const wasOpen = `${WINDOW_END} > ${engine.dialect.timestamp(fromMs)}`
  const due = lateFromMs === undefined ? wasOpen : `(${wasOpen} OR ${scratch.isLate})`
  const add = await emit(step, scratch, isMarked ? due : `${due} AND ${isClosed(step)}`)
  const replaced = [...(lateFromMs === undefined ? [] : [scratch.isLateFrom]), ...(isMarked ? [wasOpen] : [])]
  const rest =
    replaced.length === 0
      ? { add: [], remove: [] }
      : await rewriteWithout(engine, lakeTable, live, replaced.join(' OR '))
  return {
    add: [...add, ...rest.add],
    remove: live.filter((file) => rest.remove.includes(file.path)),
    ...(await frontierOf(step, scratch)),
  }
}

/** The input whose events make sessions. */
function driverOf(table: Table, pins: Pins): Pin {
  return pins.get(sessionInput(table).name)!
}

/** The dataset whose events make the sessions of a table. */
export function sessionInput({ sql }: Table): Dataset {
  return sql.datasets.find((dataset) => timeColumn(dataset) !== undefined)!
}

function isClosed({ watermarkMs, engine }: SessionStep): string {
  return watermarkMs === undefined ? 'false' : `${WINDOW_END} <= ${engine.dialect.timestamp(watermarkMs)}`
}

/** Where the next step has to begin: the start of the earliest open session. */
async function frontierOf(step: SessionStep, scratch: Scratch): Promise<{ frontierMs?: number }> {
  if (step.watermarkMs === undefined) return {}
  const [row] = await step.engine.rows(
    `SELECT ${step.engine.dialect.epochMs(`min(${WINDOW_START})`)} AS low FROM ${scratch.sessions} WHERE NOT (${isClosed(step)})`,
  )
  return { frontierMs: row!.low === null ? step.watermarkMs : Math.min(step.watermarkMs, Number(row!.low)) }
}

async function emit(step: SessionStep, scratch: Scratch, wanted: string): Promise<DataFile[]> {
  const whole = new Map<string, string>()
  for (const pin of step.pins.values())
    if (timeColumn(pin.dataset) === undefined) whole.set(pin.dataset.name, await wholeRelation(step.engine, pin))
  const found = `(SELECT * FROM ${scratch.sessions} AS found WHERE ${wanted})`
  return step.write(
    sessionQuery(step.engine.dialect, step.table, whole, scratch.rows, found, `NOT (${isClosed(step)})`),
  )
}

/** The rows of sessions, as a relation: the table's query as a lateral join, which the engine turns into one grouped by session. */
export function sessionQuery(
  { identifier, allBut, name: engine }: Dialect,
  table: Table,
  whole: ReadonlyMap<string, string>,
  numbered: string,
  sessions: string,
  isOpen: string,
): string {
  const { by, emit } = table.materialization as Extract<Materialization, { kind: 'session' }>
  const [session, one, rows, result] = [
    identifier('$session'),
    identifier('$sessions'),
    identifier('$rows'),
    identifier('$result'),
  ]
  const own = `(SELECT ${allBut('$session')} FROM ${numbered} AS ${rows} WHERE ${rows}.${session} = ${one}.${session})`
  const query = queryFor(table, engine).render({
    dataset: ({ name }) => whole.get(name) ?? own,
    parameter: (name) => `$${name}`,
  })
  const columns = [
    `${one}.${WINDOW_START}`,
    `${one}.${WINDOW_END}`,
    ...(emit === 'continuous' ? [`${isOpen} AS ${WINDOW_OPEN}`] : []),
    ...by.map((name) => `${one}.${identifier(name)}`),
  ]
  return `(SELECT ${columns.join(', ')}, ${result}.* FROM ${sessions} AS ${one}, LATERAL (${query}) AS ${result})`
}

/** The intermediate tables of a step, kept by the engine. */
class Scratch {
  readonly #step: SessionStep
  readonly #driver: Pin
  readonly #shape: SessionShape
  rows = ''
  sessions = ''
  #late = ''

  constructor(step: SessionStep, driver: Pin) {
    const { by, gap } = step.sessions
    this.#step = step
    this.#driver = driver
    this.#shape = { time: timeColumn(driver.dataset)!, by, gapMs: durationMs(gap, `${step.table.name}.gap`) }
  }

  /** Finds the sessions of some events. */
  async number(relation: string): Promise<void> {
    const { dialect } = this.#step.engine
    this.rows = await this.#keep('rows of', numberedSql(dialect, this.#needed(relation), this.#shape))
    this.sessions = await this.#keep('sessions of', sessionsSql(dialect, this.rows, this.#shape))
  }

  /** Finds the keys with changed events before `fromMs`, and the earliest time from which sessions are computed again. */
  async findLate(
    driver: Pin,
    changed: readonly DataFile[],
    live: readonly DataFile[],
    fromMs: number,
    frontierMs: number,
  ): Promise<number | undefined> {
    if (changed.length === 0) return undefined
    const { engine, lakeTable } = this.#step
    const { dialect } = engine
    const events = await engine.relation(driver.table, changed)
    const published = await engine.relation(lakeTable, live)
    this.#late = await this.#keep('late in', lateSql(dialect, events, published, this.#shape, fromMs, frontierMs))
    const earliest = dialect.epochMs(`min(${dialect.identifier('$from')})`)
    const [row] = await engine.rows(`SELECT ${earliest} AS low FROM ${this.#late}`)
    return row!.low === null ? undefined : Number(row!.low)
  }

  /** Of some events, those of late keys from their time on and those of others from `frontierMs` on. */
  sinceLate(relation: string, frontierMs: number): string {
    const { time, by } = this.#shape
    const { dialect } = this.#step.engine
    const from = `coalesce(late.${dialect.identifier('$from')}, ${dialect.timestamp(frontierMs)})`
    const at = asTimestamp(dialect, `rows.${dialect.identifier(time)}`)
    return `(SELECT rows.* FROM ${relation} AS rows LEFT JOIN ${this.#late} AS late ON ${sameKey(dialect, 'rows', 'late', by)} WHERE ${at} >= ${from})`
  }

  /** Condition: a session found is of a late key. */
  get isLate(): string {
    return `EXISTS (SELECT 1 FROM ${this.#late} AS late WHERE ${this.#same('late', 'found')})`
  }

  /** Condition: a published session is computed again. */
  get isLateFrom(): string {
    const from = this.#step.engine.dialect.identifier('$from')
    return `EXISTS (SELECT 1 FROM ${this.#late} AS late WHERE ${this.#same('late', 'rows')} AND rows.${WINDOW_START} >= late.${from})`
  }

  /** Without columns that nobody asks for: events are sorted and kept whole. */
  #needed(relation: string): string {
    const { named, engine } = this.#step
    if (!named) return relation
    const { time, by } = this.#shape
    const names = this.#driver.table.fields
      .map(({ name }) => name)
      .filter((name) => name === time || by.includes(name) || named.has(name.toLowerCase()))
    return `(SELECT ${names.map(engine.dialect.identifier).join(', ')} FROM ${relation})`
  }

  #same(a: string, b: string): string {
    return sameKey(this.#step.engine.dialect, a, b, this.#shape.by)
  }

  #keep(what: string, query: string): Promise<string> {
    return this.#step.engine.keep(`${what} ${this.#step.table.name}`, query)
  }
}

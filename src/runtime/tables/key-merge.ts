import type { Dialect } from '../../engine/dialect.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Field } from '../../project/columns.ts'
import type { Materialization, Table } from '../../project/table.ts'
import { castColumns } from './cast.ts'
import type { EngineStep } from '../engine.ts'
import type { InputChanges } from './inputs.ts'
import type { TableChange } from './table-runner.ts'
import { sameKey } from './session-sql.ts'

export interface KeyMerge {
  readonly table: Table
  readonly keys: Extract<Materialization, { kind: 'key' }>
  readonly fields: readonly Field[]
  readonly lakeTable: LakeTable
  readonly engine: EngineStep
  /** The published snapshot to merge into; undefined to compute all. */
  readonly main: Snapshot | undefined
  readonly changes: InputChanges | undefined
  render(only?: ReadonlyMap<string, readonly DataFile[]>): Promise<string>
  live(): Promise<DataFile[]>
  write(sql: string): Promise<DataFile[]>
}

/**
 * One row per key, the latest by version.
 *
 * When a single input only gained rows and the query works row by row, the query runs over the new rows alone, and only
 * files that hold one of their keys are rewritten. Otherwise all is recomputed. Both give the same rows: the latest of
 * the union is the latest of the latest.
 */
export async function mergeByKey(merge: KeyMerge): Promise<TableChange> {
  const fresh = await freshFiles(merge)
  if (!fresh) return { add: await merge.write(latest(merge, `(${await merge.render()})`)), remove: await merge.live() }
  const delta = `(${await merge.render(fresh)})`
  const { engine, lakeTable, keys } = merge
  const live = await merge.live()
  const touched = live.length === 0 ? [] : await filesWithKeys(merge, live, delta)
  const own = merge.fields.map((field) => engine.dialect.identifier(field.name)).join(', ')
  const old = `SELECT ${own} FROM ${await engine.relation(lakeTable, touched)} AS old`
  const join = (kind: 'SEMI' | 'ANTI') => deltaJoin(engine.dialect, kind, keys.columns, delta)
  const untouched = `${old} ${join('ANTI')}`
  const winners = latest(merge, `(SELECT ${own} FROM ${delta} AS fresh UNION ALL ${old} ${join('SEMI')})`)
  return {
    add: await merge.write(touched.length === 0 ? winners : `${untouched} UNION ALL (${winners})`),
    remove: touched,
  }
}

function deltaJoin(dialect: Dialect, kind: 'SEMI' | 'ANTI', keys: readonly string[], delta: string): string {
  const columns = keys.map(dialect.identifier).join(', ')
  return `${kind} JOIN (SELECT DISTINCT ${columns} FROM ${delta} AS rows) AS fresh ON ${sameKey(dialect, 'old', 'fresh', keys)}`
}

/** New files per input, when the change can be merged; undefined when all must be recomputed. */
async function freshFiles({
  table,
  keys,
  main,
  changes,
  engine,
  render,
}: KeyMerge): Promise<Map<string, readonly DataFile[]> | undefined> {
  // A deleted key leaves no version behind to compare a late row with, so deletions are decided over all rows.
  if (!main || !changes || keys.version === undefined || keys.deleted !== undefined) return undefined
  const changed = [...changes].filter(([, change]) => change.added.length > 0 || change.removed.length > 0)
  if (changed.length !== 1 || changed[0]![1].removed.length > 0) return undefined
  if (table.sql.datasets.length !== 1) return undefined
  const fresh = new Map([[changed[0]![0], changed[0]![1].added]])
  return (await engine.shapeOf(await render(fresh))) === 'by row' ? fresh : undefined
}

async function filesWithKeys(
  { lakeTable, engine, keys }: KeyMerge,
  live: readonly DataFile[],
  delta: string,
): Promise<DataFile[]> {
  const named = await engine.relation(lakeTable, live, FILE)
  const rows = await engine.rows(
    `SELECT DISTINCT old.${FILE} FROM ${named} AS old ${deltaJoin(engine.dialect, 'SEMI', keys.columns, delta)}`,
  )
  const found = new Set(rows.map((row) => String(row[FILE])))
  return live.filter((file) => found.has(file.path))
}

const FILE = 'millrace_file'

/** The latest row of each key; deleted keys left out. Equal versions are ordered by the whole row, so the choice is repeatable. */
function latest({ engine, keys, fields }: KeyMerge, relation: string): string {
  const { dialect } = engine
  const quote = dialect.identifier
  const order = [
    ...(keys.version === undefined ? [] : [keys.version]),
    ...fields.map(({ name }) => name).filter((name) => name !== keys.version),
  ].map((name) => `${quote(name)} DESC NULLS LAST`)
  const alive = keys.deleted === undefined ? '' : ` AND ${quote(keys.deleted)} IS NOT true`
  const place = `row_number() OVER (PARTITION BY ${keys.columns.map(quote).join(', ')} ORDER BY ${order.join(', ')})`
  const placed = `SELECT *, ${place} AS ${quote('$place')} FROM (${castColumns(dialect, fields, relation)}) AS typed`
  const own = fields.map(({ name }) => quote(name)).join(', ')
  return `SELECT ${own} FROM (${placed}) AS placed WHERE ${quote('$place')} = 1${alive}`
}

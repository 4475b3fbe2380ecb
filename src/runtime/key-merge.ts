import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { duckdbType } from '../engine/duckdb/types.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { Materialization, Table } from '../project/table.ts'
import { shapeOf } from './delta.ts'
import type { InputChanges } from './inputs.ts'
import type { TableChange } from './table-runner.ts'
import { relationOf } from './warehouse.ts'

export interface KeyMerge {
  readonly table: Table
  readonly keys: Extract<Materialization, { kind: 'key' }>
  readonly fields: readonly Field[]
  readonly lakeTable: LakeTable
  readonly database: Database
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
  const keys = merge.keys.columns.map(quoteIdentifier)
  const live = await merge.live()
  const touched = live.length === 0 ? [] : await filesWithKeys(merge, live, delta)
  const own = merge.fields.map((field) => quoteIdentifier(field.name)).join(', ')
  const rest = `(SELECT ${own} FROM ${relationOf(merge.lakeTable, touched)} AS old ${deltaJoin('SEMI', keys, delta)})`
  const untouched = `SELECT ${own} FROM ${relationOf(merge.lakeTable, touched)} AS old ${deltaJoin('ANTI', keys, delta)}`
  const winners = latest(merge, `(SELECT ${own} FROM ${delta} UNION ALL ${rest.slice(1, -1)})`)
  return {
    add: await merge.write(touched.length === 0 ? winners : `${untouched} UNION ALL (${winners})`),
    remove: touched,
  }
}

function deltaJoin(kind: 'SEMI' | 'ANTI', keys: readonly string[], delta: string): string {
  return `${kind} JOIN (SELECT DISTINCT ${keys.join(', ')} FROM ${delta}) AS fresh ON ${keys.map((key) => `old.${key} IS NOT DISTINCT FROM fresh.${key}`).join(' AND ')}`
}

/** New files per input, when the change can be merged; undefined when all must be recomputed. */
async function freshFiles({
  table,
  keys,
  main,
  changes,
  database,
  render,
}: KeyMerge): Promise<Map<string, readonly DataFile[]> | undefined> {
  // A deleted key leaves no version behind to compare a late row with, so deletions are decided over all rows.
  if (!main || !changes || keys.version === undefined || keys.deleted !== undefined) return undefined
  const changed = [...changes].filter(([, change]) => change.added.length > 0 || change.removed.length > 0)
  if (changed.length !== 1 || changed[0]![1].removed.length > 0) return undefined
  if (table.sql.datasets.length !== 1) return undefined
  const fresh = new Map([[changed[0]![0], changed[0]![1].added]])
  return (await shapeOf(database, await render(fresh))) === 'by row' ? fresh : undefined
}

async function filesWithKeys(
  { lakeTable, database, keys }: KeyMerge,
  live: readonly DataFile[],
  delta: string,
): Promise<DataFile[]> {
  const columns = keys.columns.map(quoteIdentifier)
  const schema = lakeTable.fields.map(
    (f) => `${f.id}: {name: ${quoteLiteral(f.name)}, type: ${quoteLiteral(duckdbType(f.type))}, default_value: NULL}`,
  )
  const named = `read_parquet([${live.map((file) => quoteLiteral(file.path)).join(', ')}], schema = MAP {${schema.join(', ')}}, filename = true, hive_partitioning = false)`
  const rows = await database.rows(
    `SELECT DISTINCT old.filename AS filename FROM ${named} AS old ${deltaJoin('SEMI', columns, delta)}`,
  )
  const found = new Set(rows.map((row) => String(row.filename)))
  return live.filter((file) => found.has(file.path))
}

/** The latest row of each key; deleted keys left out. Equal versions are ordered by the whole row, so the choice is repeatable. */
function latest({ keys, fields }: KeyMerge, relation: string): string {
  const columns = fields
    .map(
      (field) => `CAST(${quoteIdentifier(field.name)} AS ${duckdbType(field.type)}) AS ${quoteIdentifier(field.name)}`,
    )
    .join(', ')
  const order = [
    ...(keys.version === undefined ? [] : [`${quoteIdentifier(keys.version)} DESC NULLS LAST`]),
    ...fields
      .filter((field) => field.name !== keys.version)
      .map((field) => `${quoteIdentifier(field.name)} DESC NULLS LAST`),
  ]
  const alive = keys.deleted === undefined ? '' : ` WHERE ${quoteIdentifier(keys.deleted)} IS NOT true`
  const typed = `(SELECT ${columns} FROM ${relation})`
  return `SELECT * FROM (SELECT * FROM ${typed} QUALIFY row_number() OVER (PARTITION BY ${keys.columns.map(quoteIdentifier).join(', ')} ORDER BY ${order.join(', ')}) = 1)${alive}`
}

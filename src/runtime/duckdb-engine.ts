import { assert } from '../base/errors.ts'
import { quoteLiteral } from '../base/identifier.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { describe } from '../engine/duckdb/describe.ts'
import { DUCKDB } from '../engine/duckdb/dialect.ts'
import { shapeOf } from '../engine/duckdb/shape.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { Hold, LocalFiles } from '../lake/store.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { Engine, EngineStep, QueryShape, Scalar } from './engine.ts'
import { writePartitioned } from './partitioned.ts'
import type { FileRef } from './warehouse.ts'
import { localDataDirectory, relationOf, toDataFiles } from './warehouse.ts'

/** The embedded engine. The database stays its owner's. */
export function duckdbEngine(database: Database): Engine {
  return {
    name: 'duckdb',
    dialect: DUCKDB,
    async step(work) {
      const step = new DuckdbStep(database)
      try {
        return await work(step)
      } finally {
        await step.release()
      }
    },
  }
}

/** Steps so far: those that run at once keep tables of different names. */
let steps = 0

class DuckdbStep implements EngineStep {
  readonly dialect = DUCKDB
  readonly subqueryRows = 25_000
  readonly #database: Database
  readonly #number = ++steps
  readonly #kept = new Set<string>()
  readonly #holds = new Map<LocalFiles, Hold>()

  constructor(database: Database) {
    this.#database = database
  }

  async relation(table: LakeTable, files: readonly FileRef[], fileColumn?: string): Promise<string> {
    let hold = this.#holds.get(table.local)
    if (!hold) this.#holds.set(table.local, (hold = table.local.hold()))
    const relation = await relationOf(table, files, hold, fileColumn)
    if (fileColumn === undefined || files.length === 0) return relation
    // The rows tell where a file is on this machine, and the step asks by the lake's own names.
    const names = files.map(({ path }) => [table.local.pathOf(path), path] as const)
    if (names.every(([path, location]) => path === location)) return relation
    const column = DUCKDB.identifier(fileColumn)
    const map = names.map(([path, location]) => `${quoteLiteral(path)}: ${quoteLiteral(location)}`).join(', ')
    return `(SELECT * REPLACE (MAP {${map}}[${column}] AS ${column}) FROM ${relation})`
  }

  async rows(sql: string): Promise<Record<string, Scalar>[]> {
    return (await this.#database.rows(sql)) as Record<string, Scalar>[]
  }

  describe(sql: string): Promise<Field[]> {
    return describe(this.#database, sql)
  }

  shapeOf(sql: string): Promise<QueryShape | undefined> {
    return shapeOf(this.#database, sql)
  }

  async keep(name: string, sql: string): Promise<string> {
    const table = DUCKDB.identifier(`${name} #${this.#number}`)
    assert(!this.#kept.has(table), 'a step keeps one table of a name')
    await this.#database.execute(`CREATE TABLE ${table} AS ${sql}`)
    this.#kept.add(table)
    return table
  }

  async write(table: LakeTable, sql: string, directory = localDataDirectory(table)): Promise<DataFile[]> {
    const write = { directory, fields: table.fields, partition: table.partition, spread: true }
    const { files } = await this.#database.use((connection) => writePartitioned(connection, sql, write))
    return toDataFiles(table, files)
  }

  async release(): Promise<void> {
    for (const hold of this.#holds.values()) hold.release()
    for (const table of this.#kept) await this.#database.execute(`DROP TABLE ${table}`)
  }
}

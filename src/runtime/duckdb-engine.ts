import { assert } from '../base/errors.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { describe } from '../engine/duckdb/describe.ts'
import { DUCKDB } from '../engine/duckdb/dialect.ts'
import { parquetRelation } from '../engine/duckdb/parquet.ts'
import { shapeOf } from '../engine/duckdb/shape.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { Engine, EngineStep, QueryShape, Scalar } from './engine.ts'
import { writePartitioned } from './partitioned.ts'
import { dataDirectory, toDataFiles } from './warehouse.ts'

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
  readonly #database: Database
  readonly #number = ++steps
  readonly #kept = new Set<string>()

  constructor(database: Database) {
    this.#database = database
  }

  relation(table: LakeTable, files: readonly Pick<DataFile, 'path'>[], fileColumn?: string): Promise<string> {
    const paths = files.map((file) => file.path)
    return Promise.resolve(parquetRelation(paths, table.fields, fileColumn))
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

  async write(table: LakeTable, sql: string, directory = dataDirectory(table)): Promise<DataFile[]> {
    const write = { directory, fields: table.fields, partition: table.partition, spread: true }
    const { files } = await this.#database.use((connection) => writePartitioned(connection, sql, write))
    return toDataFiles(table, files)
  }

  async release(): Promise<void> {
    for (const table of this.#kept) await this.#database.execute(`DROP TABLE ${table}`)
  }
}

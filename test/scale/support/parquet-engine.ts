import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { quoteLiteral } from '../../../src/base/identifier.ts'
import type { Database } from '../../../src/engine/duckdb/database.ts'
import { SPARK } from '../../../src/engine/spark/dialect.ts'
import type { SparkSession } from '../../../src/engine/spark/session.ts'
import { duckdbEngine } from '../../../src/runtime/duckdb-engine.ts'
import type { Engine, EngineStep, Scalar } from '../../../src/runtime/engine.ts'

/**
 * Spark with neither catalog nor Iceberg, for the law that both dialects give the same rows: it reads the lake's Parquet files
 * where they lie, and what it writes is taken over by the embedded engine. Files must have all columns of their table.
 */
export function parquetEngine(session: SparkSession, database: Database, directory: string): Engine {
  let made = 0
  const embedded = duckdbEngine(database)
  const relationOf: EngineStep['relation'] = async (table, files, fileColumn) => {
    const columns = table.fields.map(({ name, type }) => [SPARK.identifier(name), SPARK.type(type)] as const)
    if (files.length === 0) {
      const nulls = columns.map(([name, type]) => `CAST(NULL AS ${type}) AS ${name}`)
      const file = fileColumn === undefined ? [] : [`'' AS ${fileColumn}`]
      return `(SELECT ${[...nulls, ...file].join(', ')} WHERE false)`
    }
    const parts = files.map(({ path }) => {
      const own = columns.map(([name, type]) => `CAST(${name} AS ${type}) AS ${name}`)
      const file = fileColumn === undefined ? [] : [`${SPARK.text(path)} AS ${fileColumn}`]
      return `SELECT ${[...own, ...file].join(', ')} FROM parquet.${SPARK.identifier(path)}`
    })
    return `(${parts.join(' UNION ALL ')})`
  }
  return {
    name: 'spark',
    dialect: SPARK,
    async step(work) {
      const kept: string[] = []
      const folders: string[] = []
      try {
        return await work({
          dialect: SPARK,
          relation: relationOf,
          rows: (sql) => session.rows(sql) as Promise<Record<string, Scalar>[]>,
          describe: (sql) => session.analyze(sql),
          shapeOf: async () => undefined,
          async keep(name, sql) {
            const view = SPARK.identifier(`${name} #${++made}`)
            await session.execute(`CREATE TEMPORARY VIEW ${view} AS ${sql}`)
            kept.push(view)
            return view
          },
          async write(table, sql, target) {
            const folder = join(directory, `spark-${++made}`)
            folders.push(folder)
            await mkdir(folder, { recursive: true })
            await session.execute(`INSERT OVERWRITE DIRECTORY ${SPARK.text(folder)} USING parquet ${sql}`)
            const files = (await readdir(folder)).filter((file) => file.endsWith('.parquet'))
            if (files.length === 0) return []
            const names = table.fields.map(({ name }) => `"${name}"`).join(', ')
            const paths = files.map((file) => quoteLiteral(join(folder, file))).join(', ')
            return embedded.step((step) => step.write(table, `SELECT ${names} FROM read_parquet([${paths}])`, target))
          },
        })
      } finally {
        for (const view of kept) await session.execute(`DROP VIEW ${view}`)
        for (const folder of folders) await rm(folder, { recursive: true, force: true })
      }
    },
  }
}

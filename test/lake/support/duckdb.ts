import { DuckDBInstance } from '@duckdb/node-api'
import type { DuckDBConnection } from '@duckdb/node-api'
import { mkdir } from 'node:fs/promises'
import { quoteIdentifier } from '../../../src/base/identifier.ts'
import { copyToParquet, parquetRelation } from '../../../src/engine/duckdb/parquet.ts'
import type { DataFile } from '../../../src/lake/data-file.ts'
import type { FileFilter } from '../../../src/lake/filter.ts'
import { partitionName } from '../../../src/lake/partition.ts'
import { dataFile } from '../../../src/lake/stats.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import { transformSql } from '../../../src/lake/transform.ts'

/** A DuckDB session as the engine opens them: in memory, UTC. */
export async function openDuckdb(): Promise<DuckDBConnection> {
  const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false', threads: '2' })
  const connection = await instance.connect()
  await connection.run(`SET TimeZone = 'UTC'`)
  return connection
}

export type Row = Record<string, unknown>

export async function query(connection: DuckDBConnection, sql: string): Promise<Row[]> {
  return (await connection.runAndReadAll(sql)).getRowObjectsJson()
}

/**
 * Writes the rows of a query as data files of a table, ready to be committed. `buckets` gives, for each bucket field,
 * an expression for its values.
 */
export async function writeFiles(
  connection: DuckDBConnection,
  table: LakeTable,
  sql: string,
  buckets: Readonly<Record<string, string>> = {},
): Promise<DataFile[]> {
  const { fields, partition } = table
  // Under names of their own: the columns they come from stay in the files.
  const parts = partition.map((part) => {
    const column = fields.find((field) => field.name === part.column)!
    const name = partitionName(part)
    const expression =
      part.transform.kind === 'bucket'
        ? buckets[name]!
        : transformSql(part.transform, quoteIdentifier(part.column), column.type)
    return { name, as: `__${name}`, expression }
  })
  const columns = [
    ...fields.map((field) => quoteIdentifier(field.name)),
    ...parts.map((part) => `${part.expression} AS ${quoteIdentifier(part.as)}`),
  ]
  const directory = table.local.pathOf(`${table.location}/data`)
  await mkdir(directory, { recursive: true })
  const written = await copyToParquet(connection, `SELECT ${columns.join(', ')} FROM (${sql})`, {
    directory,
    fields,
    partitionColumns: parts.map((part) => part.as),
  })
  return written.map((file) =>
    dataFile(fields, partition, {
      ...file,
      path: table.local.locationOf(file.path),
      partitionValues: Object.fromEntries(parts.map((part) => [part.name, file.partitionValues[part.as]!])),
    }),
  )
}

/** Appends the rows of a query to a table. */
export async function append(connection: DuckDBConnection, table: LakeTable, sql: string): Promise<DataFile[]> {
  const files = await writeFiles(connection, table, sql)
  await table.commit({ operation: 'append', add: files, remove: [], summary: {} })
  return files
}

/** A relation over a table's current rows. */
export async function relation(table: LakeTable, filter?: FileFilter): Promise<string> {
  const snapshot = table.snapshot()
  const files = snapshot ? await table.files(snapshot, filter) : []
  // For as long as the test lasts.
  await table.local.hold().add(files)
  return parquetRelation(
    files.map((file) => table.local.pathOf(file.path)),
    table.fields,
  )
}

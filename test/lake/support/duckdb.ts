import { DuckDBInstance } from '@duckdb/node-api'
import type { DuckDBConnection, DuckDBMapValue } from '@duckdb/node-api'
import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { quoteIdentifier, quoteLiteral } from '../../../src/base/identifier.ts'
import type { IdentifiedField, IdentifiedType } from '../../../src/project/columns.ts'
import type { DataFile } from '../../../src/lake/data-file.ts'
import { partitionName } from '../../../src/lake/partition.ts'
import { dataFile } from '../../../src/lake/stats.ts'
import type { WrittenFile } from '../../../src/lake/stats.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import { transformSql } from '../../../src/lake/transform.ts'

/** A DuckDB session as the engine opens them: in memory, UTC. */
export async function openDuckdb(): Promise<DuckDBConnection> {
  const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false', threads: '2' })
  const connection = await instance.connect()
  await connection.run(`SET TimeZone = 'UTC'`)
  return connection
}

export async function rows(connection: DuckDBConnection, sql: string): Promise<Record<string, unknown>[]> {
  return (await connection.runAndReadAll(sql)).getRowObjectsJson() as Record<string, unknown>[]
}

/** Writes the rows of a query as data files of a table, ready to be committed. Buckets are computed by `buckets`. */
export async function writeFiles(
  connection: DuckDBConnection,
  table: LakeTable,
  sql: string,
  buckets: Readonly<Record<string, string>> = {},
): Promise<DataFile[]> {
  const { fields, partition } = table
  const select = fields.map((field) => quoteIdentifier(field.name)).join(', ')
  const parts = partition.map((part) => {
    const column = fields.find((field) => field.name === part.column)!
    const name = partitionName(part)
    const expression =
      part.transform.kind === 'bucket'
        ? buckets[name]!
        : transformSql(part.transform, quoteIdentifier(part.column), column.type)
    // Under names of their own: the table's columns stay in the file.
    return { name, as: `__partition_${name}`, expression }
  })
  const target = join(table.location, 'data', partition.length === 0 ? `${randomUUID()}.parquet` : '')
  await mkdir(dirname(`${target}x`), { recursive: true })
  const options = ['FORMAT parquet', 'RETURN_STATS', `FIELD_IDS ${fieldIds(fields)}`]
  if (partition.length > 0) {
    options.push(
      `PARTITION_BY (${parts.map((part) => quoteIdentifier(part.as)).join(', ')})`,
      `FILENAME_PATTERN '{uuidv7}'`,
      'OVERWRITE_OR_IGNORE',
    )
  }
  const columns = [select, ...parts.map((part) => `${part.expression} AS ${quoteIdentifier(part.as)}`)].join(', ')
  const result = await connection.runAndReadAll(
    `COPY (SELECT ${columns} FROM (${sql})) TO ${quoteLiteral(target)} (${options.join(', ')})`,
  )
  return result.getRowObjects().map((row) => {
    const keys = row['partition_keys'] === null ? {} : entries<string | null>(row['partition_keys'])
    const written: WrittenFile = {
      path: String(row['filename']),
      records: Number(row['count']),
      bytes: Number(row['file_size_bytes']),
      columnStatistics: Object.fromEntries(
        Object.entries(entries<unknown>(row['column_statistics'])).map(([name, stats]) => [
          name,
          entries<string>(stats),
        ]),
      ),
      partitionValues: Object.fromEntries(parts.map((part) => [part.name, keys[part.as] ?? null])),
    }
    return dataFile(fields, partition, written)
  })
}

/** The FIELD_IDS option that gives every column its id. */
function fieldIds(fields: readonly IdentifiedField[]): string {
  const one = (name: string, id: number, type: IdentifiedType): string => {
    const nested =
      type.kind === 'struct'
        ? type.fields.map((field) => one(field.name, field.id, field.type))
        : type.kind === 'list'
          ? [one('element', type.elementId, type.element)]
          : []
    return `${quoteIdentifier(name)}: ${nested.length === 0 ? id : `{__duckdb_field_id: ${id}, ${nested.join(', ')}}`}`
  }
  return `{${fields.map((field) => one(field.name, field.id, field.type)).join(', ')}}`
}

function entries<V>(map: unknown): Record<string, V> {
  return Object.fromEntries((map as DuckDBMapValue).entries.map(({ key, value }) => [String(key), value as V]))
}

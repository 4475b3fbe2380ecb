import type { DuckDBPreparedStatement } from '@duckdb/node-api'
import { MillraceError } from '../../base/errors.ts'
import type { Field } from '../../project/columns.ts'
import { type Database, run } from './database.ts'
import { columnType } from './types.ts'

/** Columns and types of a query. Throws invalid/bad-sql, or invalid/bad-type for a type that tables cannot hold. */
export async function describe(database: Database, sql: string): Promise<Field[]> {
  return database.use(async (connection) => {
    const { result, names } = await run(sql, async () => ({
      // First, for errors about the query as it is written.
      names: columnNames(await connection.prepare(sql)),
      result: await connection.run(`SELECT * FROM (${sql}) LIMIT 0`),
    }))
    return names.map((name, i) => {
      const type = columnType(result.columnType(i))
      if (!type)
        throw new MillraceError(
          'invalid',
          'bad-type',
          `Column '${name}' has type ${result.columnType(i).toString()}, which no table can hold.`,
          { hint: 'Cast it, for example to varchar.', context: { column: name } },
        )
      return { name, type, nullable: true }
    })
  })
}

/** The names as the query gives them: of two alike a subquery would call one otherwise. */
function columnNames(statement: DuckDBPreparedStatement): string[] {
  const names = Array.from({ length: statement.columnCount }, (_, i) => statement.columnName(i))
  statement.destroySync()
  return names
}

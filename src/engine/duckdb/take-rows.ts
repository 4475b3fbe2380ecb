import type { DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { type ParameterValues, bindParameters } from './bind.ts'
import { type Database, run } from './database.ts'

/** One row in some form, and about how many bytes that takes. */
export interface FormedRow<T> {
  readonly row: T
  readonly bytes: number
}

/** How the cells of a row become what is wanted; made once for the columns of a result. */
export type RowForm<T> = (
  names: readonly string[],
  types: readonly DuckDBType[],
) => (cells: readonly DuckDBValue[]) => FormedRow<T>

/**
 * The first rows of a query, in its order, until `enough` says so of one (which is still among them). The rest is never
 * computed: what is held is these rows and one chunk. Errors: those of the engine and of `bindParameters`.
 */
export async function takeRows<T>(
  database: Database,
  query: { readonly sql: string; readonly parameters: ParameterValues },
  form: RowForm<T>,
  enough: (row: FormedRow<T>) => boolean,
): Promise<T[]> {
  return database.use((connection) =>
    run(query.sql, async () => {
      const statement = await connection.prepare(query.sql)
      try {
        bindParameters(statement, query.parameters)
        const result = await statement.stream()
        const formed = form(result.columnNames(), result.columnTypes())
        const rows: T[] = []
        for (;;) {
          const chunk = await result.fetchChunk()
          if (chunk === null || chunk.rowCount === 0) return rows
          const vectors = Array.from({ length: chunk.columnCount }, (_, i) => chunk.getColumnVector(i))
          for (let i = 0; i < chunk.rowCount; i++) {
            const row = formed(vectors.map((vector) => vector.getItem(i)))
            rows.push(row.row)
            if (enough(row)) return rows
          }
        }
      } finally {
        statement.destroySync()
      }
    }),
  )
}

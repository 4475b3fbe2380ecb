import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { syntaxTree } from '../engine/duckdb/syntax-tree.ts'
import type { SqlTemplate } from '../project/sql.ts'

/** Table functions of DuckDB that read what is not a dataset. */
const READS = /^(read_\w+|parquet_\w+|sniff_csv|glob|\w+_scan|duckdb_\w+|pragma_\w+)$/

/**
 * What a query reads beside datasets: a file by its name, or by a function such as `read_csv`. Its rows would change without
 * anything becoming due. Undefined when there is nothing, or the query cannot be read.
 */
export async function readsOutside(database: Database, sql: SqlTemplate): Promise<string | undefined> {
  return outsideIn(await syntaxTree(database, textOf(sql)))
}

/** A query over tables named as the datasets. */
export function textOf(sql: SqlTemplate): string {
  return sql.render({ dataset: ({ name }) => quoteIdentifier(name), parameter: quoteLiteral })
}

function outsideIn(node: unknown): string | undefined {
  if (typeof node !== 'object' || node === null) return undefined
  const { type, table_name: table, function: call } = node as Record<string, unknown>
  if (type === 'BASE_TABLE' && typeof table === 'string' && /[./\\:*]/.test(table)) return `'${table}'`
  if (type === 'TABLE_FUNCTION') {
    const { function_name: name } = (call ?? {}) as { function_name?: unknown }
    if (typeof name === 'string' && READS.test(name.toLowerCase())) return `${name}(…)`
  }
  for (const child of Object.values(node)) {
    const found = outsideIn(child)
    if (found !== undefined) return found
  }
  return undefined
}

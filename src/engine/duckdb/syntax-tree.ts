import { quoteLiteral } from '../../base/identifier.ts'
import type { Database } from './database.ts'

/** The syntax tree that DuckDB's parser makes of a query; one that tells of an error for anything else. */
export async function syntaxTree(database: Database, sql: string): Promise<unknown> {
  const [row] = await database.rows(`SELECT json_serialize_sql(${quoteLiteral(sql)}) AS tree`)
  return JSON.parse(String(row!.tree))
}

import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { EngineStep } from '../engine.ts'

const FILE = 'millrace_file'

/**
 * Rewrites the files that hold rows meeting a condition, without those rows. The condition may call a row `rows`; it is
 * never null.
 */
export async function rewriteWithout(
  engine: EngineStep,
  table: LakeTable,
  files: readonly DataFile[],
  condition: string,
): Promise<{ add: DataFile[]; remove: string[] }> {
  if (files.length === 0) return { add: [], remove: [] }
  const named = await engine.relation(table, files, FILE)
  const counted = await engine.rows(
    `SELECT ${FILE}, count(*) AS gone FROM ${named} AS rows WHERE (${condition}) GROUP BY ${FILE}`,
  )
  const gone = new Map(counted.map((row) => [String(row[FILE]), Number(row.gone)]))
  const touched = files.filter((file) => gone.has(file.path))
  const remove = touched.map((file) => file.path)
  const partly = touched.filter((file) => file.records > gone.get(file.path)!)
  if (partly.length === 0) return { add: [], remove }
  const query = `SELECT * FROM ${await engine.relation(table, partly)} AS rows WHERE NOT (${condition})`
  return { add: await engine.write(table, query), remove }
}

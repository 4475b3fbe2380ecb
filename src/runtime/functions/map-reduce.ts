import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { quoteLiteral } from '../../base/identifier.ts'
import type { Database } from '../../engine/duckdb/database.ts'
import type { FunctionTasks } from './function-tasks.ts'
import { resultsIn } from './function-tasks.ts'
import { lineRanges } from './line-file.ts'

export interface Reduction {
  /** Holds the files of pairs that the calls of `map` left. */
  readonly folder: string
  readonly tasks: FunctionTasks
  readonly database: Database
  write(files: readonly string[]): Promise<void>
}

/** Pairs are JSON, in which neither tabs nor line feeds nor quotes mean anything to the reader of lines. */
const LINES = "delim = '\t', quote = '', escape = '', header = false"
/** Bytes of a line, three to a character at most; also what is read at once. */
const LINE_BYTES = 4 * 1024 ** 2

const RANGES = 32
const RANGE_BYTES = { min: 1024 ** 2, max: 64 * 1024 ** 2 } as const

/**
 * Sorts pairs by key, which the engine does on disk where they do not fit into its memory, and reduces them. Values are sorted
 * too: what a reduce gives does not depend on which thread was faster.
 */
export async function reduceSorted({ folder, tasks, database, write }: Reduction): Promise<void> {
  const files = await resultsIn(folder)
  if (files.length === 0) return
  const sorted = join(folder, 'sorted.tsv')
  const pairs = `read_csv([${files.map(quoteLiteral).join(', ')}], ${LINES}, auto_detect = false, columns = {k: 'VARCHAR', v: 'VARCHAR'}, max_line_size = ${LINE_BYTES}, buffer_size = ${LINE_BYTES})`
  await database.execute(
    `COPY (SELECT k, v FROM ${pairs} ORDER BY k, v) TO ${quoteLiteral(sorted)} (FORMAT csv, ${LINES.replaceAll(' =', '')})`,
  )
  for (const file of files) await rm(file)
  const { size } = await stat(sorted)
  const bytes = Math.min(RANGE_BYTES.max, Math.max(RANGE_BYTES.min, Math.ceil(size / RANGES)))
  await tasks.reduce(folder, lineRanges(sorted, bytes), write)
}

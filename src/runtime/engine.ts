import type { Dialect } from '../engine/dialect.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { EngineName } from '../project/sql.ts'

/** What a step asks an engine for is counts, bounds and flags: no nested values. */
export type Scalar = string | number | bigint | boolean | null

/**
 * What computes the rows of derived tables: DuckDB in this process, or Spark in a cluster. The runtime decides which step is
 * due and over which files, and commits what came of it; an engine only runs SQL. It never sees the log, and changes nothing
 * in the lake: files that it wrote are rows of nothing until the runtime commits them, so a step can be repeated at any time.
 */
export interface Engine {
  readonly name: EngineName
  readonly dialect: Dialect
  /** Runs the work of one step. Whatever the engine made for it (kept tables, staged files) is released at its end. */
  step<T>(work: (step: EngineStep) => Promise<T>): Promise<T>
}

/**
 * An engine at work on one step. SQL that it is handed is in its dialect, names what it reads by relations of this step, and is
 * run as UTC. Errors: `invalid`/`bad-sql` about the SQL or the values, `unavailable` when the engine is out of reach or memory.
 */
export interface EngineStep {
  readonly dialect: Dialect
  /** About how many rows it reads in the time that one more subquery of a statement takes by itself. */
  readonly subqueryRows: number
  /**
   * SQL of a table expression: the rows of exactly these files in the table's present columns, whichever they had when the file
   * was written. With `fileColumn`, a column of that name tells the path of the file that a row is in.
   */
  relation(table: LakeTable, files: readonly DataFile[], fileColumn?: string): Promise<string>
  /** All rows of a query; for few rows of scalars. Whole numbers may come as number or bigint. */
  rows(sql: string): Promise<Record<string, Scalar>[]>
  /** Columns and types of a query. */
  describe(sql: string): Promise<Field[]>
  /** Whether a query treats each row by itself, or joins rows (inner joins) besides; undefined when it does anything else, or nobody can tell. */
  shapeOf(sql: string): Promise<QueryShape | undefined>
  /** Computes a query once; the table expression that is returned names its rows until the step ends. `name` is for people. */
  keep(name: string, sql: string): Promise<string>
  /**
   * Writes the rows of a query, which has the table's columns and types, as data files of the table that nothing refers to yet:
   * with its field ids, spread over its partitions. They go to the table's own place, or to a directory that exists.
   */
  write(table: LakeTable, sql: string, directory?: string): Promise<DataFile[]>
}

export type QueryShape = 'by row' | 'joined'

import { join } from 'node:path'
import { quoteIdentifier } from '../base/identifier.ts'
import type { ParameterValues } from '../engine/duckdb/bind.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { parquetRelation } from '../engine/duckdb/parquet.ts'
import { type RowForm, takeRows } from '../engine/duckdb/take-rows.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { LakeTable } from '../lake/table.ts'
import type { IdentifiedField } from '../project/columns.ts'
import type { Disk } from '../storage/disk.ts'
import { type ChangePosition, writePosition } from './change-position.ts'
import { Comparisons, GONE } from './comparisons.ts'

export interface ChangeQuestion<T> {
  /** What rows are made into. */
  readonly form: RowForm<T>
  /** Columns to give; all without. */
  readonly columns?: readonly IdentifiedField[]
  /** SQL conditions on the columns, all of which hold, and their parameters. */
  readonly conditions?: readonly string[]
  readonly parameters?: ParameterValues
  /** A page ends with the row that reaches one of these. */
  readonly rowsMax: number
  readonly bytesMax: number
}

export interface ChangedRow<T> {
  /** The row is gone: with its change it is in the dataset once less. */
  readonly removed: boolean
  readonly row: T
  /** The position after this row. */
  readonly after: string
}

export interface ChangePage<T> {
  /** The snapshot whose publication brought the rows. */
  readonly snapshot: bigint
  /** Removed rows of a change come first. */
  readonly rows: readonly ChangedRow<T>[]
  readonly next: ChangePosition
}

/** A file of a change, rows in their order. */
interface ChangeFile {
  readonly path: string
  readonly records: number
  /** Its rows are marked as come or gone, beside the dataset's own columns. */
  readonly compared: boolean
}

/**
 * What the publications of datasets changed, row by row and in pages, from any position. Each publication is one change,
 * whatever its size: its rows have a fixed order (of files by path and rows in them; where files were replaced, of the
 * rows themselves), so a position means the same to everybody and after a restart.
 */
export class ChangeFeed {
  readonly #database: Database
  readonly #tableOf: (dataset: string) => LakeTable
  readonly #comparisons: Comparisons

  constructor(options: {
    readonly database: Database
    readonly disk: Disk
    readonly temporary: string
    tableOf(dataset: string): LakeTable
  }) {
    this.#database = options.database
    this.#tableOf = (dataset) => options.tableOf(dataset)
    this.#comparisons = new Comparisons({ ...options, directory: join(options.temporary, 'changes') })
  }

  /** The position after all that is published now. */
  present(dataset: string): ChangePosition {
    return { done: this.#tableOf(dataset).snapshot('main')?.id ?? 0n }
  }

  /**
   * The next rows after a position: undefined when nothing newer is published, 'lost' when what came next can no longer be
   * told, because snapshots expired or the dataset was made anew. A page may be empty; `next` goes on all the same.
   */
  async page<T>(
    dataset: string,
    position: ChangePosition,
    question: ChangeQuestion<T>,
  ): Promise<ChangePage<T> | 'lost' | undefined> {
    const table = this.#tableOf(dataset)
    const main = table.snapshot('main')
    const { done, into } = position
    if (into === undefined && done === (main?.id ?? 0n)) return undefined
    if (!main) return 'lost'
    const to = into?.to ?? (done === 0n ? main.id : successor(table.published(), done))
    try {
      return await this.#read(table, { done, into: { to, row: into?.row ?? 0 } }, question)
    } catch (error) {
      // The files of a snapshot go with it.
      if (table.snapshot(to) === undefined) return 'lost'
      throw error
    }
  }

  async #read<T>(
    table: LakeTable,
    { done, into }: Required<ChangePosition>,
    question: ChangeQuestion<T>,
  ): Promise<ChangePage<T> | 'lost'> {
    const target = table.snapshot(into.to)
    // A candidate that awaits its audit is nobody's to read, whoever knows its id.
    if (!target || !table.published().includes(into.to)) return 'lost'
    const changes =
      done === 0n ? { added: await table.files(target), removed: [] } : await table.changes({ id: done }, target)
    if (!changes) return 'lost'
    const end = { snapshot: target.id, next: { done: target.id } }
    if (changes.removed.length === 0) {
      const read = await this.#rows(table, appended(changes.added), { done, into }, question)
      return { ...end, ...read }
    }
    return this.#comparisons.use(table, { done, to: target.id }, changes, async (file) => {
      const files = file === undefined ? [] : [{ ...file, compared: true }]
      return { ...end, ...(await this.#rows(table, files, { done, into }, question)) }
    })
  }

  /** Rows of files from a position on; with `next` when they are not all. */
  async #rows<T>(
    table: LakeTable,
    files: readonly ChangeFile[],
    { done, into }: Required<ChangePosition>,
    question: ChangeQuestion<T>,
  ): Promise<{ rows: ChangedRow<T>[]; next?: ChangePosition }> {
    const rows: ChangedRow<T>[] = []
    const at = (row: number): ChangePosition => ({ done, into: { to: into.to, row } })
    let bytes = 0
    let first = 0
    for (const file of files) {
      const skip = Math.max(0, into.row - first)
      if (skip < file.records) {
        const room = question.rowsMax - rows.length
        const query = fileQuery(table, file, skip, question)
        let taken = 0
        let full = false
        const found = await takeRows(this.#database, query, positioned(question.form), (row) => {
          bytes += row.bytes
          full = ++taken >= room || bytes >= question.bytesMax
          return full
        })
        for (const { index, removed, row } of found) {
          rows.push({ removed, row, after: writePosition(at(first + index + 1)) })
        }
        const last = found.at(-1)
        if (full && last) {
          const reached = first + last.index + 1
          const total = files.reduce((sum, { records }) => sum + records, 0)
          if (reached < total) return { rows, next: at(reached) }
          return { rows }
        }
      }
      first += file.records
    }
    return { rows }
  }
}

/** Files of rows that were only added, in an order that does not depend on who lists them. */
function appended(files: readonly DataFile[]): ChangeFile[] {
  return files
    .map(({ path, records }) => ({ path, records, compared: false }))
    .toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}

/** What was published next; the newest where the log no longer tells. */
function successor(published: readonly bigint[], done: bigint): bigint {
  const at = published.lastIndexOf(done)
  return published[at === -1 ? published.length - 1 : at + 1]!
}

/** Rows of one file from some row on, in their order: the row's number, whether it is gone, and the columns asked for. */
function fileQuery<T>(table: LakeTable, file: ChangeFile, skip: number, question: ChangeQuestion<T>) {
  const fields = file.compared ? [...table.fields, GONE] : table.fields
  const relation = `${parquetRelation([file.path], fields).slice(0, -1)}, file_row_number = true)`
  // As in `…/rows`: json is text in the lake, and a value in an answer.
  const columns = (question.columns ?? table.fields).map(({ name, type }) => {
    const column = quoteIdentifier(name)
    return type.kind === 'json' ? `${column}::json AS ${column}` : column
  })
  const gone = file.compared ? quoteIdentifier(GONE.name) : 'false'
  const conditions = [`file_row_number >= ${skip}`, ...(question.conditions ?? [])]
  return {
    sql: `SELECT file_row_number, ${gone}, ${columns.join(', ')} FROM ${relation} WHERE ${conditions.join(' AND ')} LIMIT ${question.rowsMax}`,
    parameters: question.parameters ?? {},
  }
}

/** The form of the columns asked for, behind the two that come first. */
function positioned<T>(form: RowForm<T>): RowForm<{ index: number; removed: boolean; row: T }> {
  return (names, types) => {
    const rest = form(names.slice(2), types.slice(2))
    return (cells) => {
      const { row, bytes } = rest(cells.slice(2))
      return { row: { index: Number(cells[0]), removed: cells[1] === true, row }, bytes }
    }
  }
}

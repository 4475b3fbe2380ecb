import { join } from 'node:path'
import { quoteIdentifier } from '../../base/identifier.ts'
import type { ParameterValues } from '../../engine/duckdb/bind.ts'
import type { Database } from '../../engine/duckdb/database.ts'
import { parquetRelation } from '../../engine/duckdb/parquet.ts'
import { type RowForm, takeRows } from '../../engine/duckdb/take-rows.ts'
import type { Changes } from '../../lake/changes.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { IdentifiedField } from '../../project/columns.ts'
import type { Disk } from '../../storage/disk.ts'
import { type ChangePosition, writePosition } from './change-position.ts'
import { Comparisons, GONE } from './comparisons.ts'
import { holding } from '../warehouse.ts'

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

/** What one publication changed, from snapshot `done` to snapshot `to`, and how many of its rows are behind us. */
interface Change {
  readonly done: bigint
  readonly to: bigint
  readonly row: number
  readonly files: Changes
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
    const step = await changeAt(table, position)
    if (step === undefined || step === 'lost') return step
    try {
      return await this.#read(table, step, question)
    } catch (error) {
      // Files go with the last snapshot that needs them.
      if (await areGone(table, step.files)) return 'lost'
      throw error
    }
  }

  async #read<T>(table: LakeTable, change: Change, question: ChangeQuestion<T>): Promise<ChangePage<T>> {
    if (change.files.removed.length === 0) return this.#rows(table, change, appended(change.files.added), question)
    return this.#comparisons.use(table, { done: change.done, to: change.to }, change.files, (file) =>
      this.#rows(table, change, file === undefined ? [] : [{ ...file, compared: true }], question),
    )
  }

  /** A page of a change whose rows are in these files, one after the other. */
  async #rows<T>(
    table: LakeTable,
    { done, to, row: from }: Change,
    files: readonly ChangeFile[],
    question: ChangeQuestion<T>,
  ): Promise<ChangePage<T>> {
    const at = (row: number): ChangePosition => ({ done, into: { to, row } })
    const rows: ChangedRow<T>[] = []
    let bytes = 0
    let first = 0
    for (const file of files) {
      const skip = Math.max(0, from - first)
      if (skip < file.records) {
        const room = question.rowsMax - rows.length
        const found = await holding(table, async (hold) => {
          await hold.add([file])
          const query = fileQuery(table, file, skip, { ...question, rowsMax: room })
          return takeRows(this.#database, query, positioned(question.form), (row) => {
            bytes += row.bytes
            return bytes >= question.bytesMax
          })
        })
        for (const { index, removed, row } of found)
          rows.push({ removed, row, after: writePosition(at(first + index + 1)) })
        const isFull = rows.length === question.rowsMax || bytes >= question.bytesMax
        if (isFull) return { snapshot: to, rows, next: at(first + found.at(-1)!.index + 1) }
      }
      first += file.records
    }
    return { snapshot: to, rows, next: { done: to } }
  }
}

async function areGone(table: LakeTable, { added, removed }: Changes): Promise<boolean> {
  for (const file of [...added, ...removed]) if (!(await table.holds(file))) return true
  return false
}

/** The change that comes after a position, or that it is in. */
async function changeAt(table: LakeTable, { done, into }: ChangePosition): Promise<Change | 'lost' | undefined> {
  const main = table.snapshot('main')
  if (into === undefined && done === (main?.id ?? 0n)) return undefined
  const published = table.published()
  const to = into?.to ?? (done === 0n ? main?.id : successor(published, done))
  // A candidate that awaits its audit is nobody's to read, whoever knows its id.
  const target = to !== undefined && published.includes(to) ? table.snapshot(to) : undefined
  if (!target) return 'lost'
  const files =
    done === 0n ? { added: await table.files(target), removed: [] } : await table.changes({ id: done }, target)
  return files ? { done, to: target.id, row: into?.row ?? 0, files } : 'lost'
}

/** Files of rows that were only added, in an order that does not depend on who lists them. */
function appended(files: readonly DataFile[]): ChangeFile[] {
  return files
    .map(({ path, records }) => ({ path, records, compared: false }))
    .toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}

/** What was published next; the newest where the log no longer tells. */
function successor(published: readonly bigint[], done: bigint): bigint | undefined {
  const at = published.lastIndexOf(done)
  return published[at === -1 ? published.length - 1 : at + 1]
}

/** Rows of one file from some row on, in their order: the row's number, whether it is gone, and the columns asked for. */
function fileQuery<T>(table: LakeTable, file: ChangeFile, skip: number, question: ChangeQuestion<T>) {
  const fields = file.compared ? [...table.fields, GONE] : table.fields
  const relation = `${parquetRelation([table.local.pathOf(file.path)], fields).slice(0, -1)}, file_row_number = true)`
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

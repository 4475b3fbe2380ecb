import { quoteIdentifier } from '../../base/identifier.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Database } from '../../engine/duckdb/database.ts'
import { copyToParquet } from '../../engine/duckdb/parquet.ts'
import type { Changes } from '../../lake/changes.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { IdentifiedField } from '../../project/columns.ts'
import type { Disk } from '../../storage/disk.ts'
import { holding, relationOf } from '../warehouse.ts'

/** Marks rows that are gone. The name is none that a column can have. */
export const GONE: IdentifiedField = { id: 2 ** 30, name: '#gone', type: { kind: 'boolean' }, nullable: false }

/** Comparisons kept, so that all who follow a dataset share one; each is a file on the disk, nothing in memory. */
const KEPT_MAX = 32

/** A page is read from somewhere in the file: what is skipped is a part of one group. */
const ROW_GROUP_ROWS = 16_384

interface Comparison {
  readonly file: Promise<ComparedFile | undefined>
  users: number
}

export interface ComparedFile {
  readonly path: string
  readonly records: number
}

/**
 * Changes that replaced files, compared row by row: a row that a removed file held and an added one holds again is no
 * change. What is left goes to a file, gone rows first, each side in the order of its values; the engine spills, so memory
 * does not grow with the change.
 */
export class Comparisons {
  readonly #database: Database
  readonly #disk: Disk
  readonly #directory: string
  readonly #kept = new Map<string, Comparison>()
  /** One after the other: each may take all the memory the engine has. */
  readonly #queue = new SerialQueue()

  constructor(options: { readonly database: Database; readonly disk: Disk; readonly directory: string }) {
    this.#database = options.database
    this.#disk = options.disk
    this.#directory = options.directory
  }

  /** Runs work over the file of a comparison, which stays meanwhile; over undefined when no row changed. */
  async use<T>(
    table: LakeTable,
    range: { readonly done: bigint; readonly to: bigint },
    changes: Changes,
    work: (file: ComparedFile | undefined) => Promise<T>,
  ): Promise<T> {
    const key = `${table.id.namespace}.${table.id.name} ${range.done} ${range.to}`
    const comparison = this.#kept.get(key) ?? this.#begin(key, table, changes)
    // The newest last.
    this.#kept.delete(key)
    this.#kept.set(key, comparison)
    comparison.users++
    try {
      return await work(await comparison.file)
    } finally {
      comparison.users--
      await this.#forget()
    }
  }

  #begin(key: string, table: LakeTable, changes: Changes): Comparison {
    const file = this.#queue.run(() => this.#compare(table, changes))
    // One that failed is tried again by whoever asks next.
    file.catch(() => this.#kept.delete(key))
    return { file, users: 0 }
  }

  async #forget(): Promise<void> {
    for (const [key, { file, users }] of this.#kept) {
      if (this.#kept.size <= KEPT_MAX) return
      if (users > 0) continue
      this.#kept.delete(key)
      const path = (await file)?.path
      if (path !== undefined) await this.#disk.remove(path)
    }
  }

  async #compare(table: LakeTable, { added, removed }: Changes): Promise<ComparedFile | undefined> {
    await this.#disk.makeDirectory(this.#directory)
    return holding(table, async (hold) => {
      const [after, before] = [await relationOf(table, added, hold), await relationOf(table, removed, hold)]
      return this.#difference(table, after, before)
    })
  }

  async #difference(table: LakeTable, after: string, before: string): Promise<ComparedFile | undefined> {
    const columns = table.fields.map((field) => quoteIdentifier(field.name)).join(', ')
    const side = (rows: string, count: number) => `SELECT ${columns}, ${count} AS "#n" FROM ${rows}`
    const counted = `SELECT ${columns}, sum("#n")::BIGINT AS "#n" FROM (${side(after, 1)} UNION ALL ${side(before, -1)}) GROUP BY ${columns} HAVING sum("#n") <> 0`
    const each = `SELECT ${columns}, "#n" < 0 AS ${quoteIdentifier(GONE.name)}, unnest(range(abs("#n"))) AS "#copy" FROM (${counted})`
    const [file] = await this.#database.use((connection) =>
      copyToParquet(
        connection,
        `SELECT ${columns}, ${quoteIdentifier(GONE.name)} FROM (${each}) ORDER BY ${quoteIdentifier(GONE.name)} DESC, ${columns}`,
        { directory: this.#directory, fields: [...table.fields, GONE], hot: true, rowGroupRows: ROW_GROUP_ROWS },
      ),
    )
    return file && { path: file.path, records: file.records }
  }
}

import { DuckDBInstance } from '@duckdb/node-api'
import { expect } from 'vitest'
import { Lake } from '../../src/lake/lake.ts'
import { readRecord } from '../../src/runtime/record.ts'
import { LAYERS } from '../../src/runtime/warehouse.ts'
import { ROW_TEXT, STREAMS, type StreamName, TABLE_QUESTIONS } from './ledger-project.ts'
import type { Found } from './ledger.ts'

/**
 * The lake of a ledger project as any reader sees it: the files of the published snapshots, read by a DuckDB that knows nothing of
 * the runtime.
 */
export class LedgerLake {
  readonly #lake: Lake

  /** A lake, or the data directory of one. */
  constructor(lake: Lake | string) {
    this.#lake = typeof lake === 'string' ? new Lake({ root: `${lake}/lake` }) : lake
  }

  /** What a stream has published. */
  async found(stream: StreamName): Promise<Found> {
    const table = (await this.#lake.load({ namespace: LAYERS.stream, name: stream }))!
    await table.refresh()
    const [rows, refused] = await this.#query([
      `SELECT ${ROW_TEXT[stream]} AS text FROM ${await this.#relation(LAYERS.stream, stream)}`,
      `SELECT raw AS text FROM ${await this.#relation(LAYERS.quarantine, stream)}`,
    ])
    const main = table.snapshot('main')
    const counts = (main && readRecord(main.summary)?.counts) ?? NOTHING
    return { rows: rows!.map(textOf), refused: refused!.map(textOf), counts }
  }

  /** Every table equals the question asked of the streams directly. */
  async expectTablesRight(where: string): Promise<void> {
    const streams = new Map<string, string>()
    for (const stream of STREAMS) streams.set(stream, await this.#relation(LAYERS.stream, stream))
    for (const [name, question] of Object.entries(TABLE_QUESTIONS)) {
      const direct = question.replace(/\{(\w+)\}/g, (_, stream: string) => streams.get(stream)!)
      const published = `SELECT * FROM ${await this.#relation(LAYERS.table, name)}`
      const [lost, extra] = await this.#query([
        `SELECT * FROM (${direct}) EXCEPT ALL ${published} LIMIT 5`,
        `SELECT * FROM (${published}) EXCEPT ALL (${direct}) LIMIT 5`,
      ])
      expect({ lost, extra }, `${where}: ${name}`).toEqual({ lost: [], extra: [] })
    }
  }

  /** How many processes have committed rows to a table. */
  async committers(name: string): Promise<number> {
    const table = (await this.#lake.load({ namespace: LAYERS.table, name }))!
    await table.refresh()
    const made = table.history().filter(({ summary }) => Number(summary['added-records']) > 0)
    return new Set(made.map(({ summary }) => readRecord(summary)?.run)).size
  }

  /** Rows of a table as text, by an expression over its columns, in the order of the file that each is in; and what was refused. */
  async foundByFile(name: string, text: string): Promise<Found & { readonly files: readonly (readonly string[])[] }> {
    const table = (await this.#lake.load({ namespace: LAYERS.table, name }))!
    await table.refresh()
    const main = table.snapshot('main')!
    const paths = (await table.files(main)).map(({ path }) => path)
    const read = paths.map((path) => `SELECT ${text} AS text FROM read_parquet('${path}')`)
    const refused = `SELECT raw AS text FROM ${await this.#relation(LAYERS.quarantine, name)}`
    const [left, ...rows] = await this.#query([refused, ...read])
    const files = rows.map((file) => file.map(textOf))
    const counts = readRecord(main.summary)?.counts ?? NOTHING
    return { rows: files.flat(), refused: left!.map(textOf), counts, files }
  }

  async #relation(namespace: string, name: string): Promise<string> {
    const table = await this.#lake.load({ namespace, name })
    await table?.refresh()
    const main = table?.snapshot('main')
    const files = table && main ? await table.files(main) : []
    if (table && files.length > 0) {
      // As long as this process runs.
      await table.local.hold().add(files)
      return `read_parquet([${files.map(({ path }) => `'${table.local.pathOf(path)}'`).join(', ')}])`
    }
    const columns = table?.fields.map((field) => `NULL AS "${field.name}"`) ?? ['NULL AS raw']
    return `(SELECT ${columns.join(', ')} WHERE false)`
  }

  async #query(statements: readonly string[]): Promise<Record<string, unknown>[][]> {
    const instance = await DuckDBInstance.create(':memory:')
    const connection = await instance.connect()
    try {
      await connection.run("SET TimeZone = 'UTC'")
      const answers: Record<string, unknown>[][] = []
      for (const sql of statements) answers.push((await connection.runAndReadAll(sql)).getRowObjectsJson())
      return answers
    } finally {
      connection.closeSync()
      instance.closeSync()
    }
  }
}

const NOTHING = { received: 0, accepted: 0, duplicates: 0, quarantined: 0 }

function textOf(row: Record<string, unknown>): string {
  return String(row['text'])
}

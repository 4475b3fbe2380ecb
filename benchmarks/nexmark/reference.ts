import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { join } from 'node:path'
import { Lake } from '../../src/lake/lake.ts'
import { LAYERS, relationOf } from '../../src/runtime/warehouse.ts'
import { difference, digest } from './difference.ts'
import type { StreamName } from './generator.ts'
import { ORACLE, views } from './oracle.ts'

const RUNS = 3
const ENOUGH_MS = 3_000

/** Of two relations, what of each is compared. */
export type Narrowing = (both: { found: string; expected: string }) => { found: string; expected: string }

interface Timed {
  readonly seconds: number
  readonly cpuSeconds: number
}

/** The reference: DuckDB on two threads over the files that are posted. */
export class Reference {
  readonly #instance: DuckDBInstance
  readonly #connection: DuckDBConnection
  readonly #result: string
  readonly #stored = new Map<StreamName, number>()

  private constructor(instance: DuckDBInstance, connection: DuckDBConnection, result: string) {
    this.#instance = instance
    this.#connection = connection
    this.#result = result
  }

  static async over(directory: string): Promise<Reference> {
    const instance = await DuckDBInstance.create(':memory:', { threads: '2', temp_directory: join(directory, 'spill') })
    const connection = await instance.connect()
    await connection.run("SET TimeZone = 'UTC'")
    for (const view of views(directory)) await connection.run(view)
    return new Reference(instance, connection, join(directory, 'reference.parquet'))
  }

  /**
   * One bulk statement that writes a query's result as Parquet: seconds by the clock, the median of three runs (fewer when
   * they are long), and of processors.
   */
  run(query: string): Promise<Timed> {
    return this.#time(ORACLE[query]!)
  }

  /** Seconds in which streams are stored whole, as Parquet: what the bulk statements leave out. */
  async store(streams: readonly StreamName[]): Promise<number> {
    let seconds = 0
    for (const stream of streams) {
      const stored = this.#stored.get(stream) ?? (await this.#time(`FROM ${stream}`)).seconds
      this.#stored.set(stream, stored)
      seconds += stored
    }
    return seconds
  }

  async #time(sql: string): Promise<Timed> {
    const runs: Timed[] = []
    const begun = performance.now()
    while (runs.length < RUNS && (runs.length === 0 || performance.now() - begun < ENOUGH_MS)) {
      const cpu = process.cpuUsage()
      const start = performance.now()
      await this.#connection.run(`COPY (${sql}) TO '${this.#result}' (FORMAT parquet, COMPRESSION zstd)`)
      const seconds = (performance.now() - start) / 1_000
      const { user, system } = process.cpuUsage(cpu)
      runs.push({ seconds, cpuSeconds: (user + system) / 1e6 })
    }
    return runs.sort((a, b) => a.seconds - b.seconds)[Math.floor((runs.length - 1) / 2)]!
  }

  /**
   * The rows of a query in the lake of a data directory that nobody writes; throws unless they are those of the last run, both
   * narrowed to what can be compared.
   */
  async expectEqual(query: string, data: string, narrow: Narrowing = (both) => both): Promise<number> {
    const table = await new Lake({ root: join(data, 'lake') }).load({ namespace: LAYERS.table, name: query })
    const main = table?.snapshot('main')
    if (!table || !main) throw new Error(`${query} has published nothing`)
    const published = await relationOf(table, await table.files(main), table.local.hold())
    const { found, expected } = narrow({ found: published, expected: `read_parquet('${this.#result}')` })
    const rows = await digest(this.#connection, found, expected)
    if (rows !== (await digest(this.#connection, expected))) {
      const { missing, extra, examples } = await difference(this.#connection, found, `FROM ${expected}`)
      throw new Error(`${query} is wrong: ${missing} rows are missing, ${extra} too many:\n${examples.join('\n')}`)
    }
    return Number(rows.split(' ')[0])
  }

  close(): void {
    this.#connection.closeSync()
    this.#instance.closeSync()
  }
}

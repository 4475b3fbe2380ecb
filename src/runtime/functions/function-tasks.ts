import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { durationMs } from '../../base/duration.ts'
import { asMillraceError } from '../../base/errors.ts'
import { quoteLiteral } from '../../base/identifier.ts'
import type { Database } from '../../engine/duckdb/database.ts'
import { jsonColumns, rowJson } from '../../engine/duckdb/json-row.ts'
import type { Field } from '../../project/columns.ts'
import type { Table } from '../../project/table.ts'
import { CALL_DEFAULTS, ORIGIN_COLUMNS, type Transform } from '../../project/transform.ts'
import { CIRCUIT_OPEN, circuitOpen } from './function-calls.ts'
import { type LineRange, TASK_BYTES, type TaskReport } from './function-messages.ts'
import type { FunctionPool } from './function-pool.ts'
import { lineRanges } from './line-file.ts'
import { digestOf } from './source-digest.ts'

export interface FunctionTasksOptions {
  readonly table: Table
  readonly transform: Transform
  readonly code: string
  readonly database: Database
  readonly clock: Clock
  readonly pool: FunctionPool
  /** For files that live as long as a step. */
  readonly temporary: string
}

/** Tasks whose results are written to the lake together: what bounds the temporary files of results. */
const ROUND_TASKS = 64

/** Gives the work of a table's functions to threads, in tasks that take lines from files and leave lines in files. */
export class FunctionTasks {
  readonly #options: FunctionTasksOptions
  readonly #timeoutMs: number
  readonly #digest: string
  #steps = 0
  /** While the circuit is open nothing is called. */
  #restUntil = -Infinity
  #trial = false

  constructor(options: FunctionTasksOptions) {
    this.#options = options
    this.#timeoutMs = durationMs(options.transform.options.timeout ?? CALL_DEFAULTS.timeout, 'timeout')
    const { place } = options.table
    this.#digest = place === undefined ? '' : digestOf(place.file)
  }

  /** Runs work with a folder of its own. */
  async inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
    const { temporary, table } = this.#options
    const folder = join(temporary, `${table.name}-${++this.#steps}`)
    await mkdir(folder, { recursive: true })
    try {
      return await work(folder)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** Writes the rows of a query as lines for `call`, in the order of their records. Those that have none are numbered. */
  async writeInput(folder: string, query: string, fields: readonly Field[]): Promise<string> {
    const path = join(folder, 'input.ndjson')
    const origin = ORIGIN_COLUMNS.filter((name) => fields.some((field) => field.name === name))
    const named = origin.length > 0 ? origin.join(', ') : '0 AS _partition, row_number() OVER () - 1 AS _offset'
    const order = origin.length > 0 ? ` ORDER BY ${origin.join(', ')}` : ''
    await this.#options.database.execute(
      `COPY (SELECT ${named}, ${rowJson(rowFields(fields))} AS "row" FROM (${query})${order}) TO ${quoteLiteral(path)} (FORMAT json)`,
    )
    return path
  }

  /**
   * Calls the table's function for every line of a file. After so many tasks `write` gets the files that have results, in the
   * order of the lines; refused rows are left in `refused-*` of the folder.
   */
  async call(
    kind: 'apply' | 'pair',
    folder: string,
    input: string,
    fields: readonly Field[],
    write?: (files: readonly string[]) => Promise<void>,
  ): Promise<TaskReport> {
    const { table, code, clock } = this.#options
    if (clock.monotonic() < this.#restUntil) throw circuitOpen(table.name, 'it rests')
    const shared = { ...this.#task(), kind, fields: rowFields(fields), code, nowMs: clock.now() }
    try {
      const report = await this.#inRounds(folder, lineRanges(input, TASK_BYTES), write, (range, output, refused) => ({
        ...shared,
        input: range,
        output,
        refused,
        alone: false,
        lost: [],
        trial: this.#trial,
      }))
      this.#trial = false
      return report
    } catch (error) {
      this.#rest(error)
      throw error
    }
  }

  /** Reduces a file of pairs sorted by key. */
  reduce(
    folder: string,
    ranges: AsyncIterable<LineRange>,
    write: (files: readonly string[]) => Promise<void>,
  ): Promise<TaskReport> {
    const shared = { ...this.#task(), kind: 'reduce' } as const
    return this.#inRounds(folder, ranges, write, (input, output) => ({ ...shared, input, output }))
  }

  #task() {
    const { table } = this.#options
    return { table: table.name, file: table.place?.file, digest: this.#digest }
  }

  #rest(error: unknown): void {
    const { breaker } = this.#options.transform.options
    if (!breaker || asMillraceError(error).code !== CIRCUIT_OPEN) return
    this.#restUntil = this.#options.clock.monotonic() + durationMs(breaker.rest, 'breaker.rest')
    this.#trial = true
  }

  async #inRounds(
    folder: string,
    ranges: AsyncIterable<LineRange>,
    write: ((files: readonly string[]) => Promise<void>) | undefined,
    taskOf: (range: LineRange, output: string, refused: string) => Parameters<FunctionPool['run']>[0],
  ): Promise<TaskReport> {
    const { pool } = this.#options
    const total = { taken: 0, refused: 0 }
    let tasks: Promise<TaskReport>[] = []
    let writing = Promise.resolve()
    let number = 0
    const settle = async () => {
      for (const { taken, refused } of await Promise.all(tasks)) {
        total.taken += taken
        total.refused += refused
      }
      tasks = []
      await writing
      // Named before the next round begins, and written beside it; the one after waits.
      const files = write ? await resultsIn(folder) : []
      if (write && files.length > 0) writing = watched(writeResults(files, write))
    }
    try {
      for await (const range of ranges) {
        const name = String(number++).padStart(9, '0')
        const task = taskOf(range, join(folder, `${RESULT}${name}`), join(folder, `${REFUSED}${name}`))
        tasks.push(watched(pool.run(task, this.#timeoutMs)))
        if (tasks.length >= ROUND_TASKS) await settle()
      }
      await settle()
      await writing
      return total
    } finally {
      // Whatever failed, nothing writes into the folder any more once it goes.
      await Promise.allSettled([...tasks, writing])
    }
  }
}

const RESULT = 'result-'
const REFUSED = 'refused-'

async function writeResults(
  files: readonly string[],
  write: (files: readonly string[]) => Promise<void>,
): Promise<void> {
  await write(files)
  for (const file of files) await rm(file)
}

/** Work whose failure is told to whoever waits for it, later. */
function watched<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined)
  return work
}

/** Files of results in a folder, in the order of what they came of. */
export async function resultsIn(folder: string): Promise<string[]> {
  const names = await readdir(folder)
  return names
    .filter((name) => name.startsWith(RESULT))
    .sort()
    .map((name) => join(folder, name))
}

/** Pattern of the files of refused rows in a folder. */
export function refusedIn(folder: string): string {
  return join(folder, `${REFUSED}*`)
}

/** SQL giving the rows in files of results. */
export function resultRows(files: readonly string[], fields: readonly Field[]): string {
  return `SELECT * FROM read_ndjson([${files.map(quoteLiteral).join(', ')}], columns = ${jsonColumns(fields)})`
}

/** What functions get of a row: all but where it came from. */
function rowFields(fields: readonly Field[]): Field[] {
  return fields.filter(({ name }) => !(ORIGIN_COLUMNS as readonly string[]).includes(name))
}

import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { quoteLiteral } from '../../base/identifier.ts'
import { describe } from '../../engine/duckdb/describe.ts'
import { copyToParquet } from '../../engine/duckdb/parquet.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Field } from '../../project/columns.ts'
import { ORIGIN_COLUMNS } from '../../project/transform.ts'
import { quarantineSelect } from '../../quality/quarantine.ts'
import { duckdbEngine } from '../duckdb-engine.ts'
import type { TaskReport } from './function-messages.ts'
import { FunctionTasks, type FunctionTasksOptions, refusedIn, resultRows } from './function-tasks.ts'
import { reduceSorted } from './map-reduce.ts'
import { type Counts, NO_COUNTS, type StepRecord, addCounts, readRecord, recordSummary } from '../record.ts'
import { rewriteWithout } from '../tables/rewrite.ts'
import { holding, localDataDirectory, relationOf, toDataFiles } from '../warehouse.ts'

export interface TransformRunnerOptions extends FunctionTasksOptions {
  /** The table's columns, with those of the origin. */
  readonly fields: readonly Field[]
  /** Columns of the dataset that is read; undefined where a query selects. */
  readonly inputFields: readonly Field[] | undefined
  /** The quarantine of the table; undefined while there is none and none is to be made. */
  openQuarantine(create: boolean): Promise<LakeTable | undefined>
}

/** What a step of a table made by functions reads, and how it writes. */
export interface TransformStep {
  /** Selects the rows to take. */
  readonly query: string
  /** They are all there are; otherwise those that came since the last step. */
  readonly whole: boolean
  /** The record of the step that is published. */
  readonly base: StepRecord | undefined
  /** Writes the rows of a query as data files. */
  write(sql: string): Promise<DataFile[]>
  /** Where files go that are only compared. */
  readonly directory: string | undefined
}

/** What came of rows that were taken through the functions; nothing refers to the files yet. */
export interface Taken {
  readonly add: readonly DataFile[]
  readonly refused: readonly DataFile[]
  readonly counts: Counts
}

/** What a step made, beside its data files. */
export interface Transformed {
  readonly add: readonly DataFile[]
  readonly counts: Counts
  readonly steps: number
  readonly refused: RefusedChange
}

/** What changes in quarantine. */
export interface RefusedChange {
  readonly add: readonly DataFile[]
  /** Everything that was there goes, or the rows that meet a condition. */
  readonly remove: 'all' | 'none' | { readonly where: string }
}

/** Computes the rows of a table that functions make, and keeps its quarantine. */
export class TransformRunner {
  readonly #options: TransformRunnerOptions
  readonly #tasks: FunctionTasks
  #quarantine: LakeTable | undefined

  constructor(options: TransformRunnerOptions) {
    this.#options = options
    this.#tasks = new FunctionTasks(options)
  }

  /** Finds the quarantine that is there. */
  async open(): Promise<this> {
    this.#quarantine = await this.#options.openQuarantine(false)
    return this
  }

  /** The quarantine table, when there is one. */
  get quarantine(): LakeTable | undefined {
    return this.#quarantine
  }

  /** Takes the rows of a query through the functions. */
  async take({ query, write, directory }: Pick<TransformStep, 'query' | 'write' | 'directory'>): Promise<Taken> {
    const fields = this.#options.inputFields ?? (await describe(this.#options.database, query))
    return this.#tasks.inFolder(async (folder) => {
      const input = await this.#tasks.writeInput(folder, query, fields)
      return this.#compute(folder, input, fields, { write, directory })
    })
  }

  async run(step: TransformStep): Promise<Transformed> {
    const { add, refused, counts: fresh } = await this.take(step)
    const { counts = NO_COUNTS, steps = 0 } = step.base ?? {}
    return {
      add,
      counts: step.whole ? fresh : addCounts(counts, fresh),
      steps: steps + 1,
      refused: { add: refused, remove: step.whole ? 'all' : 'none' },
    }
  }

  /** Takes the refused rows that meet a condition through the present code again. */
  async rerun(
    where: string,
    step: Omit<TransformStep, 'query' | 'whole'>,
  ): Promise<Transformed & { readonly fresh: Counts }> {
    const quarantine = await this.#current(step.base?.steps ?? 0)
    const { add, refused, counts: fresh } = await this.retake(quarantine, where, step)
    const { counts = NO_COUNTS, steps = 0 } = step.base ?? {}
    return {
      add,
      fresh,
      counts: withoutRefused(counts, fresh),
      steps: steps + 1,
      refused: { add: refused, remove: { where } },
    }
  }

  /** The same, of the quarantine as it is: changes nothing there. */
  async retake(
    quarantine: LakeTable | undefined,
    where: string,
    step: Pick<TransformStep, 'write' | 'directory'>,
  ): Promise<Taken> {
    const { inputFields, database } = this.#options
    const files = quarantine ? await liveFiles(quarantine) : []
    const rows =
      files.length === 0
        ? []
        : await holding(quarantine!, async (hold) =>
            database.rows(
              `SELECT raw, _partition, _offset FROM ${await relationOf(quarantine!, files, hold)} WHERE (${where}) ORDER BY _partition, _offset`,
            ),
          )
    return this.#tasks.inFolder(async (folder) => {
      const input = join(folder, 'input.ndjson')
      const file = await open(input, 'w')
      for (const { raw, _partition, _offset } of rows) {
        const [, index = '', row] = /^\{(?:("_index":\d+,))?(.*)$/s.exec(String(raw))!
        await file.write(`{"_partition":${String(_partition)},"_offset":${String(_offset)},${index}"row":{${row!}}\n`)
      }
      await file.close()
      return this.#compute(folder, input, inputFields!, step)
    })
  }

  async #compute(
    folder: string,
    input: string,
    fields: readonly Field[],
    step: Pick<TransformStep, 'write' | 'directory'>,
  ): Promise<Taken> {
    const { transform, database } = this.#options
    const add: DataFile[] = []
    const write = async (files: readonly string[]) => {
      add.push(...(await step.write(`${resultRows(files, this.#options.fields)}${this.#order}`)))
    }
    let report: TaskReport
    if (transform.call === 'mapReduce') {
      report = await this.#tasks.call('pair', folder, input, fields)
      await rm(input)
      await reduceSorted({ folder, tasks: this.#tasks, database, write })
    } else {
      report = await this.#tasks.call('apply', folder, input, fields, write)
    }
    const { taken: received, refused: quarantined } = report
    return {
      add,
      refused: quarantined === 0 ? [] : await this.#writeRefused(folder, step.directory),
      counts: { ...NO_COUNTS, received, accepted: received - quarantined, quarantined },
    }
  }

  /** Rows of the same record stay together, in the order they were given. */
  get #order(): string {
    const origin = ORIGIN_COLUMNS.filter((name) => this.#options.fields.some((field) => field.name === name))
    return origin.length === 0 ? '' : ` ORDER BY ${origin.join(', ')}`
  }

  /** Each partition's in a file of its own: whoever has the partition next can tell them apart. */
  async #writeRefused(folder: string, directory: string | undefined): Promise<DataFile[]> {
    const quarantine = (this.#quarantine ??= (await this.#options.openQuarantine(true))!)
    const rows = quarantineSelect(refusedIn(folder))
    const { database } = this.#options
    const partitions = await database.rows(`SELECT DISTINCT _partition FROM (${rows}) ORDER BY _partition`)
    const options = { directory: directory ?? localDataDirectory(quarantine), fields: quarantine.fields }
    const written = []
    for (const { _partition } of partitions) {
      const own = `SELECT * FROM (${rows}) WHERE _partition = ${String(_partition)}`
      written.push(...(await database.use((connection) => copyToParquet(connection, own, options))))
    }
    return toDataFiles(quarantine, written)
  }

  /**
   * Commits what a step changes in quarantine, before the step itself is committed: after a crash between the two, quarantine is
   * ahead of the table, and the next step takes that back.
   */
  async commitRefused(record: StepRecord, change: RefusedChange): Promise<void> {
    const quarantine = await this.#current((record.steps ?? 1) - 1)
    if (!quarantine) return
    const gone =
      change.remove === 'none'
        ? { add: [], remove: [] }
        : change.remove === 'all'
          ? { add: [], remove: (await liveFiles(quarantine)).map(({ path }) => path) }
          : await this.refusedWithout(quarantine, change.remove.where)
    const add = [...change.add, ...gone.add]
    if (add.length + gone.remove.length === 0) return
    await quarantine.commit({
      operation: gone.remove.length > 0 ? 'overwrite' : 'append',
      add,
      remove: gone.remove,
      summary: recordSummary(record),
    })
  }

  /** What takes the refused rows that meet a condition out of quarantine. */
  async refusedWithout(quarantine: LakeTable, where: string): Promise<{ add: DataFile[]; remove: string[] }> {
    const live = await liveFiles(quarantine)
    return duckdbEngine(this.#options.database).step((step) => rewriteWithout(step, quarantine, live, where))
  }

  /** The quarantine as it was after so many steps. */
  async #current(steps: number): Promise<LakeTable | undefined> {
    const quarantine = this.#quarantine
    if (!quarantine) return undefined
    const isAhead = (snapshot: Snapshot) => (readRecord(snapshot.summary)?.steps ?? 0) > steps
    const history = quarantine.history()
    const last = history.at(-1)
    if (last && isAhead(last)) await quarantine.setRef('main', history.findLast((snapshot) => !isAhead(snapshot))?.id)
    return quarantine
  }
}

async function liveFiles(table: LakeTable): Promise<DataFile[]> {
  const snapshot = table.snapshot()
  return snapshot ? table.files(snapshot) : []
}

/** Counts once some of the refused rows have passed: `fresh` are those of taking them again. */
export function withoutRefused(counts: Counts, { accepted }: Counts): Counts {
  return { ...counts, accepted: counts.accepted + accepted, quarantined: counts.quarantined - accepted }
}

/** A condition for refused rows of one rule, or of any. */
export function ofRule(rule: string | undefined): string {
  return rule === undefined ? 'true' : `rule = ${quoteLiteral(rule)}`
}

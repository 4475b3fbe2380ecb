import { type Clock, systemClock } from '../base/clock.ts'
import { type CatalogAddress, catalogSettings, checkCatalog, tableName } from '../engine/spark/catalog.ts'
import { SPARK } from '../engine/spark/dialect.ts'
import { SparkSession } from '../engine/spark/session.ts'
import { shapeOf } from '../engine/spark/shape.ts'
import type { DataFile } from '../lake/data-file.ts'
import type { Lake } from '../lake/lake.ts'
import {
  adopt,
  keepAlive,
  scratchColumn,
  scratchInput,
  scratchKept,
  scratchOutput,
  sweepScratch,
} from '../lake/scratch.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Field } from '../project/columns.ts'
import type { Engine, EngineStep, QueryShape, Scalar } from './engine.ts'
import { dataDirectory } from './warehouse.ts'

export interface SparkEngineOptions {
  readonly lake: Lake
  /** `sc://host:port`. */
  readonly url: string
  readonly catalog: CatalogAddress
  /** How Spark reaches the lake's files, as settings of its catalog: `s3Files`. */
  readonly files?: Readonly<Record<string, string>>
  /** Further settings of the session. */
  readonly settings?: Readonly<Record<string, string>>
  readonly clock?: Clock
}

/** Scratch tables of which no step has told for so long are nobody's. */
const SCRATCH_AGE_MS = 24 * 3_600_000
/** How often a step tells that it uses its own. */
const ALIVE_MS = 600_000

/**
 * Spark as the engine of derived tables. A step's inputs are scratch tables of exactly the files that it was given, and what it
 * writes goes to a scratch table whose files the runtime adopts: Spark commits nothing of the project's, so a step during
 * which it died is simply done again.
 */
export class SparkEngine implements Engine {
  readonly name = 'spark'
  readonly dialect = SPARK
  readonly #options: SparkEngineOptions
  #session: Promise<SparkSession> | undefined

  constructor(options: SparkEngineOptions) {
    this.#options = options
  }

  /**
   * Connects, and looks whether Spark has what it needs; nothing needs to call it, for steps connect when they must. Throws as
   * `SparkSession.open` and `checkCatalog`.
   */
  async check(): Promise<void> {
    await this.#connected()
  }

  async step<T>(work: (step: EngineStep) => Promise<T>): Promise<T> {
    const { lake, clock = systemClock } = this.#options
    const step = new SparkStep(await this.#connected(), lake)
    const ended = new AbortController()
    void step.stayAlive(clock, ended.signal)
    try {
      return await work(step)
    } finally {
      ended.abort()
      await step.release()
    }
  }

  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined)
    await session?.close()
  }

  #connected(): Promise<SparkSession> {
    return (this.#session ??= this.#connect().catch((error: unknown) => {
      this.#session = undefined
      throw error
    }))
  }

  async #connect(): Promise<SparkSession> {
    const { lake, url, catalog, files, settings, clock = systemClock } = this.#options
    const session = await SparkSession.open({
      url,
      settings: { ...settings, ...catalogSettings(catalog, files) },
      clock,
    })
    try {
      await checkCatalog(session)
      await sweepScratch(lake, SCRATCH_AGE_MS)
      return session
    } catch (error) {
      await session.close()
      throw error
    }
  }
}

class SparkStep implements EngineStep {
  readonly dialect = SPARK
  readonly subqueryRows = 1_000_000
  readonly #session: SparkSession
  readonly #lake: Lake
  readonly #scratch: LakeTable[] = []
  readonly #inputs = new Map<string, Promise<LakeTable>>()

  constructor(session: SparkSession, lake: Lake) {
    this.#session = session
    this.#lake = lake
  }

  async relation(table: LakeTable, files: readonly DataFile[], fileColumn?: string): Promise<string> {
    const key = JSON.stringify([table.location, files.map((file) => file.path)])
    let input = this.#inputs.get(key)
    if (!input) this.#inputs.set(key, (input = this.#keepScratch(scratchInput(this.#lake, table, files))))
    return relationOf(await input, table.fields, fileColumn)
  }

  async rows(sql: string): Promise<Record<string, Scalar>[]> {
    return (await this.#session.rows(sql)) as Record<string, Scalar>[]
  }

  async describe(sql: string): Promise<Field[]> {
    // The other engine cannot tell which columns are never null.
    return (await this.#session.analyze(sql)).map((field) => ({ ...field, nullable: true }))
  }

  shapeOf(sql: string): Promise<QueryShape | undefined> {
    return shapeOf(this.#session, sql)
  }

  async keep(_name: string, sql: string): Promise<string> {
    const fields = await this.describe(sql)
    const kept = await this.#keepScratch(scratchKept(this.#lake, fields))
    await this.#insert(kept, fields, sql)
    return relationOf(kept, fields)
  }

  async write(table: LakeTable, sql: string, directory = dataDirectory(table)): Promise<DataFile[]> {
    const output = await this.#keepScratch(scratchOutput(this.#lake, table, directory))
    await this.#insert(output, table.fields, sql)
    return adopt(output, table)
  }

  /** Keeps what the step uses from being swept, however long it takes, until the signal. */
  async stayAlive(clock: Clock, signal: AbortSignal): Promise<void> {
    for (;;) {
      await clock.sleep(ALIVE_MS, signal)
      if (signal.aborted) return
      // The next time will do.
      await keepAlive(this.#lake, this.#scratch).catch(() => undefined)
    }
  }

  /** Removes what the step made; what cannot be removed now is swept later. */
  async release(): Promise<void> {
    await Promise.allSettled(this.#scratch.map((table) => this.#lake.drop(table.id)))
  }

  #insert(scratch: LakeTable, fields: readonly Pick<Field, 'name'>[], sql: string): Promise<void> {
    const columns = fields.map(({ name }) => SPARK.identifier(name)).join(', ')
    return this.#session.execute(`INSERT INTO ${tableName(scratch.id)} SELECT ${columns} FROM (${sql})`)
  }

  async #keepScratch(made: Promise<LakeTable>): Promise<LakeTable> {
    const table = await made
    this.#scratch.push(table)
    return table
  }
}

/** The columns of a scratch table under their own names. */
function relationOf(scratch: LakeTable, fields: readonly Pick<Field, 'name'>[], fileColumn?: string): string {
  const name = tableName(scratch.id)
  if (fileColumn === undefined && fields.every((field) => scratchColumn(field.name) === field.name)) return name
  const columns = fields.map((field) => [scratchColumn(field.name), field.name] as const)
  const all = fileColumn === undefined ? columns : [...columns, ['_file', fileColumn] as const]
  const list = all.map(([own, shown]) => `${SPARK.identifier(own)} AS ${SPARK.identifier(shown)}`)
  return `(SELECT ${list.join(', ')} FROM ${name})`
}

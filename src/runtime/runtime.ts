import { cpus } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { durationMs } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import type { LakeTable } from '../lake/table.ts'
import type { RecordBatch } from '../log/log.ts'
import type { Dataset } from '../project/dataset.ts'
import { eventTimeOf, timeColumn } from '../project/event-time.ts'
import type { Project } from '../project/project.ts'
import type { Field } from '../project/columns.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import type { Disk } from '../storage/disk.ts'
import { runAudits } from './audits.ts'
import { type BoundProject, bindProject } from './bind.ts'
import { ChangeFeed } from './change-feed.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine, EngineStep } from './engine.ts'
import type { LoadProgress, LoadReport } from './file-loader.ts'
import { FunctionPool } from './function-pool.ts'
import { Gates } from './gates.ts'
import { HandlerPlaces } from './handler-places.ts'
import { Handlers } from './handlers.ts'
import type { Received } from './inlet.ts'
import { Lanes } from './lanes.ts'
import { Loads } from './loads.ts'
import { type Parts, embeddedParts } from './parts.ts'
import { Publications } from './publications.ts'
import type { AuditResult, Counts } from './record.ts'
import { Scheduler, type StepOutcome } from './scheduler.ts'
import { auditStream } from './stream-audit.ts'
import { StreamRunner } from './stream-runner.ts'
import { type RefreshRange, TableRunner, refreshError } from './table-runner.ts'
import { TransformRunner } from './transform-runner.ts'
import { LAYERS, Warehouse, relationOf } from './warehouse.ts'
import { watchTime } from './watch-time.ts'
import { closesBetween } from './watermark.ts'

export interface RuntimeOptions {
  readonly project: Project
  /** URL of a module that loads the project into threads, for its functions: a `ProjectLoader`. */
  readonly loader?: string
  /** Everything an embedded project keeps: log/, lake/, tmp/. The caller holds its lock when writing. */
  readonly dataDirectory: string
  readonly clock: Clock
  readonly disk: Disk
  /** Where log and lake are; embedded unless given. */
  readonly parts?: Parts
  /** Names this run in the lake's snapshots. */
  readonly run: string
  /** What computes derived tables; without it DuckDB in this process. Whoever made it closes it. */
  readonly engine?: Engine
  /** Refresh tables all the time they are due (one-shot commands), or leave them rests (servers). */
  readonly eager?: boolean
  /**
   * The process cannot go on: a write or fsync failed, and nothing is acknowledged any more. What was gated is still
   * committed if the disk lets it, and the lanes end: `ended` resolves then, or when they take too long.
   */
  onFatal(error: MillraceError, ended: Promise<void>): void
}

const DEFAULTS = {
  commitInterval: '1 second',
  backlogBytes: 1024 ** 3,
  engineMemory: 1024 ** 3,
  laneMemory: 1024 ** 3,
  uniqueMemory: 512 * 1024 ** 2,
  functionMemory: 512 * 1024 ** 2,
  refreshes: 2,
  quietMs: 100,
  lingerMs: 10,
  refreshShare: 0.2,
} as const

/** A running project: its streams' lanes, its tables' refreshes, its lake. */
export class Runtime {
  readonly options: RuntimeOptions
  readonly bound: BoundProject
  readonly database: Database
  /** What computes derived tables. */
  readonly engine: Engine
  readonly warehouse: Warehouse
  readonly streams = new Map<string, StreamRunner>()
  readonly tables = new Map<string, TableRunner>()
  readonly scheduler: Scheduler
  /** Tells when a dataset was published. */
  readonly publications = new Publications()
  /** What publications changed, row by row. */
  readonly changes: ChangeFeed
  /** Code of the project that is called with them. */
  readonly handlers: Handlers
  readonly #parts: Parts
  readonly #lanes: Lanes
  readonly #functions: FunctionPool
  readonly #gates = new Gates((dataset) => this.publishedSql(dataset))
  #dying = false
  #stopped: Promise<void> | undefined
  readonly #stopping = new AbortController()
  readonly #polls: Promise<void>[] = []
  /** Files of sources on their way into streams. */
  readonly loads: Loads
  /** Results of checks that are not in a snapshot: of streams, and of time passing. */
  readonly audits = new Map<string, readonly AuditResult[]>()
  /** Why the last housekeeping failed, if it did. */
  maintenanceError: MillraceError | undefined

  private constructor(options: RuntimeOptions, bound: BoundProject, database: Database, lanes: Lanes) {
    this.options = options
    this.bound = bound
    this.database = database
    this.engine = options.engine ?? duckdbEngine(database)
    this.#lanes = lanes
    const { limits = {} } = options.project.config
    this.#functions = new FunctionPool({
      loader: options.loader,
      directory: options.project.directory,
      clock: options.clock,
      threads: limits.functionWorkers ?? cpus().length,
      memory: limits.functionMemory ?? DEFAULTS.functionMemory,
    })
    this.#parts = options.parts ?? embeddedParts(options)
    this.warehouse = new Warehouse(this.#parts.lake)
    this.scheduler = new Scheduler({
      order: options.project.order,
      clock: options.clock,
      limit: options.project.config.limits?.refreshes ?? DEFAULTS.refreshes,
      share: options.eager === true ? 1 : DEFAULTS.refreshShare,
      isQuiet: () => [...this.streams.values()].every((runner) => runner.lag === 0),
      step: (dataset) => this.#step(dataset),
      onPublished: (dataset) => this.publications.tell(dataset.name),
    })
    this.changes = new ChangeFeed({
      database,
      disk: options.disk,
      temporary: join(options.dataDirectory, 'tmp'),
      tableOf: (name) => this.lakeTable(name),
    })
    this.loads = new Loads({
      projectDirectory: options.project.directory,
      database,
      clock: options.clock,
      signal: this.#stopping.signal,
      onFailed: ({ stream }, error) =>
        this.scheduler.setState(stream, { state: 'failed', reason: error.message, error }),
    })
    this.handlers = new Handlers(options.project.handlers.values(), {
      changes: this.changes,
      publications: this.publications,
      places: new HandlerPlaces(options.disk, options.dataDirectory),
      clock: options.clock,
    })
  }

  get project(): Project {
    return this.options.project
  }

  /** Opens log and lake and recovers both. Throws the project's first problem when it has any. */
  static async open(options: RuntimeOptions): Promise<Runtime> {
    const { project, dataDirectory, disk } = options
    const temporary = join(dataDirectory, 'tmp')
    await disk.removeTree(temporary)
    await disk.makeDirectory(temporary)
    const { limits = {} } = project.config
    const database = await Database.open({
      threads: cpus().length,
      memory: limits.engineMemory ?? DEFAULTS.engineMemory,
      temporary,
    })
    try {
      return await Runtime.#recover(options, database, temporary)
    } catch (error) {
      await database.close()
      throw error
    }
  }

  static async #recover(options: RuntimeOptions, database: Database, temporary: string): Promise<Runtime> {
    const { project } = options
    const { limits = {} } = project.config
    const bound = await bindProject(project, database)
    if (bound.problems.length > 0) throw bound.problems[0]!
    const workers = limits.laneWorkers ?? cpus().length
    const lanes = Lanes.open(workers, {
      memory: DEFAULTS.laneMemory,
      temporary,
      uniqueMemory: limits.uniqueMemory ?? DEFAULTS.uniqueMemory,
    })
    const runtime = new Runtime(options, bound, database, lanes)
    await Promise.all(project.order.map((dataset) => runtime.#open(dataset, temporary)))
    await runtime.handlers.open()
    return runtime
  }

  async #open(dataset: Dataset, temporary: string): Promise<void> {
    const fields = this.bound.fields.get(dataset.name)!
    const lakeTable = await this.warehouse.tableOf(dataset, fields)
    const { clock, run } = this.options
    const code = this.bound.code.get(dataset.name)!
    if (dataset.kind === 'table') {
      const lakeTableOf = (input: Dataset) => this.lakeTable(input.name)
      const transform = await this.#openTransform(dataset, fields, code, temporary)
      this.tables.set(
        dataset.name,
        new TableRunner({
          table: dataset,
          lakeTable,
          fields,
          code,
          run,
          // Functions run here, over files that the embedded engine reads.
          engine: transform ? duckdbEngine(this.database) : this.engine,
          clock,
          lakeTableOf,
          ...(transform ? { transform } : {}),
          idlePartitions: (stream) => this.streams.get(stream)!.idlePartitions(),
        }),
      )
      return
    }
    this.streams.set(dataset.name, await this.#openStream(dataset, lakeTable, code, temporary))
  }

  async #openTransform(
    table: Table,
    fields: readonly Field[],
    code: string,
    temporary: string,
  ): Promise<TransformRunner | undefined> {
    const { transform } = table
    if (!transform) return undefined
    return new TransformRunner({
      table,
      transform,
      fields,
      inputFields: transform.input && this.bound.fields.get(transform.input.name),
      code,
      database: this.database,
      clock: this.options.clock,
      pool: this.#functions,
      temporary,
      openQuarantine: (create) => this.#openQuarantine(table.name, create),
    }).open()
  }

  async #openQuarantine(name: string, create: boolean): Promise<LakeTable | undefined> {
    return create ? this.warehouse.quarantineOf(name) : this.warehouse.lake.load({ namespace: LAYERS.quarantine, name })
  }

  async #openStream(stream: Stream, table: LakeTable, code: string, temporary: string): Promise<StreamRunner> {
    const { clock, run, project } = this.options
    const { ingest = {} } = project.config
    const log = await this.#parts.openLog(stream, { onFatal: (error) => this.#die(error) })
    return StreamRunner.open({
      stream,
      eventTime: eventTimeOf(stream, project.readers(stream.name)),
      gate: (sources) => this.#gates.of(stream, sources),
      code,
      run,
      log,
      table,
      openQuarantine: (create) => this.#openQuarantine(stream.name, create),
      lanes: this.#lanes,
      clock,
      temporary,
      limits: {
        commitIntervalMs: durationMs(ingest.commitInterval ?? DEFAULTS.commitInterval, 'ingest.commitInterval'),
        backlogBytes: ingest.backlogBytes ?? DEFAULTS.backlogBytes,
        quietMs: DEFAULTS.quietMs,
        lingerMs: DEFAULTS.lingerMs,
      },
      isAwaited: (beforeMs, afterMs) =>
        project
          .readers(stream.name)
          .some((reader) => reader.kind === 'table' && closesBetween(reader, stream.name, beforeMs, afterMs)),
      audited: isAudited(stream),
      onCommit: () => {
        if (hasAudits(stream)) this.scheduler.due(stream)
        if (!isAudited(stream)) this.scheduler.published(stream)
      },
      onFailed: (error) => this.scheduler.setState(stream, { state: 'failed', reason: error.message, error }),
    })
  }

  lakeTable(name: string): LakeTable {
    const table = this.streams.get(name)?.table ?? this.tables.get(name)?.lakeTable
    if (table) return table
    this.project.dataset(name)
    throw new MillraceError('internal', 'not-open', `Dataset '${name}' is not open.`)
  }

  /** A table expression for the published rows of a dataset. */
  async publishedSql(name: string): Promise<string> {
    const table = this.lakeTable(name)
    const main = table.snapshot('main')
    return relationOf(table, main ? await table.files(main) : [])
  }

  async #published(step: EngineStep, name: string): Promise<string> {
    const table = this.lakeTable(name)
    const main = table.snapshot('main')
    return step.relation(table, main ? await table.files(main) : [])
  }

  async #step(dataset: Dataset): Promise<StepOutcome> {
    if (dataset.kind === 'stream') {
      const outcome = await this.engine.step((step) =>
        auditStream(this.streams.get(dataset.name)!, step, (other) => this.#published(step, other.name)),
      )
      this.audits.set(dataset.name, outcome.audits)
      return outcome
    }
    const runner = this.tables.get(dataset.name)!
    try {
      return await runner.refresh()
    } catch (error) {
      throw refreshError(dataset, error)
    }
  }

  /** Starts lanes, refreshes what is due, and looks for files. */
  start(): void {
    this.#lanes.warm([...this.streams.values()].reduce((sum, runner) => sum + runner.stream.partitions, 0))
    for (const runner of this.streams.values()) {
      runner.start()
      if (runner.stream.sources.length > 0) this.#polls.push(this.loads.watch(runner))
    }
    for (const dataset of this.project.order)
      if (dataset.kind === 'table' || hasAudits(dataset)) this.scheduler.due(dataset)
    this.#polls.push(...watchTime(this, this.#stopping.signal))
    this.handlers.start()
  }

  /** Runs a dataset's checks over what is published. */
  async auditPublished(dataset: Dataset): Promise<AuditResult[]> {
    return this.engine.step(async (engine) =>
      runAudits(dataset, {
        self: await this.#published(engine, dataset.name),
        fields: this.bound.fields.get(dataset.name)!,
        time: timeColumn(dataset),
        nowMs: this.options.clock.now(),
        engine,
        relation: (other) => this.#published(engine, other.name),
      }),
    )
  }

  /** Brings new and changed files of a stream's sources in. */
  load(name: string, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    return this.loads.load(this.stream(name), onProgress)
  }

  stream(name: string): StreamRunner {
    const runner = this.streams.get(name)
    if (runner) return runner
    const dataset = this.project.dataset(name)
    throw new MillraceError('invalid', 'not-a-stream', `'${dataset.name}' is a table; only streams take records.`, {
      hint: `Streams: ${[...this.streams.keys()].join(', ') || 'none'}.`,
      context: { dataset: name },
    })
  }

  append(name: string, batch: RecordBatch): Promise<Received> {
    return this.stream(name).append(batch)
  }

  /** Loads files, processes all that is acknowledged, and refreshes all that is due. */
  async settle(onProgress?: (progress: LoadProgress) => void): Promise<void> {
    // A one-shot run computes each table once, after its inputs are complete.
    if (this.options.eager === true) this.scheduler.pause()
    try {
      for (const runner of this.streams.values()) {
        if (runner.stream.sources.length > 0) await this.load(runner.stream.name, onProgress)
        await runner.drain()
      }
    } finally {
      this.scheduler.resume()
    }
    await this.scheduler.settled()
  }

  /** Recomputes a table whatever is due, and what depends on it. */
  async refresh(name: string, range: RefreshRange): Promise<StepOutcome> {
    const runner = this.tables.get(name)
    if (!runner)
      throw new MillraceError(
        'invalid',
        'not-a-table',
        `'${name}' is a stream; use replay to process its records again.`,
        { context: { dataset: name } },
      )
    const outcome = await runner.refresh(range).catch((error: unknown) => {
      throw refreshError(runner.table, error)
    })
    if (outcome.outcome === 'published') this.scheduler.published(runner.table)
    await this.scheduler.settled()
    return outcome
  }

  /** Takes rows that the function of a table was called for in vain through it again; those that pass leave quarantine. */
  async replayRefused(name: string, where: string): Promise<Counts> {
    const runner = this.tables.get(name)!
    await this.scheduler.settled()
    const counts = await runner.replayRefused(where).catch((error: unknown) => {
      throw refreshError(runner.table, error)
    })
    if (counts.accepted > 0) this.scheduler.published(runner.table)
    await this.scheduler.settled()
    return counts
  }

  #die(error: MillraceError): void {
    if (this.#dying) return
    this.#dying = true
    // A process that exits while a lane calls back from the engine is aborted instead.
    const stopped = Promise.resolve().then(() => this.stop())
    const ended = Promise.race([stopped.catch(() => undefined), this.options.clock.sleep(ENDING_MS)])
    this.options.onFatal(error, ended)
  }

  /** Stops after the steps under way; commits what has landed. */
  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop())
  }

  async #stop(): Promise<void> {
    this.#stopping.abort()
    // What is published from now on, they are told the next time.
    const handlers = this.handlers.stop()
    const runners = [...this.streams.values()]
    const stopped = await Promise.allSettled([...this.#polls, ...runners.map((runner) => runner.stop())])
    await this.scheduler.stop()
    await handlers
    const closed = await Promise.allSettled(runners.map((runner) => runner.log.close()))
    await Promise.all([this.#lanes.close(), this.#functions.close()])
    await this.database.close()
    // Whatever failed, everything has been let go of.
    const failed = [...stopped, ...closed].find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }
}

/** How long the lanes may take to end once the process has to. */
const ENDING_MS = 5_000

function hasAudits(dataset: Dataset): boolean {
  return dataset.checks.some((check) => check.on === 'dataset')
}

/** Whether dataset checks hold a stream's snapshots back. */
export function isAudited(dataset: Dataset): boolean {
  return (
    dataset.kind === 'stream' && dataset.checks.some((check) => check.on === 'dataset' && check.severity === 'block')
  )
}

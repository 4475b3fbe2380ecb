import { cpus } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { SerialQueue } from '../base/queue.ts'
import { durationMs } from '../base/duration.ts'
import { MillraceError, asMillraceError } from '../base/errors.ts'

import { Database } from '../engine/duckdb/database.ts'
import { Lake } from '../lake/lake.ts'
import type { LakeTable } from '../lake/table.ts'
import { openLocalLog } from '../log/local/open.ts'
import type { RecordBatch } from '../log/log.ts'
import type { Dataset } from '../project/dataset.ts'
import { eventTimeOf, timeColumn } from '../project/event-time.ts'
import type { Project } from '../project/project.ts'
import type { Field } from '../project/columns.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import { type Gate, compileGate } from '../quality/gate.ts'
import type { Disk } from '../storage/disk.ts'
import { runAudits } from './audits.ts'
import { type BoundProject, bindProject } from './bind.ts'
import { ChangeFeed } from './change-feed.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine, EngineStep } from './engine.ts'
import { type LoadProgress, type LoadReport, loadFiles, supersededOf } from './file-loader.ts'
import { FunctionPool } from './function-pool.ts'
import { HandlerPlaces } from './handler-places.ts'
import { Handlers } from './handlers.ts'
import { Lanes } from './lanes.ts'
import { maintain } from './maintain.ts'
import { Publications } from './publications.ts'
import type { AuditResult, Counts } from './record.ts'
import { replayStream } from './replay.ts'
import { Scheduler, type StepOutcome } from './scheduler.ts'
import { auditStream } from './stream-audit.ts'
import { StreamRunner } from './stream-runner.ts'
import { type RefreshRange, TableRunner, refreshError } from './table-runner.ts'
import { TransformRunner } from './transform-runner.ts'
import { LAYERS, Warehouse, relationOf } from './warehouse.ts'
import { closesBetween } from './watermark.ts'

export interface RuntimeOptions {
  readonly project: Project
  /** URL of a module that loads the project into threads, for its functions: a `ProjectLoader`. */
  readonly loader?: string
  /** Everything Millrace keeps: log/, lake/, tmp/. The caller holds its lock when writing. */
  readonly dataDirectory: string
  readonly clock: Clock
  readonly disk: Disk
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
  readonly #lanes: Lanes
  readonly #functions: FunctionPool
  readonly #gates = new Map<string, Gate>()
  #dying = false
  #stopped: Promise<void> | undefined
  readonly #stopping = new AbortController()
  readonly #polls: Promise<void>[] = []
  readonly #loads = new Map<string, SerialQueue>()
  readonly reports = new Map<string, LoadReport>()
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
    this.warehouse = new Warehouse(
      new Lake({ root: join(options.dataDirectory, 'lake'), disk: options.disk, clock: options.clock }),
    )
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
    const { clock, disk, dataDirectory, run, project } = this.options
    const { ingest = {} } = project.config
    const log = await openLocalLog({
      directory: join(dataDirectory, 'log', stream.name),
      stream: stream.name,
      partitions: stream.partitions,
      disk,
      clock,
      onFatal: (error) => this.#die(error),
    })
    return StreamRunner.open({
      stream,
      eventTime: eventTimeOf(stream, project.readers(stream.name)),
      gate: (sources) => this.#gate(stream, sources),
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

  /** A stream's gate; made again for each batch when it refers to datasets that change. */
  async #gate(stream: Stream, sources?: ReadonlySet<string>): Promise<Gate> {
    const references = stream.checks.flatMap((check) =>
      check.rule === 'reference' ? [check.dataset] : check.rule === 'predicate' ? check.sql.datasets : [],
    )
    const key = JSON.stringify([stream.name, ...(sources ?? ['*'])])
    const known = this.#gates.get(key)
    if (known && references.length === 0) return known
    const relations = new Map(
      await Promise.all(
        references.map(async (dataset) => [dataset.name, await this.publishedSql(dataset.name)] as const),
      ),
    )
    const gate = compileGate(stream, (dataset) => relations.get(dataset.name)!, sources)
    this.#gates.set(key, gate)
    return gate
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
      if (runner.stream.sources.length > 0) this.#polls.push(this.#poll(runner))
    }
    for (const dataset of this.project.order)
      if (dataset.kind === 'table' || hasAudits(dataset)) this.scheduler.due(dataset)
    this.#polls.push(this.#watchFreshness(), this.#watchIdle(), this.#keepHouse())
    this.handlers.start()
  }

  /** Keeps files few and the log small, a bounded part at a time. What goes wrong is told, and tried again the next time. */
  async #keepHouse(): Promise<void> {
    const { signal } = this.#stopping
    for (;;) {
      await this.options.clock.sleep(HOUSEKEEPING_MS, signal)
      if (signal.aborted) return
      try {
        await maintain(this, { ...HOUSEKEEPING, signal })
        this.maintenanceError = undefined
      } catch (error) {
        this.maintenanceError = asMillraceError(error)
      }
    }
  }

  async #poll(runner: StreamRunner): Promise<void> {
    const { signal } = this.#stopping
    const every = Math.min(...runner.stream.sources.map((source) => durationMs(source.every ?? '10 seconds', 'every')))
    while (!signal.aborted && !runner.failure) {
      try {
        await this.load(runner.stream.name)
      } catch (error) {
        if (runner.failure) return
        this.scheduler.setState(runner.stream, {
          state: 'failed',
          reason: (error as Error).message,
          error: error as MillraceError,
        })
      }
      await this.options.clock.sleep(every, signal)
    }
  }

  /** Data grows old without any step being due: freshness is looked at by the clock. */
  async #watchFreshness(): Promise<void> {
    const { signal } = this.#stopping
    const watched = this.project.order.filter((dataset) => dataset.checks.some((check) => check.rule === 'freshness'))
    while (watched.length > 0) {
      await this.options.clock.sleep(FRESHNESS_MS, signal)
      if (signal.aborted) return
      for (const dataset of watched) this.audits.set(dataset.name, await this.auditPublished(dataset))
    }
  }

  /** Partitions fall idle without any commit: what waits for their time is due then. */
  async #watchIdle(): Promise<void> {
    const { signal } = this.#stopping
    const watched = [...this.streams.values()].filter(
      ({ options }) => (options.eventTime?.idleMs ?? Infinity) < Infinity,
    )
    const known = new Map<StreamRunner, number>()
    const every = Math.min(...watched.map(({ options }) => options.eventTime!.idleMs / 4))
    while (watched.length > 0) {
      await this.options.clock.sleep(Math.max(20, Math.min(1_000, every)), signal)
      if (signal.aborted) return
      for (const runner of watched) {
        const { size } = runner.idlePartitions()
        if (size > (known.get(runner) ?? 0)) this.scheduler.published(runner.stream)
        known.set(runner, size)
      }
    }
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
  async load(name: string, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    const runner = this.stream(name)
    // One look at a time: two at once would both find the same files new.
    const queue = this.#loads.get(name) ?? new SerialQueue()
    this.#loads.set(name, queue)
    return queue.run(() => this.#loadNow(runner, onProgress))
  }

  async #loadNow(runner: StreamRunner, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    const report = await loadFiles(runner, {
      projectDirectory: this.project.directory,
      clock: this.options.clock,
      signal: this.#stopping.signal,
      ...(onProgress === undefined ? {} : { onProgress }),
    })
    this.reports.set(runner.stream.name, report)
    await this.#applySuperseded(runner)
    return report
  }

  /** Takes records back whose file has a newer version: those not yet gated are passed over, for others the stream is replayed. */
  async #applySuperseded(runner: StreamRunner): Promise<void> {
    const wanted = supersededOf(runner)
    const known = new Set(runner.committed.superseded.map((s) => `${s.partition}:${s.from}:${s.to}`))
    const fresh = wanted.filter((s) => !known.has(`${s.partition}:${s.from}:${s.to}`))
    if (fresh.length === 0) return
    await runner.drain()
    const from = runner.committed.offsets.map((end, i) =>
      Math.min(end, ...fresh.filter((s) => s.partition === i).map((s) => s.from)),
    )
    await replayStream(runner, { database: this.database, from, superseded: wanted })
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

  append(name: string, batch: RecordBatch): Promise<{ received: number; repeated: boolean }> {
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
const HOUSEKEEPING_MS = 60_000
/** Some files are let gather before they are brought together; a rewrite stays short beside the work that matters. */
const HOUSEKEEPING = { minFiles: 8, rewriteBytesMax: 256 * 1024 ** 2 } as const
const FRESHNESS_MS = 15_000

function hasAudits(dataset: Dataset): boolean {
  return dataset.checks.some((check) => check.on === 'dataset')
}

/** Whether dataset checks hold a stream's snapshots back. */
export function isAudited(dataset: Dataset): boolean {
  return (
    dataset.kind === 'stream' && dataset.checks.some((check) => check.on === 'dataset' && check.severity === 'block')
  )
}

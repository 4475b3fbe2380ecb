import { cpus } from 'node:os'
import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import type { Hold } from '../lake/store.ts'
import type { LakeTable } from '../lake/table.ts'
import type { RecordBatch } from '../log/log.ts'
import type { Dataset } from '../project/dataset.ts'
import { timeColumn, timedStream } from '../project/event-time.ts'
import type { Handler } from '../project/handler.ts'
import { type Project, refusesRows } from '../project/project.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import { hasAudits, runAudits } from './audits.ts'
import { type BoundProject, bindProject } from './bind.ts'
import { ChangeFeed } from './changes/change-feed.ts'
import { notHere, notStream } from './dataset-errors.ts'
import { type Divided, claim, divide } from './divide.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine } from './engine.ts'
import type { LoadProgress, LoadReport } from './streams/file-loader.ts'
import { Follower } from './follower.ts'
import { Gates } from './streams/gates.ts'
import { DiskPlaces } from './changes/handler-places.ts'
import { Handlers } from './changes/handlers.ts'
import type { Received } from './streams/inlet.ts'
import { LakeTables } from './lake-tables.ts'
import { Loads } from './streams/loads.ts'
import { type Workshop, backlogBytes, openStreamRunner, openTableRunner, openThreads } from './open-runners.ts'
import { type Ownership, type Parts, embeddedParts } from './parts.ts'
import { Publications } from './changes/publications.ts'
import type { AuditResult, Counts } from './record.ts'
import { sharedStream, takenOf } from './functions/reach.ts'
import { ALL_ROLES, type Role } from './role.ts'
import { MemoryRuns, RunHistory } from './run-history.ts'
import type { RuntimeOptions, Touched } from './runtime-options.ts'
import { Scheduler, type StepOutcome } from './scheduler.ts'
import { auditStream } from './streams/stream-audit.ts'
import { StreamLogs } from './streams/stream-logs.ts'
import type { StreamRunner } from './streams/stream-runner.ts'
import { type RefreshRange, type TableRunner, refreshError } from './tables/table-runner.ts'
import { LAYERS, Warehouse } from './warehouse.ts'
import { watchTime } from './watch-time.ts'

const DEFAULTS = {
  engineMemory: 1024 ** 3,
  refreshes: 2,
  refreshShare: 0.2,
} as const

/** Time between two looks at what other processes have committed, ms. */
const LOOK_MS = 200

/** A running project, or a process's part of it: its streams' lanes, its tables' refreshes, its lake. */
export class Runtime {
  readonly options: RuntimeOptions
  readonly roles: ReadonlySet<Role>
  readonly bound: BoundProject
  readonly database: Database
  /** What computes derived tables. */
  readonly engine: Engine
  readonly warehouse: Warehouse
  /** Streams that this process processes. */
  readonly streams = new Map<string, StreamRunner>()
  /** Tables that it refreshes. */
  readonly tables = new Map<string, TableRunner>()
  readonly scheduler: Scheduler
  /** Tells when a dataset was published. */
  readonly publications = new Publications()
  /** What publications changed, row by row. */
  readonly changes: ChangeFeed
  /** Code of the project that is called with them. */
  readonly handlers: Handlers
  /** Files of sources on their way into streams. */
  readonly loads: Loads
  /** What ran, and how it ended. */
  readonly history: RunHistory
  /** Results of checks that are not in a snapshot: of streams, and of time passing. */
  readonly audits = new Map<string, readonly AuditResult[]>()
  /** Why the last housekeeping failed, if it did. */
  maintenanceError: MillraceError | undefined
  readonly #parts: Parts
  readonly #shop: Workshop
  readonly #follower: Follower
  readonly #lakeTables: LakeTables
  readonly #logs: StreamLogs
  #dying = false
  #running = false
  #stopped: Promise<void> | undefined
  readonly #stopping = new AbortController()
  readonly #polls: Promise<void>[] = []

  private constructor(options: RuntimeOptions, bound: BoundProject, database: Database) {
    const { project, clock, disk, dataDirectory } = options
    const temporary = join(dataDirectory, 'tmp')
    this.options = options
    this.roles = options.roles ?? ALL_ROLES
    this.bound = bound
    this.database = database
    this.#parts = options.parts ?? embeddedParts(options)
    this.engine = this.#parts.engine ?? duckdbEngine(database)
    this.warehouse = new Warehouse(this.#parts.lake)
    this.#lakeTables = new LakeTables(project, this.warehouse)
    this.scheduler = this.#newScheduler()
    this.history = new RunHistory({ store: this.#parts.state?.runs ?? new MemoryRuns(clock), run: options.run })
    const lakeTable = (name: string) => this.lakeTable(name)
    this.#shop = {
      project,
      bound,
      database,
      clock,
      temporary,
      lakeTable,
      run: options.run,
      warehouse: this.warehouse,
      engine: this.engine,
      scheduler: this.scheduler,
      history: this.history,
      gates: new Gates(
        () => this.warehouse.lake.local.hold(),
        (dataset, hold) => this.publishedSql(dataset, hold),
      ),
      ...openThreads(project, options.loader, temporary, clock),
      idlePartitions: ({ dataset, snapshot }) =>
        takenOf(dataset, snapshot, this.idlePartitions(timedStream(dataset)!), (other) => this.lakeTable(other.name)),
    }
    this.#logs = new StreamLogs({
      open: (stream, events) => this.#parts.openLog(stream, events),
      clock,
      backlogBytes: backlogBytes(project),
    })
    this.#follower = new Follower({
      datasets: project.order,
      clock,
      everyMs: LOOK_MS,
      idleMs: (name) => this.#idleMs(name),
      isOwn: ({ name }) => this.#isAlone(name),
      load: (dataset) => this.#lakeTables.followed(dataset),
      onMoved: (dataset, table) => {
        this.#logs.checkpoint(dataset.name, table)
        // Whether rows came or not; and where others made them anew, this process's partitions go on from there.
        for (const table of this.#sharedTables())
          if (table === dataset || table.transform!.input === dataset) this.scheduler.due(table)
      },
      onPublished: (dataset) => this.scheduler.published(dataset),
    })
    this.changes = new ChangeFeed({ database, disk, temporary, tableOf: lakeTable })
    this.loads = new Loads({
      append: (stream, batch) => this.#logs.append(stream, batch),
      projectDirectory: project.directory,
      database,
      clock,
      signal: this.#stopping.signal,
      onFailed: ({ stream }, error) =>
        this.scheduler.setState(stream, { state: 'failed', reason: error.message, error }),
    })
    this.handlers = new Handlers({
      changes: this.changes,
      publications: this.publications,
      places: this.#parts.handlerPlaces ?? new DiskPlaces(disk, dataDirectory),
      clock,
    })
  }

  #newScheduler(): Scheduler {
    const { project, clock, eager } = this.options
    return new Scheduler({
      order: project.order,
      clock,
      limit: project.config.limits?.refreshes ?? DEFAULTS.refreshes,
      share: eager === true ? 1 : DEFAULTS.refreshShare,
      isQuiet: () => [...this.streams.values()].every((runner) => runner.lag === 0),
      step: (dataset) => this.#step(dataset),
      onPublished: (dataset) => this.publications.tell(dataset.name),
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
      const bound = await bindProject(project, database)
      if (bound.problems.length > 0) throw bound.problems[0]!
      const runtime = new Runtime(options, bound, database)
      await runtime.#open()
      return runtime
    } catch (error) {
      await database.close()
      throw error
    }
  }

  async #open(): Promise<void> {
    await this.#lakeTables.open(this.bound, this.options.looking === true)
    await Promise.all(this.project.order.map((dataset) => this.#openLog(dataset)))
    const { ownership } = this.#parts
    const { looking = false } = this.options
    const none = ownership || looking ? [] : undefined
    await Promise.all(this.#ownStreams().map((stream) => this.#openStream(stream, none)))
    for (const table of this.#sharedTables())
      this.tables.set(table.name, await openTableRunner(this.#shop, table, none))
    if (ownership) return
    await Promise.all(this.#ownTables().map((table) => this.#takeTable(table)))
    if (looking) return
    await Promise.all(this.#ownHandlers().map((handler) => this.handlers.take(handler)))
  }

  async #openLog(dataset: Dataset): Promise<void> {
    if (dataset.kind === 'table' || !(this.roles.has('ingest') || this.roles.has('process'))) return
    await this.#logs.open(dataset, this.lakeTable(dataset.name), {
      onFatal: (error) => this.#die(error),
      onGrown: (partition) => this.streams.get(dataset.name)?.grown(partition),
    })
  }

  /** Streams that this process may work on. */
  #ownStreams(): Stream[] {
    return this.roles.has('process') ? this.project.order.filter((dataset) => dataset.kind === 'stream') : []
  }

  /** Tables that it may refresh, each alone. */
  #ownTables(): Table[] {
    return this.roles.has('schedule') ? this.#allTables().filter((table) => !sharedStream(table)) : []
  }

  /** Tables that it may work on beside others. */
  #sharedTables(): Table[] {
    return this.roles.has('process') ? this.#allTables().filter((table) => sharedStream(table)) : []
  }

  #allTables(): Table[] {
    return this.project.order.filter((dataset) => dataset.kind === 'table')
  }

  /** Handlers that it may call. */
  #ownHandlers(): Handler[] {
    return this.roles.has('schedule') ? [...this.project.handlers.values()] : []
  }

  /** Opens the runner of a stream, with all partitions unless told. */
  async #openStream(stream: Stream, owned: readonly number[] | undefined): Promise<void> {
    const log = this.#logs.get(stream.name)!
    const onFailed = (error: MillraceError) => this.#onStreamFailed(error)
    this.streams.set(stream.name, await openStreamRunner(this.#shop, stream, log, { owned, onFailed }))
  }

  /**
   * Where others can go on with what this process does, it ends rather than keep it from them: when its disk fails it, and when none
   * of its streams will go on and it is of no other use.
   */
  #onStreamFailed(error: MillraceError): void {
    if (!this.#parts.ownership) return
    const isUseful =
      this.roles.has('ingest') || this.roles.has('serve') || !this.#atWork.every(({ hasEnded }) => hasEnded)
    if (DISK_ERRORS.has(error.code) || !isUseful) this.#die(error)
  }

  /** Streams that this process has a part of, or had when they stopped. */
  get #atWork(): StreamRunner[] {
    return [...this.streams.values()].filter(({ owned, failure }) => owned.length > 0 || failure !== undefined)
  }

  /** What keeps this process from all of its work, if anything does. */
  get trouble(): string | undefined {
    const [first, ...others] = this.#atWork
    if (first?.failure && others.every(({ failure }) => failure !== undefined))
      return `all its streams have stopped; stream '${first.stream.name}': ${first.failure.message}`
    return this.#unshared
  }

  /** Why this process cannot do its part of the work on a dataset, if so: records do not come, or nobody says whose they are. */
  waitsFor({ kind, name }: Dataset): string | undefined {
    const waiting = kind === 'stream' ? this.#logs.waitingFor(name) : undefined
    if (waiting !== undefined) return waiting
    return this.roles.has(kind === 'stream' ? 'process' : 'schedule') ? this.#unshared : undefined
  }

  get #unshared(): string | undefined {
    const error = this.#parts.ownership?.trouble
    return error && `it cannot be told which work is this process's; ${error.message}`
  }

  /** What functions make of a stream, each table after the one it reads. */
  #sharing({ name }: Stream): TableRunner[] {
    return this.#sharedTables().flatMap((table) =>
      sharedStream(table)!.name === name ? (this.tables.get(table.name) ?? []) : [],
    )
  }

  /** Becomes the one that refreshes a table. */
  async #takeTable(table: Table): Promise<void> {
    // Where whoever had it before left it.
    await (await this.#lakeTables.followed(table))?.refresh()
    this.tables.set(table.name, await openTableRunner(this.#shop, table))
    if (this.#running) this.scheduler.due(table)
  }

  /** Leaves a table to others once the step under way has ended. */
  async #giveTable({ name }: Table): Promise<void> {
    await this.tables.get(name)?.rewriting(async () => void this.tables.delete(name))
  }

  async #takePartition(runner: StreamRunner, partition: number, epoch: number): Promise<void> {
    await runner.table.refresh()
    await runner.own(partition, epoch)
    for (const table of this.#sharing(runner.stream)) {
      await table.takePartition(partition, epoch)
      this.scheduler.due(table.table)
    }
    if (partition === 0 && this.#running) this.#watchFiles(runner)
    if (hasAudits(runner.stream)) this.scheduler.due(runner.stream)
  }

  #startStream(runner: StreamRunner): void {
    runner.start()
    if (runner.owned.includes(0)) this.#watchFiles(runner)
    if (hasAudits(runner.stream)) this.scheduler.due(runner.stream)
  }

  #watchFiles(runner: StreamRunner): void {
    if (runner.stream.sources.length > 0) this.#polls.push(this.loads.watch(runner))
  }

  /** Whether nobody else commits to a dataset. */
  #isAlone(name: string): boolean {
    const runner = this.streams.get(name)
    if (runner) return runner.owned.length === runner.stream.partitions
    const table = this.tables.get(name)
    return table !== undefined && table.shares?.isAlone !== false
  }

  #idleMs(name: string): number {
    const dataset = this.project.dataset(name)
    if (dataset.kind === 'table') return Infinity
    return this.project.eventTime(dataset)?.idleMs ?? Infinity
  }

  /** Partitions of a stream that have been without records for longer than its `idle`, as far as this process can tell. */
  idlePartitions({ name }: Stream): ReadonlySet<number> {
    return this.#isAlone(name) ? this.streams.get(name)!.idlePartitions() : this.#follower.idlePartitions(name)
  }

  lakeTable(name: string): LakeTable {
    return this.#lakeTables.get(name)
  }

  /** The table of a dataset's refused rows, as it is now; undefined while there is none. Throws `invalid`/`not-a-stream` for what refuses no rows. */
  async quarantineOf(name: string): Promise<LakeTable | undefined> {
    if (!refusesRows(this.project.dataset(name))) throw notStream(name, this.project)
    const runner = this.streams.get(name) ?? this.tables.get(name)
    if (runner) return runner.quarantine
    const found = await this.warehouse.lake.load({ namespace: LAYERS.quarantine, name })
    await found?.refresh()
    return found
  }

  /**
   * A table expression for the published rows of a dataset, to be used while `hold` keeps their files on this machine; without
   * one they stay as long as this process runs.
   */
  publishedSql(name: string, hold: Hold = this.warehouse.lake.local.hold()): Promise<string> {
    return this.#lakeTables.publishedSql(name, hold)
  }

  async #step(dataset: Dataset): Promise<StepOutcome> {
    const stream = this.streams.get(dataset.name)
    if (stream) {
      const outcome = await this.engine.step((step) =>
        auditStream(stream, step, (other) => this.#lakeTables.published(step, other.name)),
      )
      this.audits.set(dataset.name, outcome.audits)
      return outcome
    }
    const table = this.tables.get(dataset.name)
    // Another process's.
    if (!table) return { outcome: 'unchanged' }
    try {
      return await table.refresh()
    } catch (error) {
      throw refreshError(table.table, error)
    }
  }

  /** Starts lanes, refreshes what is due, and looks for files. */
  start(): void {
    const { ownership } = this.#parts
    const { signal } = this.#stopping
    this.#running = true
    if (this.roles.has('process'))
      this.#shop.lanes.warm([...this.streams.values()].reduce((sum, { stream }) => sum + stream.partitions, 0))
    for (const runner of this.streams.values()) this.#startStream(runner)
    for (const { table } of this.tables.values()) this.scheduler.due(table)
    this.#polls.push(...watchTime(this, signal))
    if (this.roles.size < ALL_ROLES.size || ownership)
      this.#polls.push(
        this.#follower.run(signal),
        this.#logs.watch(signal, (stream) => this.streams.get(stream)?.owned ?? []),
      )
    if (ownership) this.#divide(ownership)
    this.handlers.start()
  }

  #divide(ownership: Ownership): void {
    divide(ownership, {
      ...this.#duties,
      streams: [...this.streams.values()],
      tables: this.#ownTables(),
      handlers: this.#ownHandlers(),
    })
  }

  /** How what processes divide is taken up and left. */
  readonly #duties: Omit<Divided, 'streams' | 'tables' | 'handlers' | 'isTouched'> = {
    takePartition: (runner, partition, epoch) => this.#takePartition(runner, partition, epoch),
    sharing: (stream) => this.#sharing(stream),
    takeTable: (table) => this.#takeTable(table),
    giveTable: (table) => this.#giveTable(table),
    loseTable: ({ name }) => void this.tables.delete(name),
    takeHandler: async (handler) => {
      const runner = await this.handlers.take(handler)
      if (this.#running) runner.start()
    },
    giveHandler: (handler) => this.handlers.give(handler),
  }

  /**
   * Runs work for which this process, which was not started, needs something alone: other processes hand it over, and get it back when
   * this one stops. Without others it is this one's already.
   *
   * Errors: `unavailable` / `held-elsewhere` before the work, `lease-lost` after it; those of the work.
   */
  async having<T>(touched: Touched, work: () => Promise<T>): Promise<T> {
    const { ownership } = this.#parts
    if (!ownership) return work()
    const { signal } = this.#stopping
    this.#polls.push(
      this.#follower.run(signal),
      this.#logs.watch(signal, (stream) => this.streams.get(stream)?.owned ?? []),
    )
    await claim(ownership, {
      ...this.#duties,
      streams: [...this.streams.values()].filter(({ stream }) => touched.streams.has(stream.name)),
      isTouched: ({ stream }, partition) => partition === 0 || touched.streams.get(stream.name) === 'whole',
      tables: this.#ownTables().filter(({ name }) => touched.tables.has(name)),
      handlers: touched.handlers ? this.#ownHandlers() : [],
    })
    // What others had and have committed until now.
    await this.#follower.look()
    const result = await work()
    ownership.checkClaims()
    return result
  }

  /** Runs a dataset's checks over what is published. */
  async auditPublished(dataset: Dataset): Promise<AuditResult[]> {
    return this.engine.step(async (engine) =>
      runAudits(dataset, {
        self: await this.#lakeTables.published(engine, dataset.name),
        fields: this.bound.fields.get(dataset.name)!,
        time: timeColumn(dataset),
        nowMs: this.options.clock.now(),
        engine,
        relation: (other) => this.#lakeTables.published(engine, other.name),
      }),
    )
  }

  /** Brings new and changed files of a stream's sources in. */
  load(name: string, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    return this.loads.load(this.stream(name), onProgress)
  }

  /** Throws `invalid`/`not-a-stream`, `unavailable`/`not-here` when another process has it. */
  stream(name: string): StreamRunner {
    const runner = this.streams.get(name)
    if (runner) return runner
    throw this.project.dataset(name).kind === 'table' ? notStream(name, this.project) : notHere(name, 'process')
  }

  /** Makes records durable. Throws what `Inlet.append` throws, and what ended the stream. */
  async append(name: string, batch: RecordBatch): Promise<Received> {
    const runner = this.streams.get(name)
    if (runner?.failure) throw runner.failure
    if (this.#logs.get(name) && this.roles.has('ingest')) return this.#logs.append(name, batch)
    throw this.project.dataset(name).kind === 'table' ? notStream(name, this.project) : notHere(name, 'ingest')
  }

  /** Acknowledged records of a stream that are not yet in a committed snapshot; undefined where this process cannot tell. */
  lagOf(name: string): number | undefined {
    if (this.#isAlone(name)) return this.streams.get(name)!.lag
    return this.#logs.lag(name, this.lakeTable(name))
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

  /** Removes what is over from the state that processes share. */
  async tidy(): Promise<void> {
    await this.#parts.state?.tidy(RETENTION)
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
    // What is ours is given back, drained.
    await this.#parts.ownership?.stop()
    // What is published from now on, they are told the next time.
    const handlers = this.handlers.stop()
    const runners = [...this.streams.values()]
    const stopped = await Promise.allSettled([...this.#polls, ...runners.map((runner) => runner.stop())])
    await this.scheduler.stop()
    await handlers
    await this.history.idle()
    const [closed] = await Promise.allSettled([this.#logs.close()])
    await Promise.all([this.#shop.lanes.close(), this.#shop.functions.close()])
    await this.database.close()
    // Whatever failed, everything has been let go of.
    const failed = [...stopped, closed].find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }
}

const DAY_MS = 86_400_000
/** Requests are known as long as logs know them: for a day. */
const RETENTION = { requestsMs: DAY_MS, runsMs: 30 * DAY_MS } as const

/** Of writing files on this machine. */
const DISK_ERRORS: ReadonlySet<string> = new Set(['disk-full', 'io-error'])

/** How long the lanes may take to end once the process has to. */
const ENDING_MS = 5_000

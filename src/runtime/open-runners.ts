import { cpus } from 'node:os'
import type { Clock } from '../base/clock.ts'
import type { MillraceError } from '../base/errors.ts'
import { durationMs } from '../base/duration.ts'
import type { Database } from '../engine/duckdb/database.ts'
import type { LakeTable } from '../lake/table.ts'
import type { StreamLog } from '../log/log.ts'
import type { Dataset } from '../project/dataset.ts'
import type { Project } from '../project/project.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import type { BoundProject } from './bind.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine } from './engine.ts'
import { FunctionPool } from './functions/function-pool.ts'
import type { Gates } from './streams/gates.ts'
import { Lanes } from './streams/lanes.ts'
import { hasAudits, isAudited } from './audits.ts'
import { sharedStream } from './functions/reach.ts'
import type { RunHistory } from './run-history.ts'
import type { Scheduler } from './scheduler.ts'
import { Shares, type SharesOptions } from './functions/shares.ts'
import { StreamRunner } from './streams/stream-runner.ts'
import { TableRunner } from './tables/table-runner.ts'
import { TransformRunner } from './functions/transform-runner.ts'
import { LAYERS, type Warehouse } from './warehouse.ts'
import { type IdlePartitions, closesBetween } from './tables/watermark.ts'

/** What the runners of a project share. */
export interface Workshop {
  readonly project: Project
  readonly bound: BoundProject
  readonly warehouse: Warehouse
  readonly database: Database
  readonly engine: Engine
  readonly lanes: Lanes
  readonly functions: FunctionPool
  readonly gates: Gates
  readonly scheduler: Scheduler
  readonly clock: Clock
  /** Names this run in the lake's snapshots. */
  readonly run: string
  /** A directory for files that live no longer than the process. */
  readonly temporary: string
  readonly idlePartitions: IdlePartitions
  readonly history: RunHistory
  lakeTable(name: string): LakeTable
}

const DEFAULTS = {
  commitInterval: '1 second',
  backlogBytes: 1024 ** 3,
  quietMs: 100,
  lingerMs: 10,
  laneMemory: 1024 ** 3,
  uniqueMemory: 512 * 1024 ** 2,
  functionMemory: 512 * 1024 ** 2,
} as const

/** Threads for lanes and functions, none of which starts before it is needed. */
export function openThreads(
  { config, directory }: Project,
  loader: string | undefined,
  temporary: string,
  clock: Clock,
): Pick<Workshop, 'lanes' | 'functions'> {
  const { limits = {} } = config
  return {
    lanes: Lanes.open(limits.laneWorkers ?? cpus().length, {
      memory: DEFAULTS.laneMemory,
      temporary,
      uniqueMemory: limits.uniqueMemory ?? DEFAULTS.uniqueMemory,
    }),
    functions: new FunctionPool({
      loader,
      directory,
      clock,
      threads: limits.functionWorkers ?? cpus().length,
      memory: limits.functionMemory ?? DEFAULTS.functionMemory,
    }),
  }
}

/** The bound on what may wait to be processed, in bytes. */
export function backlogBytes({ config }: Project): number {
  return config.ingest?.backlogBytes ?? DEFAULTS.backlogBytes
}

export interface StreamDuties {
  /** Partitions to begin with, to be given others; without it all. */
  readonly owned: readonly number[] | undefined
  /** Called when the stream stops, also if it will be taken up again. */
  onFailed(error: MillraceError): void
}

/** Takes up a stream where its last commit left it. */
export function openStreamRunner(
  shop: Workshop,
  stream: Stream,
  log: StreamLog,
  { owned, onFailed }: StreamDuties,
): Promise<StreamRunner> {
  const { project, clock, scheduler } = shop
  const { ingest = {} } = project.config
  const timed = project.timedBy(stream).map(({ name }) => ({
    name,
    readers: project.readers(name).filter((reader) => reader.kind === 'table'),
  }))
  return StreamRunner.open({
    stream,
    eventTime: project.eventTime(stream),
    gate: (sources) => shop.gates.of(stream, sources),
    code: shop.bound.code.get(stream.name)!,
    run: shop.run,
    log,
    table: shop.lakeTable(stream.name),
    openQuarantine: (create) => openQuarantine(shop.warehouse, stream.name, create),
    lanes: shop.lanes,
    clock,
    temporary: shop.temporary,
    limits: {
      commitIntervalMs: durationMs(ingest.commitInterval ?? DEFAULTS.commitInterval, 'ingest.commitInterval'),
      quietMs: DEFAULTS.quietMs,
      lingerMs: DEFAULTS.lingerMs,
    },
    isAwaited: (beforeMs, afterMs) =>
      timed.some(({ name, readers }) => readers.some((reader) => closesBetween(reader, name, beforeMs, afterMs))),
    audited: isAudited(stream),
    onCommit: () => {
      if (hasAudits(stream)) scheduler.due(stream)
      if (!isAudited(stream)) scheduler.published(stream)
    },
    onFailed: (error) => {
      scheduler.setState(stream, { state: 'failed', reason: error.message, error })
      onFailed(error)
    },
    onRecovered: () => {
      scheduler.setState(stream, { state: 'ok' })
      if (hasAudits(stream)) scheduler.due(stream)
    },
    // Whoever has it now goes on with it; it comes back with a new lease.
    ...(owned ? { owned, onFenced: () => undefined } : {}),
  })
}

/** Takes up a table where its last step left it; where workers share it, with all partitions, or those told, to be given others. */
export async function openTableRunner(shop: Workshop, table: Table, owned?: readonly number[]): Promise<TableRunner> {
  const transform = await openTransform(shop, table)
  const options = {
    table,
    lakeTable: shop.lakeTable(table.name),
    code: shop.bound.code.get(table.name)!,
    run: shop.run,
    // Functions run here, over files that the embedded engine reads.
    engine: transform ? duckdbEngine(shop.database) : shop.engine,
    clock: shop.clock,
    lakeTableOf: ({ name }: Dataset) => shop.lakeTable(name),
    openQuarantine: (create: boolean) => openQuarantine(shop.warehouse, table.name, create),
  }
  return new TableRunner({
    ...options,
    fields: shop.bound.fields.get(table.name)!,
    named: shop.bound.named.get(table.name),
    idlePartitions: shop.idlePartitions,
    ...(transform ? { transform } : {}),
    ...(transform && sharedStream(table) ? { shares: await openShares({ ...options, transform }, owned) } : {}),
    noted: (work) => shop.history.refresh(table.name, work),
  })
}

async function openShares(options: SharesOptions, owned: readonly number[] | undefined): Promise<Shares> {
  const shares = await Shares.open(options)
  const first = owned ?? Array.from({ length: shares.partitions }, (_, i) => i)
  await shares.take(new Map(first.map((partition) => [partition, undefined])))
  return shares
}

async function openTransform(shop: Workshop, table: Table): Promise<TransformRunner | undefined> {
  const { transform } = table
  if (!transform) return undefined
  return new TransformRunner({
    table,
    transform,
    fields: shop.bound.fields.get(table.name)!,
    inputFields: transform.input && shop.bound.fields.get(transform.input.name),
    code: shop.bound.code.get(table.name)!,
    database: shop.database,
    clock: shop.clock,
    pool: shop.functions,
    temporary: shop.temporary,
    openQuarantine: (create) => openQuarantine(shop.warehouse, table.name, create),
  }).open()
}

async function openQuarantine(warehouse: Warehouse, name: string, create: boolean): Promise<LakeTable | undefined> {
  if (create) return warehouse.quarantineOf(name)
  const found = await warehouse.lake.load({ namespace: LAYERS.quarantine, name })
  await found?.refresh()
  return found
}

import { cpus } from 'node:os'
import type { Clock } from '../base/clock.ts'
import { durationMs } from '../base/duration.ts'
import type { Database } from '../engine/duckdb/database.ts'
import type { LakeTable } from '../lake/table.ts'
import type { StreamLog } from '../log/log.ts'
import { eventTimeOf } from '../project/event-time.ts'
import type { Project } from '../project/project.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import type { BoundProject } from './bind.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine } from './engine.ts'
import { FunctionPool } from './function-pool.ts'
import type { Gates } from './gates.ts'
import { Lanes } from './lanes.ts'
import { hasAudits, isAudited } from './audits.ts'
import type { RunHistory } from './run-history.ts'
import type { Scheduler } from './scheduler.ts'
import { StreamRunner } from './stream-runner.ts'
import { TableRunner } from './table-runner.ts'
import { TransformRunner } from './transform-runner.ts'
import { LAYERS, type Warehouse } from './warehouse.ts'
import { type IdlePartitions, closesBetween } from './watermark.ts'

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

/** Takes up a stream where its last commit left it: all its partitions, or those told, to be given others. */
export function openStreamRunner(
  shop: Workshop,
  stream: Stream,
  log: StreamLog,
  owned?: readonly number[],
): Promise<StreamRunner> {
  const { project, clock, scheduler } = shop
  const { ingest = {} } = project.config
  const readers = project.readers(stream.name).filter((reader) => reader.kind === 'table')
  return StreamRunner.open({
    stream,
    eventTime: eventTimeOf(stream, project.readers(stream.name)),
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
    isAwaited: (beforeMs, afterMs) => readers.some((reader) => closesBetween(reader, stream.name, beforeMs, afterMs)),
    audited: isAudited(stream),
    onCommit: () => {
      if (hasAudits(stream)) scheduler.due(stream)
      if (!isAudited(stream)) scheduler.published(stream)
    },
    onFailed: (error) => scheduler.setState(stream, { state: 'failed', reason: error.message, error }),
    // Whoever has it now goes on with it; it comes back with a new lease.
    ...(owned ? { owned, onFenced: () => undefined } : {}),
  })
}

/** Takes up a table where its last step left it. */
export async function openTableRunner(shop: Workshop, table: Table): Promise<TableRunner> {
  const transform = await openTransform(shop, table)
  return new TableRunner({
    table,
    lakeTable: shop.lakeTable(table.name),
    fields: shop.bound.fields.get(table.name)!,
    code: shop.bound.code.get(table.name)!,
    run: shop.run,
    // Functions run here, over files that the embedded engine reads.
    engine: transform ? duckdbEngine(shop.database) : shop.engine,
    clock: shop.clock,
    lakeTableOf: ({ name }) => shop.lakeTable(name),
    ...(transform ? { transform } : {}),
    idlePartitions: shop.idlePartitions,
    noted: (work) => shop.history.refresh(table.name, work),
  })
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

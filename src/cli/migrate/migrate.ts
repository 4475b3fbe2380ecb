import { join } from 'node:path'
import { MillraceError } from '../../base/errors.ts'
import { carryTable } from '../../lake/carry-table.ts'
import { Lake } from '../../lake/lake.ts'
import { type Origin, beginOrigin, endOrigin, readOrigin } from '../../lake/origin.ts'
import { SCRATCH } from '../../lake/scratch.ts'
import { type LakeTable, nameOf } from '../../lake/table.ts'
import { carryEmptyMarks, carryPartition } from '../../log/carry.ts'
import type { StreamLog } from '../../log/log.ts'
import { openLocalLog } from '../../log/local/open.ts'
import type { Project } from '../../project/project.ts'
import type { Stream } from '../../project/stream.ts'
import type { Target } from '../../project/target.ts'
import { DiskPlaces, type HandlerPlaces } from '../../runtime/changes/handler-places.ts'
import { LAYERS } from '../../runtime/warehouse.ts'
import type { Effects } from '../effects.ts'
import type { Home } from '../home.ts'
import { type OpenParts, openParts } from '../open-parts.ts'
import { type Compared, compareLogs, compareTables } from './compare.ts'

export interface MigrateOptions {
  readonly project: Project
  /** The embedded warehouse. The caller holds its lock. */
  readonly from: Home
  /** The target; the caller holds the lock of its data directory. */
  readonly to: Home
  readonly target: Target
  onStep(step: string): void
  onError(error: MillraceError): void
}

export interface MigrateReport {
  readonly target: string
  /** It was all there before. */
  readonly already: boolean
  readonly tables: readonly (Compared & {
    readonly snapshots: number
    readonly files: number
    readonly copied: number
  })[]
  readonly logs: readonly Compared[]
  readonly handlers: readonly string[]
}

/** The embedded side: nothing of it is changed but what opening a log recovers. */
interface Source {
  readonly tables: readonly LakeTable[]
  readonly logs: ReadonlyMap<Stream, StreamLog>
  readonly places: HandlerPlaces
}

/**
 * Carries tables with their history, logs with their offsets, and places of handlers to a target, and compares both sides. Interrupted anywhere, the target
 * says that it is unfinished, and is not started on; called again, it goes on.
 *
 * Errors: `invalid`/`nothing-to-migrate`, `log-retained`; `conflict`/`target-in-use`; `corrupt`/`migration-differs`; those of both sides.
 */
export async function migrate(options: MigrateOptions, effects: Effects): Promise<MigrateReport> {
  const source = await openSource(options, effects)
  try {
    const carried = await withTarget(options, effects, (parts) => carry(source, parts, options, effects))
    if (carried === undefined) {
      return { target: options.to.target!, already: true, tables: [], logs: [], handlers: [] }
    }
    // Opened again: what is compared is what is in the target, no copy of it here.
    return await withTarget(options, effects, (parts) => conclude(source, parts, carried, options, effects))
  } finally {
    for (const log of source.logs.values()) await log.close()
  }
}

async function openSource(
  { project, from, target, onError }: MigrateOptions,
  { disk, clock }: Effects,
): Promise<Source> {
  const lake = new Lake({ root: join(from.data, 'lake'), disk, clock })
  const tables: LakeTable[] = []
  for (const id of await lake.list()) if (id.namespace !== SCRATCH) tables.push((await lake.load(id))!)
  if (tables.length === 0) {
    throw nothingToMigrate(from.data)
  }
  const logs = new Map<Stream, StreamLog>()
  for (const stream of streamsOf(project)) {
    const directory = join(from.data, 'log', stream.name)
    const held = (await disk.list(directory)).filter((name) => /^\d+$/.test(name)).length
    if (held === 0) continue
    // No more than there are: opening makes none. Fewer than there are it refuses.
    const partitions = Math.min(held, stream.partitions)
    const log = await openLocalLog({ directory, stream: stream.name, partitions, disk, clock, onFatal: onError })
    if (stream.topic === undefined || target.log === undefined) logs.set(stream, log)
    // What others write to at the target has offsets of its own; of an empty log there is nothing to carry.
    else {
      const isEmpty = log.partitions.every(({ end }) => end === 0)
      await log.close()
      if (!isEmpty) throw foreignTopic(stream)
    }
  }
  return { tables, logs, places: new DiskPlaces(disk, from.data) }
}

/** `invalid`/`nothing-to-migrate` */
export function nothingToMigrate(path: string): MillraceError {
  return new MillraceError('invalid', 'nothing-to-migrate', `There is no warehouse in ${path}.`, {
    hint: 'Name the data directory that the project has run on: --data DIR. A project that has not run yet can start on the target at once.',
    context: { path },
  })
}

function foreignTopic({ name, topic }: Stream): MillraceError {
  return new MillraceError(
    'invalid',
    'topic-foreign',
    `Stream '${name}' reads topic '${topic}' of others at the target, and its records here have other offsets.`,
    { hint: `Carry it without 'topic', or begin stream '${name}' anew at the target.`, context: { dataset: name } },
  )
}

function streamsOf({ order }: Project): Stream[] {
  return order.filter((dataset) => dataset.kind === 'stream')
}

async function withTarget<T>(
  { project, to, target, onError }: MigrateOptions,
  effects: Effects,
  work: (parts: OpenParts) => Promise<T>,
): Promise<T> {
  // What computes has nothing to be carried.
  const { engine: _engine, ...stores } = target
  const member = `migrate-${process.pid}`
  const parts = await openParts({ project, target: stores, home: to, member, carrying: true, onError }, effects)
  try {
    return await work(parts)
  } finally {
    await parts.close()
  }
}

interface CarriedAll {
  readonly tables: readonly Omit<MigrateReport['tables'][number], keyof Compared>[]
  readonly handlers: readonly string[]
}

/** Undefined when all of it was carried before. */
async function carry(
  source: Source,
  parts: OpenParts,
  options: MigrateOptions,
  effects: Effects,
): Promise<CarriedAll | undefined> {
  const { onStep, target, to } = options
  checkRetained(source, target)
  parts.lake.checkHistory()
  const origin = await readOrigin(parts.lake)
  if (origin) checkSame(source, origin, options)
  if (origin?.state === 'done') return undefined
  const logs = await openLogs(source, parts, options)
  try {
    if (!origin) {
      await checkEmpty(source, parts, logs, options)
      await beginOrigin(parts.lake, LAYERS.stream, originOf(source, options, 'carrying', effects))
    }
    for (const [stream, log] of source.logs) {
      onStep(`log of ${stream.name}`)
      const there = logs.get(stream)!
      for (const partition of log.partitions)
        await carryPartition(stream.name, partition, there.partitions[partition.partition]!, effects.disk)
      await carryEmptyMarks(log, there)
    }
  } finally {
    for (const log of logs.values()) await log.close()
  }
  const tables = []
  for (const table of source.tables) {
    onStep(`table ${nameOf(table.id)}`)
    tables.push(await carryTable(table, parts.lake, effects.disk))
  }
  return {
    tables,
    handlers: await carryPlaces(source, parts.handlerPlaces ?? new DiskPlaces(effects.disk, to.data), options),
  }
}

/** Compares, and says that it is done. */
async function conclude(
  source: Source,
  parts: OpenParts,
  { tables, handlers }: CarriedAll,
  options: MigrateOptions,
  effects: Effects,
): Promise<MigrateReport> {
  options.onStep('comparing')
  const compared = await compareTables(source.tables, parts.lake, join(options.to.data, 'tmp'))
  const there = await openLogs(source, parts, options)
  let logs: Compared[]
  try {
    logs = await compareLogs(source.logs, there, effects.disk)
  } finally {
    for (const log of there.values()) await log.close()
  }
  const different = [...compared, ...logs].filter(({ equal }) => !equal)
  if (different.length > 0) {
    throw new MillraceError(
      'corrupt',
      'migration-differs',
      `The target does not hold the same: ${different.map(({ name, records, targetRecords }) => `${name} (${records} here, ${targetRecords} there)`).join(', ')}.`,
      {
        hint: 'Something else wrote to the target, or damaged it. Delete its topics and its lake, and migrate again; nothing here was changed.',
        context: { target: options.to.target },
      },
    )
  }
  await endOrigin(parts.lake, originOf(source, options, 'done', effects))
  return {
    target: options.to.target!,
    already: false,
    tables: compared.map((table, i) => ({ ...table, ...tables[i]! })),
    logs,
    handlers,
  }
}

/** The logs of the target. Their topics are made where there are none. */
async function openLogs(
  source: Source,
  parts: OpenParts,
  { onError }: MigrateOptions,
): Promise<Map<Stream, StreamLog>> {
  const logs = new Map<Stream, StreamLog>()
  for (const stream of source.logs.keys())
    logs.set(stream, await parts.openLog(stream, { onFatal: onError, onGrown: () => undefined }))
  return logs
}

/** Topics begin at 0, and those of streams that load files keep all of it. */
function checkRetained({ logs }: Source, target: Target): void {
  for (const [{ name, sources }, log] of logs) {
    const gone = log.partitions.find(({ start }) => start > 0)
    if (!gone || (target.log && sources.length === 0)) continue
    throw new MillraceError(
      'invalid',
      'log-retained',
      `The log of stream '${name}', partition ${gone.partition}, begins at offset ${gone.start}: retention has removed what was before.`,
      {
        hint:
          sources.length > 0
            ? 'A topic keeps which files were loaded with their records, so it has to begin at 0. Load the files anew on the target.'
            : 'Only a log on Kafka can begin so: name one in the target.',
        context: { dataset: name, start: gone.start },
      },
    )
  }
}

async function checkEmpty(
  { tables, logs: here }: Source,
  parts: OpenParts,
  logs: ReadonlyMap<Stream, StreamLog>,
  { project, to }: MigrateOptions,
): Promise<void> {
  const layers: readonly string[] = Object.values(LAYERS)
  const ours = new Set(tables.map(({ id }) => nameOf(id)))
  const table = (await parts.lake.list()).find((id) => layers.includes(id.namespace) || ours.has(nameOf(id)))
  const stream = [...here.keys()].find(({ name }) =>
    [...logs].some(([own, log]) => own.name === name && log.partitions.some(({ end }) => end > 0)),
  )
  let handler: string | undefined
  for (const { name } of project.handlers.values()) if (await parts.handlerPlaces?.read(name)) handler = name
  const what = table
    ? `its lake has the table ${nameOf(table)}`
    : stream
      ? `the log of stream '${stream.name}' holds records`
      : handler && `it knows the handler '${handler}'`
  if (what) throw inUse(to.target!, what)
}

/** Errors: `conflict`/`target-in-use` when the target's tables come from elsewhere. */
function checkSame({ tables }: Source, origin: Origin, { to }: MigrateOptions): void {
  const here = uuidsOf(tables)
  const other = Object.entries(origin.tables).find(([name, uuid]) => here[name] !== uuid)
  if (other) throw inUse(to.target!, `its table ${other[0]} was carried there from ${origin.from}`)
}

function inUse(target: string, what: string): MillraceError {
  return new MillraceError('conflict', 'target-in-use', `Target '${target}' holds other data: ${what}.`, {
    hint: 'Name a target with another bucket or prefix, topicPrefix and schema, or delete what is there.',
    context: { target },
  })
}

function originOf({ tables }: Source, { from }: MigrateOptions, state: Origin['state'], { clock }: Effects): Origin {
  return { from: from.data, tables: uuidsOf(tables), state, at: new Date(clock.now()).toISOString() }
}

/** Of streams: tables may be made anew, streams never are. */
function uuidsOf(tables: readonly LakeTable[]): Record<string, string> {
  const streams = tables.filter(({ id }) => id.namespace === LAYERS.stream)
  return Object.fromEntries(streams.map((table) => [nameOf(table.id), table.view.metadata['table-uuid']]))
}

/** How far handlers are; snapshots have the same ids there. */
async function carryPlaces({ places }: Source, there: HandlerPlaces, { project }: MigrateOptions): Promise<string[]> {
  const carried: string[] = []
  for (const { name } of project.handlers.values()) {
    const place = await places.read(name)
    if (!place) continue
    await there.read(name)
    await there.write(name, place)
    carried.push(name)
  }
  return carried
}

import { MillraceError, assert } from '../base/errors.ts'
import type { Field } from '../project/columns.ts'
import { prepareCommit } from './commit.ts'
import type { ColumnStats, DataFile } from './data-file.ts'
import type { Lake } from './lake.ts'
import { isBelow, normalLocation } from './location.ts'
import { TableView } from './manifests.ts'
import { currentSchema } from './metadata.ts'
import type { TableMetadata } from './metadata.ts'
import type { SpecField } from './partition.ts'
import { isPrimitive, schemaToJson, walk } from './schema.ts'
import type { PrimitiveType } from './schema.ts'
import { DEFAULT_PROPERTIES, nameOf } from './table.ts'
import type { LakeTable, TableId } from './table.ts'
import type { PartitionValue } from './transform.ts'
import { decodeValue, encodeValue } from './value.ts'

/** Namespace of the tables by which another engine reads and writes exactly what a step hands it. */
export const SCRATCH = 'scratch'

/**
 * The name of a column in scratch tables. Iceberg reserves names such as `_partition`, which streams have; names do not matter
 * to those who know columns by their ids.
 */
export function scratchColumn(name: string): string {
  return name.startsWith('_') ? `$${name}` : name
}

/**
 * A table of exactly these files of another, under its field ids and partition specs, for an engine to read.
 * Nothing is copied and nothing is owned: dropping it leaves the files where they are.
 */
export async function scratchInput(lake: Lake, table: LakeTable, files: readonly DataFile[]): Promise<LakeTable> {
  const id = newId(lake, 'in')
  const empty = emptyLike(lake, id, table, {})
  if (files.length === 0) return lake.createFrom(id, empty)
  const { store: _store, clock, ...effects } = lake.context
  const prepared = await prepareCommit(
    new TableView(0, empty),
    { operation: 'append', add: files, remove: [], summary: {} },
    { ...effects, directory: `${empty.location}/metadata`, snapshotId: snapshotId(lake), nowMs: clock.now() },
  )
  return lake.createFrom(id, prepared.metadata, prepared.files)
}

/**
 * An empty table for an engine to write to what is to become rows of `target`. Its data files go to a directory of the
 * target, where they stay: what is never adopted is found there as an orphan. Throws `invalid` / `bad-nested-name`.
 */
export async function scratchOutput(lake: Lake, target: LakeTable, directory: string): Promise<LakeTable> {
  refuseMangled(target)
  const id = newId(lake, 'out')
  const since = String(lake.context.clock.now())
  return lake.createFrom(id, emptyLike(lake, id, target, { ...WRITTEN, [DATA_PATH]: directory, [SINCE]: since }))
}

/** Where an engine writes what nobody will commit, though it writes it as rows of a table: it reaches it as it reaches the lake. */
export async function scratchPlace(lake: Lake): Promise<{ readonly directory: string; remove(): Promise<void> }> {
  const { store } = lake.context
  const location = lake.locationOf(newId(lake, COMPARED))
  await store.makeTable(location)
  return { directory: `${location}/data`, remove: () => store.removeTable(location) }
}

const COMPARED = 'compared'
const DATA_PATH = 'write.data.path'
/** When an output was made: no file that it holds is older. */
const SINCE = 'millrace.since'
/** A file beside a scratch table's metadata by which the step that uses it tells that it lives: the time, ms since the epoch. */
const ALIVE = 'alive'

/** Tells that scratch tables are in use. To be repeated, more often than what is swept is old. */
export async function keepAlive({ context: { store, clock } }: Lake, tables: Iterable<LakeTable>): Promise<void> {
  for (const { location } of tables) await store.note(`${location}/metadata/${ALIVE}`, Buffer.from(String(clock.now())))
}

/**
 * When the oldest of the steps began that are writing to a table's own place what is not adopted yet; undefined for none. A step that was killed counts
 * until it is swept.
 */
export async function writingSince(lake: Lake, table: LakeTable): Promise<number | undefined> {
  const times: number[] = []
  for (const id of await lake.list(SCRATCH)) {
    const { properties = {} } = (await lake.load(id))?.view.metadata ?? {}
    const since = properties[SINCE]
    if (since !== undefined && isBelow(normalLocation(properties[DATA_PATH] ?? ''), table.location))
      times.push(Number(since))
  }
  return times.length === 0 ? undefined : Math.min(...times)
}

/** A table of an engine's own for what a step computes once and reads again; it goes with its files. */
export function scratchKept(lake: Lake, fields: readonly Field[]): Promise<LakeTable> {
  const renamed = fields.map((field) => ({ ...field, name: scratchColumn(field.name) }))
  return lake.create(newId(lake, 'kept'), { fields: renamed, properties: WRITTEN })
}

/**
 * The data files that an engine wrote to a scratch output, as a commit to `target` takes them. Throws `invalid` /
 * `bad-scratch` when they are not as the target needs them: the engine changed the table, or deleted rows by files.
 */
export async function adopt(scratch: LakeTable, target: LakeTable): Promise<DataFile[]> {
  await scratch.refresh()
  const snapshot = scratch.snapshot()
  if (snapshot === undefined) return []
  const specId = target.view.defaultSpec.id
  const wrong = shapeOf(scratch) !== shapeOf(target) ? 'its columns' : undefined
  const files = await scratch.files(snapshot)
  const other = files.some((file) => file.specId !== specId) ? 'its partitions' : undefined
  if (wrong !== undefined || other !== undefined) {
    throw new MillraceError(
      'invalid',
      'bad-scratch',
      `${nameOf(scratch.id)} was written for ${nameOf(target.id)}, and ${wrong ?? other} are not the same any more.`,
      {
        hint: 'A step may insert into the table it is given, and nothing else.',
        context: { table: nameOf(target.id) },
      },
    )
  }
  const types = new Map([...walk(target.fields)].map((column) => [column.id, column]))
  return files.map((file) => ({
    path: file.path,
    records: file.records,
    bytes: file.bytes,
    partition: file.partition.map((value, i) => ownPartition(target.view.defaultSpec.fields[i]!, value)),
    columns: Object.fromEntries(
      Object.entries(file.columns).flatMap(([id, stats]) => {
        const column = types.get(Number(id))
        return column && isPrimitive(column.type) ? [[id, ownStats(column.type, column.repeated, stats)]] : []
      }),
    ),
    ...(file.splitOffsets === undefined ? {} : { splitOffsets: file.splitOffsets }),
    specId,
  }))
}

/** Removes scratch tables of which nobody has told for so long that they are in use: what steps that were killed left. Returns how many. */
export async function sweepScratch(lake: Lake, olderThanMs: number): Promise<number> {
  const { store, clock } = lake.context
  const before = clock.now() - olderThanMs
  let swept = 0
  for (const id of await lake.list(SCRATCH)) {
    const table = await lake.load(id)
    if (!table || Math.max(table.view.metadata['last-updated-ms'], await aliveAt(lake, table)) > before) continue
    await lake.drop(id)
    swept++
  }
  for (const name of await store.names(`${lake.root}/${SCRATCH}`)) {
    const location = `${lake.root}/${SCRATCH}/${name}`
    if (!name.startsWith(`${COMPARED}_`) || (await newestIn(lake, location)) > before) continue
    await store.removeTable(location)
    swept++
  }
  return swept
}

async function aliveAt({ context: { store } }: Lake, { location }: LakeTable): Promise<number> {
  const note = `${location}/metadata/${ALIVE}`
  return (await store.exists(note)) ? Number((await store.read(note)).toString('utf8')) : 0
}

async function newestIn({ context: { store } }: Lake, place: string): Promise<number> {
  let newest = 0
  for await (const { modifiedMs } of store.files(place)) newest = Math.max(newest, modifiedMs)
  return newest
}

/** What makes an engine's files like Millrace's own, and keeps it from removing any that others refer to. */
const WRITTEN: Readonly<Record<string, string>> = {
  'write.format.default': 'parquet',
  'write.parquet.compression-codec': 'zstd',
  'write.metadata.metrics.default': 'truncate(16)',
  'write.metadata.metrics.max-inferred-column-defaults': '1000',
}

function emptyLike(
  lake: Lake,
  id: TableId,
  { view: { metadata } }: LakeTable,
  properties: Readonly<Record<string, string>>,
): TableMetadata {
  const schema = currentSchema(metadata)
  return {
    'format-version': 2,
    'table-uuid': lake.newUuid(),
    location: lake.locationOf(id),
    'last-sequence-number': 0n,
    'last-updated-ms': lake.context.clock.now(),
    'last-column-id': metadata['last-column-id'],
    'current-schema-id': schema['schema-id'],
    schemas: [{ ...schema, fields: schema.fields.map((field) => ({ ...field, name: scratchColumn(field.name) })) }],
    'default-spec-id': metadata['default-spec-id'],
    'partition-specs': metadata['partition-specs'],
    'last-partition-id': metadata['last-partition-id'],
    'default-sort-order-id': 0,
    'sort-orders': [{ 'order-id': 0, fields: [] }],
    // Iceberg's guard against the removal of files that other tables hold.
    properties: { ...DEFAULT_PROPERTIES, 'gc.enabled': 'false', ...properties },
    'current-snapshot-id': -1n,
    refs: {},
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
  }
}

/** Names in scratch tables, field ids and types of a table's columns, without what only Millrace knows of them. */
function shapeOf(table: LakeTable): string {
  const fields = table.fields.map((field) => ({ ...field, name: scratchColumn(field.name) }))
  return JSON.stringify(schemaToJson(fields, 0).fields)
}

/**
 * Iceberg's Java library writes names that Avro does not allow under others; DuckDB reads columns by their ids, and what is in
 * structs by its name, and would find nothing.
 */
function refuseMangled(table: LakeTable): void {
  for (const { path } of walk(table.fields)) {
    const name = path.at(-1)!
    if (path.length === 1 || /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) continue
    throw new MillraceError(
      'invalid',
      'bad-nested-name',
      `Spark cannot write the struct field '${name}' of ${nameOf(table.id)} under its name.`,
      { hint: 'Name it with letters, digits and underscores.', context: { table: nameOf(table.id), column: path[0]! } },
    )
  }
}

/** Truncation below the least number, which Iceberg's Java library lets overflow, is that number here. */
function ownPartition({ transform, result }: SpecField, value: PartitionValue): PartitionValue {
  if (transform.kind !== 'truncate' || value === null) return value
  if (result.kind === 'int') return (value as number) % transform.width === 0 ? value : -(2 ** 31)
  if (result.kind === 'long') return (value as bigint) % BigInt(transform.width) === 0n ? value : -(2n ** 63n)
  return value
}

/** Statistics as the lake keeps them (docs/formats/lake.md): no bounds inside lists, none that are infinite, both zeros within. */
function ownStats(type: PrimitiveType, repeated: boolean, stats: ColumnStats): ColumnStats {
  if (repeated) return stats.bytes === undefined ? {} : { bytes: stats.bytes }
  if (type.kind !== 'double') return stats
  const { lower, upper, ...counts } = stats
  const bound = (bytes: Uint8Array | undefined, zero: number): Buffer | undefined => {
    const value = bytes && decodeValue(type, bytes)
    return Number.isFinite(value) ? encodeValue(type, value === 0 ? zero : value!) : undefined
  }
  const [least, most] = [bound(lower, -0), counts.nans === 0 ? bound(upper, 0) : undefined]
  return { ...counts, ...(least ? { lower: least } : {}), ...(most ? { upper: most } : {}) }
}

function newId(lake: Lake, purpose: string): TableId {
  return { namespace: SCRATCH, name: `${purpose}_${lake.context.suffix()}` }
}

function snapshotId(lake: Lake): bigint {
  const id = Buffer.from(lake.context.randomBytes(8)).readBigUInt64LE() >> 11n
  assert(id > 0n, 'a random id is not zero')
  return id
}

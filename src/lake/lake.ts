import { randomBytes } from 'node:crypto'
import { dirname, isAbsolute, join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { MillraceError, assert } from '../base/errors.ts'
import { uuid } from '../base/uuid.ts'
import type { Field } from '../project/columns.ts'
import { systemDisk } from '../storage/disk.ts'
import type { Disk } from '../storage/disk.ts'
import { checkNames } from './evolution.ts'
import { Manifests, TableView } from './manifests.ts'
import { checkName, isName } from './name.ts'
import { Namespaces } from './namespaces.ts'
import { PROPERTY, serializeMetadata } from './metadata.ts'
import type { TableMetadata } from './metadata.ts'
import { FIRST_PARTITION_ID, specToJson } from './partition.ts'
import type { PartitionField } from './partition.ts'
import { assignIds, jsonFieldIds, schemaToJson } from './schema.ts'
import { DEFAULT_PROPERTIES, LakeTable, nameOf, noTable, readView } from './table.ts'
import type { TableContext, TableId } from './table.ts'
import { type NewFile, Versions } from './versions.ts'

export interface LakeOptions {
  /** Absolute path; tables live in `root/<namespace>/<name>`. */
  readonly root: string
  readonly disk?: Disk
  readonly clock?: Clock
  /** Random bytes for ids and file names. */
  readonly random?: (count: number) => Uint8Array
}

export interface TableOptions {
  readonly fields: readonly Field[]
  readonly partition?: readonly PartitionField[]
  readonly properties?: Readonly<Record<string, string>>
}

/** A warehouse of Iceberg v2 tables on a local disk: docs/formats/lake.md. */
export class Lake {
  readonly root: string
  /** For this folder's use. */
  readonly context: TableContext
  readonly namespaces: Namespaces
  readonly #tables = new Map<string, Promise<LakeTable | undefined>>()

  constructor({ root, disk = systemDisk, clock = systemClock, random = randomBytes }: LakeOptions) {
    assert(isAbsolute(root), 'the lake has an absolute root')
    this.root = root
    const suffix = (): string => Buffer.from(random(16)).toString('hex')
    this.context = { disk, clock, manifests: new Manifests(disk), randomBytes: random, suffix }
    this.namespaces = new Namespaces(this)
  }

  /** Creates a table. Throws `conflict` / `table-exists`, and `invalid` for names, columns or partitions that cannot be. */
  async create(id: TableId, options: TableOptions): Promise<LakeTable> {
    checkNames(options.fields)
    return this.createFrom(id, initialMetadata(this.locationOf(id), options, this.context.clock.now(), this.newUuid()))
  }

  /**
   * Creates a table with metadata made elsewhere, its location `locationOf(id)`, and new files beside it that it refers to.
   * Throws `conflict` / `table-exists`.
   */
  async createFrom(id: TableId, metadata: TableMetadata, companions: readonly NewFile[] = []): Promise<LakeTable> {
    const location = this.locationOf(id)
    assert(metadata.location === location, 'a table lies where the lake puts it')
    const versions = this.#versions(id)
    const { disk } = this.context
    for (const part of ['data', 'metadata']) await disk.makeDirectory(join(location, part))
    // makeDirectory may have found directories that another process has made and not yet synced.
    for (let at = location; at.length >= this.root.length; at = dirname(at)) await disk.syncDirectory(at)
    const created =
      (await versions.latest()) === undefined &&
      (await versions.put(1, { bytes: serializeMetadata(metadata), companions }))
    if (!created) {
      throw new MillraceError('conflict', 'table-exists', `Table ${nameOf(id)} exists already.`, {
        hint: 'Load it, or drop it first.',
      })
    }
    const table = new LakeTable(id, location, versions, new TableView(1, metadata), this.context)
    this.#tables.set(nameOf(id), Promise.resolve(table))
    return table
  }

  /** The table, or undefined when there is none. One object for each table: what it commits, all its users see. */
  async load(id: TableId): Promise<LakeTable | undefined> {
    checkId(id)
    const key = nameOf(id)
    const known = this.#tables.get(key)
    const isGone = (await known?.catch(() => undefined))?.dropped
    if (isGone && this.#tables.get(key) === known) this.#tables.delete(key)
    let table = this.#tables.get(key)
    if (!table) {
      table = this.#read(id)
      this.#tables.set(key, table)
    }
    const forget = (): void => {
      if (this.#tables.get(key) === table) this.#tables.delete(key)
    }
    const loaded = await table.catch((error: unknown) => {
      forget()
      throw error
    })
    if (!loaded) forget()
    return loaded
  }

  /** All tables, by namespace and name; or those of one namespace. */
  async list(only?: string): Promise<TableId[]> {
    const { disk } = this.context
    const found: TableId[] = []
    for (const namespace of only === undefined ? await disk.list(this.root) : [only]) {
      if (!isName(namespace) || !(await disk.stat(join(this.root, namespace)))?.directory) continue
      for (const name of await disk.list(join(this.root, namespace))) {
        const id = { namespace, name }
        if (isName(name) && (await this.#versions(id).latest()) !== undefined) found.push(id)
      }
    }
    return found
  }

  /** Removes a table with all its files. Throws `invalid` / `no-such-table`. */
  async drop(id: TableId): Promise<void> {
    const table = await this.load(id)
    if (!table) throw noTable(id)
    await table.markDropped()
    this.#tables.delete(nameOf(id))
    const { disk } = this.context
    // Out of sight in one step: a crash half way through the removal leaves no half table.
    const grave = join(this.root, id.namespace, `.dropped-${id.name}-${this.context.suffix()}`)
    await disk.rename(table.location, grave)
    await disk.syncDirectory(dirname(table.location))
    await disk.removeTree(grave)
  }

  async #read(id: TableId): Promise<LakeTable | undefined> {
    const versions = this.#versions(id)
    const version = await versions.latest()
    if (version === undefined) return undefined
    const location = this.locationOf(id)
    return new LakeTable(id, location, versions, await readView(versions, version, location), this.context)
  }

  /** Where a table of this name lies, whether there is one or not. */
  locationOf(id: TableId): string {
    checkId(id)
    return join(this.root, id.namespace, id.name)
  }

  newUuid(): string {
    return uuid(this.context.randomBytes(16))
  }

  #versions(id: TableId): Versions {
    return new Versions(this.context.disk, join(this.locationOf(id), 'metadata'), this.context.suffix)
  }
}

function initialMetadata(location: string, options: TableOptions, nowMs: number, tableUuid: string): TableMetadata {
  let lastId = 0
  const fields = assignIds(options.fields, () => ++lastId)
  const spec = specToJson(options.partition ?? [], fields)
  return {
    'format-version': 2,
    'table-uuid': tableUuid,
    location,
    'last-sequence-number': 0n,
    'last-updated-ms': nowMs,
    'last-column-id': lastId,
    'current-schema-id': 0,
    schemas: [schemaToJson(fields, 0)],
    'default-spec-id': 0,
    'partition-specs': [spec],
    'last-partition-id': FIRST_PARTITION_ID - 1 + spec.fields.length,
    'default-sort-order-id': 0,
    'sort-orders': [{ 'order-id': 0, fields: [] }],
    properties: { ...DEFAULT_PROPERTIES, ...options.properties, [PROPERTY.jsonFields]: jsonFieldIds(fields).join(',') },
    'current-snapshot-id': -1n,
    refs: {},
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
  }
}

function checkId(id: TableId): void {
  for (const name of [id.namespace, id.name]) checkName(name)
}

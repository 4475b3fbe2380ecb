import { randomBytes } from 'node:crypto'
import { isAbsolute } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { MillraceError, assert } from '../base/errors.ts'
import { uuid } from '../base/uuid.ts'
import type { Field } from '../project/columns.ts'
import { systemDisk } from '../storage/disk.ts'
import type { Disk } from '../storage/disk.ts'
import { DiskStore } from './disk-store.ts'
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
import type { LakeStore, LocalFiles, NewFile } from './store.ts'
import { Versions } from './versions.ts'

interface Effects {
  readonly clock?: Clock
  /** Random bytes for ids and file names. */
  readonly random?: (count: number) => Uint8Array
}

interface Directory {
  /** Absolute path. */
  readonly root: string
  readonly disk?: Disk
}

/** A lake in a directory of this machine, or wherever a store keeps it. */
export type LakeOptions = Effects & (Directory | { readonly store: LakeStore })

export interface TableOptions {
  readonly fields: readonly Field[]
  readonly partition?: readonly PartitionField[]
  readonly properties?: Readonly<Record<string, string>>
}

/** A warehouse of Iceberg v2 tables: docs/formats/lake.md. */
export class Lake {
  /** For this folder's use. */
  readonly context: TableContext
  readonly namespaces: Namespaces
  readonly #tables = new Map<string, Promise<LakeTable | undefined>>()

  constructor({ clock = systemClock, random = randomBytes, ...options }: LakeOptions) {
    const suffix = (): string => Buffer.from(random(16)).toString('hex')
    const store = 'store' in options ? options.store : diskStore(options, suffix)
    this.context = { store, clock, manifests: new Manifests(store), randomBytes: random, suffix }
    this.namespaces = new Namespaces(this)
  }

  /** Where it lies: tables are in `root/<namespace>/<name>`. */
  get root(): string {
    return this.context.store.root
  }

  /** Where its files are read and written on this machine. */
  get local(): LocalFiles {
    return this.context.store.local
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
    await this.context.store.makeTable(location)
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
    const { store } = this.context
    const found: TableId[] = []
    for (const namespace of only === undefined ? await store.names(this.root) : [only]) {
      if (!isName(namespace)) continue
      for (const name of await store.names(`${this.root}/${namespace}`)) {
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
    await this.context.store.removeTable(table.location)
  }

  async #read(id: TableId): Promise<LakeTable | undefined> {
    const versions = this.#versions(id)
    const version = await versions.latest()
    if (version === undefined) return undefined
    const location = this.locationOf(id)
    await this.context.store.openTable(location)
    return new LakeTable(id, location, versions, await readView(versions, version, location), this.context)
  }

  /** Where a table of this name lies, whether there is one or not. */
  locationOf(id: TableId): string {
    checkId(id)
    return `${this.root}/${id.namespace}/${id.name}`
  }

  newUuid(): string {
    return uuid(this.context.randomBytes(16))
  }

  #versions(id: TableId): Versions {
    return new Versions(this.context.store, `${this.locationOf(id)}/metadata`)
  }
}

function diskStore({ root, disk = systemDisk }: Directory, suffix: () => string): LakeStore {
  assert(isAbsolute(root), 'the lake has an absolute root')
  return new DiskStore(disk, root, suffix)
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

import { randomBytes } from 'node:crypto'
import { isAbsolute } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { MillraceError, assert } from '../base/errors.ts'
import { uuid } from '../base/uuid.ts'
import type { Field } from '../project/columns.ts'
import { systemDisk } from '../storage/disk.ts'
import type { Disk } from '../storage/disk.ts'
import type { Catalog, Namespaces } from './catalog.ts'
import { DiskStore } from './disk-store.ts'
import { checkNames } from './evolution.ts'
import { FileCatalog } from './file-catalog.ts'
import { Manifests } from './manifests.ts'
import { checkId } from './name.ts'
import { PROPERTY } from './metadata.ts'
import type { TableMetadata } from './metadata.ts'
import { FIRST_PARTITION_ID, specToJson } from './partition.ts'
import type { PartitionField } from './partition.ts'
import { assignIds, jsonFieldIds, schemaToJson } from './schema.ts'
import { DEFAULT_PROPERTIES, LakeTable, nameOf, noTable } from './table.ts'
import type { TableContext, TableId } from './table.ts'
import type { LakeStore, LocalFiles, NewFile } from './store.ts'

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
export type LakeOptions = Effects &
  (
    | Directory
    | {
        readonly store: LakeStore
        /** Where tables are looked up. By default the files are the catalog. */ readonly catalog?: Catalog
      }
  )

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
  readonly #catalog: Catalog
  readonly #tables = new Map<string, Promise<LakeTable | undefined>>()

  constructor({ clock = systemClock, random = randomBytes, ...options }: LakeOptions) {
    const suffix = (): string => Buffer.from(random(16)).toString('hex')
    const store = 'store' in options ? options.store : diskStore(options, suffix)
    this.context = { store, clock, manifests: new Manifests(store), randomBytes: random, suffix }
    this.#catalog = ('catalog' in options ? options.catalog : undefined) ?? new FileCatalog(store, clock)
    this.namespaces = this.#catalog.namespaces
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
    checkId(id)
    const created = await this.#catalog.create(id, metadata, companions)
    if (!created) {
      throw new MillraceError('conflict', 'table-exists', `Table ${nameOf(id)} exists already.`, {
        hint: 'Load it, or drop it first.',
      })
    }
    const table = new LakeTable(id, created, this.context)
    this.#tables.set(nameOf(id), Promise.resolve(table))
    return table
  }

  /** Throws `invalid` / `catalog-no-register` where tables cannot be carried to. */
  checkHistory(): void {
    this.#catalog.checkHistory()
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
  list(only?: string): Promise<TableId[]> {
    return this.#catalog.tables(only)
  }

  /** Removes a table with all its files. Throws `invalid` / `no-such-table`. */
  async drop(id: TableId): Promise<void> {
    const table = await this.load(id)
    if (!table) throw noTable(id)
    await table.markDropped()
    this.#tables.delete(nameOf(id))
    await this.#catalog.drop(id, table.location)
  }

  async #read(id: TableId): Promise<LakeTable | undefined> {
    const opened = await this.#catalog.open(id)
    return opened && new LakeTable(id, opened, this.context)
  }

  /** Where a table of this name lies, whether there is one or not. */
  locationOf(id: TableId): string {
    checkId(id)
    return `${this.root}/${id.namespace}/${id.name}`
  }

  newUuid(): string {
    return uuid(this.context.randomBytes(16))
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

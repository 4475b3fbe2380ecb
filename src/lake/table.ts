import type { Clock } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import type { Field, IdentifiedField } from '../project/columns.ts'
import type { OpenTable, Pointer } from './catalog.ts'
import { changesBetween } from './changes.ts'
import type { Changes } from './changes.ts'
import { moved, prepareCommit } from './commit.ts'
import type { DataFile } from './data-file.ts'
import { evolveFields } from './evolution.ts'
import { bindFilter, mayMatchFile, mayMatchManifest } from './filter.ts'
import type { FileFilter } from './filter.ts'
import { liveFiles } from './manifest-list.ts'
import type { Manifests, TableView } from './manifests.ts'
import { KEPT_VERSIONS, PROPERTY, findSnapshot, lineOf, recordIn, refId, toSnapshot, withRef } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'
import { nameOf } from './name.ts'
import type { TableId } from './name.ts'
import { partitionOf } from './partition.ts'
import type { PartitionField } from './partition.ts'
import { jsonFieldIds, schemaToJson } from './schema.ts'
import type { Commit, Snapshot } from './snapshot.ts'
import type { LakeStore, LocalFiles, NewFile } from './store.ts'

export type { Commit, Snapshot } from './snapshot.ts'
export { nameOf } from './name.ts'
export type { TableId } from './name.ts'

/** What tables share: the effects, and the cache of manifests. */
export interface TableContext {
  readonly store: LakeStore
  readonly clock: Clock
  readonly manifests: Manifests
  readonly randomBytes: (count: number) => Uint8Array
  /** A new random part of a file name. */
  readonly suffix: () => string
}

/** The next metadata, and what has to be on the disk before it. */
export interface Transaction {
  readonly metadata: TableMetadata
  readonly files?: readonly NewFile[]
}

const ATTEMPTS_MAX = 100
const BACKOFF_MS_MAX = 100

/**
 * One Iceberg table. Reads answer from the metadata this process knows; `refresh` looks whether there is newer. Changes
 * are made one after the other within the process, and race other processes by compare-and-swap.
 */
export class LakeTable {
  readonly id: TableId
  readonly location: string
  readonly #pointer: Pointer
  /** For this folder's use. */
  readonly context: TableContext
  readonly #queue = new SerialQueue()
  #view: TableView
  #dropped = false

  constructor(id: TableId, { location, pointer, view }: OpenTable, context: TableContext) {
    this.id = id
    this.location = location
    this.#pointer = pointer
    this.#view = view
    this.context = context
  }

  /** The current schema. */
  get fields(): readonly IdentifiedField[] {
    return this.#view.fields
  }

  get partition(): readonly PartitionField[] {
    return partitionOf(this.#view.defaultSpec, this.#view.fields)
  }

  /** The same as long as it is the same table: one that is dropped and made again has another. */
  get uuid(): string {
    return this.#view.metadata['table-uuid']
  }

  get properties(): Readonly<Record<string, string>> {
    return this.#view.metadata.properties ?? {}
  }

  /** The version of the metadata this object knows, with what follows from it. For this folder's use. */
  get view(): TableView {
    return this.#view
  }

  /** Where the present metadata lies. */
  get metadataPath(): string {
    return this.#pointer.pathOf(this.#view)
  }

  /** Whether a file below the table that no snapshot refers to is its catalog's. For this folder's use. */
  ownsFile(path: string): boolean {
    return this.#pointer.owns(path, this.#view)
  }

  /** Where its files are read and written on this machine. */
  get local(): LocalFiles {
    return this.context.store.local
  }

  /** Whether a data file is still there. */
  holds({ path }: Pick<DataFile, 'path'>): Promise<boolean> {
    return this.context.store.exists(path)
  }

  /** Branches and tags with the snapshots they are at. */
  get refs(): Readonly<Record<string, bigint>> {
    const { refs = {} } = this.#view.metadata
    const main = refId(this.#view.metadata, 'main')
    const all = Object.entries(refs).map(([name, ref]) => [name, ref['snapshot-id']] as const)
    return Object.fromEntries(main === undefined ? all : [...all, ['main', main]])
  }

  /** Takes up what other processes committed. Throws `invalid` / `no-such-table` when one of them dropped the table. */
  async refresh(): Promise<void> {
    const known = this.#view
    const view = await this.#pointer.latest(known)
    if (view === known && !this.#dropped) return
    // A table made anew under the same name is another one.
    if (view?.metadata['table-uuid'] !== known.metadata['table-uuid']) this.#dropped = true
    if (this.#dropped || !view) throw noTable(this.id)
    this.#adopt(view)
  }

  /** Whether the table is known to be gone. */
  get dropped(): boolean {
    return this.#dropped
  }

  /**
   * The snapshot a ref is at, or the one with an id. Where another engine made it, in a catalog that carries nothing on, its summary has the
   * record of the newest step below it.
   */
  snapshot(ref: string | bigint = 'main'): Snapshot | undefined {
    const json = this.#find(ref)
    if (!json) return undefined
    const snapshot = toSnapshot(json)
    if (hasRecord(snapshot)) return snapshot
    const newest = [...lineOf(this.#view.metadata, snapshot.id)].find(hasRecord)
    return newest ? { ...snapshot, summary: { ...recordIn(newest.summary), ...snapshot.summary } } : snapshot
  }

  /** The ref's snapshot and its ancestors that have not expired, oldest first. */
  history(ref = 'main'): Snapshot[] {
    const { metadata } = this.#view
    return [...lineOf(metadata, refId(metadata, ref))].reverse()
  }

  /**
   * Ids of the snapshots that were published one after the other: what main was at, oldest first, back to where history
   * has expired. What an audited branch went through in between is not among them.
   */
  published(): bigint[] {
    const ids = (this.#view.metadata['snapshot-log'] ?? []).map((entry) => entry['snapshot-id'])
    const main = refId(this.#view.metadata, 'main')
    return main === undefined || ids.at(-1) === main ? ids : [...ids, main]
  }

  /** Live data files of a snapshot; with a filter, without those that cannot hold a row passing it. */
  async files(snapshot: Snapshot, filter: FileFilter = []): Promise<DataFile[]> {
    const view = this.#view
    const bound = bindFilter(filter, view.fields)
    const files: DataFile[] = []
    for (const manifest of await this.context.manifests.list(this.#require(snapshot.id))) {
      const spec = view.spec(manifest.specId)
      if (liveFiles(manifest) === 0 || !mayMatchManifest(manifest, spec, bound)) continue
      for (const { status, file } of await this.context.manifests.entries(manifest, view)) {
        if (status !== 'deleted' && mayMatchFile(file, spec, bound)) files.push(file)
      }
    }
    return files
  }

  /** Files whose rows came and went between two snapshots; undefined when that can no longer be told. See changesBetween. */
  changes(from: Pick<Snapshot, 'id'> | undefined, to: Snapshot): Promise<Changes | undefined> {
    return changesBetween(this.#view, this.context.manifests, from?.id, to.id)
  }

  /**
   * Commits files as one snapshot. Durable when it resolves: data files that are not `synced` are fsynced here.
   * Throws `conflict` / `moved` and `conflict` / `file-not-live` (see Commit), `corrupt` / `commit-unknown` when the disk
   * failed after the snapshot became visible; anything else thrown means that nothing was committed.
   */
  async commit(change: Commit): Promise<Snapshot> {
    const snapshotId = this.#newId()
    let synced: Promise<void> | undefined
    let snapshot: SnapshotJson | undefined
    await this.transact(
      async (view) => {
        const { store: _store, clock, ...effects } = this.context
        const context = { ...effects, directory: `${this.location}/metadata`, snapshotId, nowMs: clock.now() }
        const prepared = await prepareCommit(view, change, context)
        snapshot = prepared.snapshot
        return prepared
      },
      () => (synced ??= this.#syncData(change.add)),
    )
    return toSnapshot(snapshot!)
  }

  /** Makes files durable ahead of their commit, which then is quicker. */
  async syncAhead(files: readonly DataFile[]): Promise<DataFile[]> {
    await this.#syncData(files)
    return files.map((file) => ({ ...file, synced: true }))
  }

  /**
   * Moves a ref to a snapshot, or drops it. With `expected`, only if the ref is at that snapshot now: else `conflict` /
   * `moved`. This is how an audited branch is published.
   */
  async setRef(ref: string, snapshotId: bigint | undefined, expected?: bigint): Promise<void> {
    await this.transact(async ({ metadata }) => {
      const current = refId(metadata, ref)
      if (expected !== undefined && current !== expected) throw moved(ref, expected, current)
      if (snapshotId !== undefined && !findSnapshot(metadata, snapshotId)) throw noSnapshot(this.id, snapshotId)
      if (current === snapshotId) return undefined
      const nowMs = Math.max(this.context.clock.now(), metadata['last-updated-ms'])
      return { metadata: withRef(metadata, ref, snapshotId, nowMs) }
    })
  }

  /** Changes the schema to the declared fields; see evolveFields for what may change. Without a difference nothing is written. */
  async evolve(declared: readonly Field[]): Promise<void> {
    await this.transact(async ({ metadata, fields }) => {
      let lastId = metadata['last-column-id']
      const evolved = this.#evolved(fields, declared, () => ++lastId)
      const schemaId = Math.max(...metadata.schemas.map((schema) => schema['schema-id'])) + 1
      const json = schemaToJson(evolved, schemaId)
      const jsonFields = jsonFieldIds(evolved).join(',')
      const sameFields = JSON.stringify(json.fields) === JSON.stringify(schemaToJson(fields, schemaId).fields)
      if (sameFields && jsonFields === jsonFieldIds(fields).join(',')) return undefined
      return {
        metadata: {
          ...metadata,
          'last-column-id': lastId,
          'current-schema-id': schemaId,
          schemas: [...metadata.schemas, json],
          properties: { ...metadata.properties, [PROPERTY.jsonFields]: jsonFields },
        },
      }
    })
  }

  /** Sets table properties; undefined removes one. */
  async setProperties(changes: Readonly<Record<string, string | undefined>>): Promise<void> {
    await this.transact(async ({ metadata }) => {
      const before = metadata.properties ?? {}
      const after = Object.entries({ ...before, ...changes }).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      )
      if (after.length === Object.keys(before).length && after.every(([key, value]) => before[key] === value))
        return undefined
      return { metadata: { ...metadata, properties: Object.fromEntries(after) } }
    })
  }

  /**
   * Compare-and-swap on the metadata: `change` makes the next from the present and is called again on newer metadata
   * when another process was faster; undefined leaves everything as it is. `before` must have ended well before anything
   * refers to what it writes. For this folder's use.
   */
  transact(
    change: (view: TableView) => Promise<Transaction | undefined>,
    before: () => Promise<void> = async () => {},
  ): Promise<TableView> {
    return this.#queue.run(async () => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        if (this.#dropped) throw noTable(this.id)
        const base = this.#view
        const transaction = await change(base).catch((error: unknown) => this.#overtaken(base, error))
        if (transaction === 'overtaken') continue
        if (!transaction) return base
        if (await this.#put(base, transaction, before)) return this.#view
        const waitMs = Math.min(BACKOFF_MS_MAX, 2 ** Math.min(attempt, 7)) * (this.context.randomBytes(1)[0]! / 255)
        await this.context.clock.sleep(waitMs)
        await this.refresh()
      }
      throw new MillraceError(
        'unavailable',
        'contended',
        `${ATTEMPTS_MAX} tries to commit to ${nameOf(this.id)} lost against other processes.`,
        {
          hint: 'Let one process commit to a table, or try again later.',
        },
      )
    })
  }

  /** Makes this object refuse further work. For the lake's drop. */
  markDropped(): Promise<void> {
    return this.#queue.run(async () => void (this.#dropped = true))
  }

  // Another process may have compacted and expired what a change was reading: then there is newer metadata to read.
  async #overtaken(base: TableView, error: unknown): Promise<'overtaken'> {
    if (!(error instanceof MillraceError) || error.code !== 'file-missing') throw error
    await this.refresh()
    if (this.#view === base) throw error
    return 'overtaken'
  }

  async #put(base: TableView, { metadata, files = [] }: Transaction, before: () => Promise<void>): Promise<boolean> {
    const view = await this.#pointer.put(base, metadata, { files, before })
    if (view) this.#adopt(view)
    return view !== undefined
  }

  #adopt(view: TableView): void {
    if (view.version > this.#view.version) this.#view = view
  }

  #evolved(fields: readonly IdentifiedField[], declared: readonly Field[], next: () => number): IdentifiedField[] {
    try {
      return evolveFields(fields, declared, next)
    } catch (error) {
      const isOurs = this.properties[PROPERTY.jsonFields] !== undefined
      if (isOurs || !(error instanceof MillraceError) || error.code !== 'incompatible-schema') throw error
      throw new MillraceError('invalid', error.code, `${nameOf(this.id)} has another shape: ${error.message}`, {
        hint: `Millrace did not make ${nameOf(this.id)}. Rename or drop it, or keep the lake apart (namespace of lake.catalog, prefix, path).`,
        context: error.context,
        cause: error,
      })
    }
  }

  #find(ref: string | bigint): SnapshotJson | undefined {
    const id = typeof ref === 'bigint' ? ref : refId(this.#view.metadata, ref)
    return id === undefined ? undefined : findSnapshot(this.#view.metadata, id)
  }

  #require(id: bigint): SnapshotJson {
    const snapshot = this.#find(id)
    if (snapshot) return snapshot
    throw noSnapshot(this.id, id)
  }

  // 53 bits, so that every JSON reader keeps them exact.
  #newId(): bigint {
    for (;;) {
      const id = Buffer.from(this.context.randomBytes(8)).readBigUInt64LE() >> 11n
      if (id > 0n && !findSnapshot(this.#view.metadata, id)) return id
    }
  }

  #syncData(files: readonly DataFile[]): Promise<void> {
    const paths = files.filter((file) => file.synced !== true).map((file) => file.path)
    return this.local.sync(paths, this.location)
  }
}

/** Properties every new table has. */
export const DEFAULT_PROPERTIES = {
  [PROPERTY.deleteOldVersions]: 'true',
  [PROPERTY.keptVersions]: String(KEPT_VERSIONS),
} as const

export function noTable(id: TableId): MillraceError {
  return new MillraceError('invalid', 'no-such-table', `There is no table ${nameOf(id)} in the lake.`, {
    hint: 'It was dropped, or never created.',
  })
}

function noSnapshot(id: TableId, snapshotId: bigint): MillraceError {
  return new MillraceError('invalid', 'no-such-snapshot', `${nameOf(id)} has no snapshot ${snapshotId}.`, {
    hint: 'It has expired, or was committed elsewhere: refresh the table, and use a newer one.',
    context: { table: nameOf(id), snapshot: String(snapshotId) },
  })
}

function hasRecord({ summary }: Snapshot): boolean {
  return Object.keys(recordIn(summary)).length > 0
}

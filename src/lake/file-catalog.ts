import { MillraceError, assert } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import type { Catalog, OpenTable, Pointer, Work } from './catalog.ts'
import { normalLocation } from './location.ts'
import { TableView } from './manifests.ts'
import { KEPT_VERSIONS, PROPERTY, parseMetadata, serializeMetadata } from './metadata.ts'
import type { TableMetadata } from './metadata.ts'
import { checkId, isName } from './name.ts'
import type { TableId } from './name.ts'
import { FileNamespaces } from './namespaces.ts'
import type { LakeStore, NewFile } from './store.ts'
import { Versions } from './versions.ts'

/** The files are the catalog: tables lie where their names say, and their newest version counts (docs/formats/lake.md). */
export class FileCatalog implements Catalog {
  readonly namespaces: FileNamespaces
  readonly #store: LakeStore
  readonly #clock: Clock

  constructor(store: LakeStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
    this.namespaces = new FileNamespaces(store, this)
  }

  checkHistory(): void {}

  async tables(only?: string): Promise<TableId[]> {
    const { root } = this.#store
    const found: TableId[] = []
    for (const namespace of only === undefined ? await this.#store.names(root) : [only]) {
      if (!isName(namespace)) continue
      for (const name of await this.#store.names(`${root}/${namespace}`)) {
        const id = { namespace, name }
        if (isName(name) && (await this.#versions(this.#locationOf(id)).latest()) !== undefined) found.push(id)
      }
    }
    return found
  }

  /** Throws `invalid` / `table-moved`. */
  async open(id: TableId): Promise<OpenTable | undefined> {
    const location = this.#locationOf(id)
    const versions = this.#versions(location)
    const version = await versions.latest()
    if (version === undefined) return undefined
    await this.#store.openTable(location)
    return this.#opened(location, versions, await readView(versions, version, location))
  }

  async create(id: TableId, metadata: TableMetadata, companions: readonly NewFile[]): Promise<OpenTable | undefined> {
    const location = this.#locationOf(id)
    assert(metadata.location === location, 'a table lies where the lake puts it')
    const versions = this.#versions(location)
    await this.#store.makeTable(location)
    const created =
      (await versions.latest()) === undefined &&
      (await versions.put(1, { bytes: serializeMetadata(metadata), companions }))
    return created ? this.#opened(location, versions, new TableView(1, metadata)) : undefined
  }

  drop(_id: TableId, location: string): Promise<void> {
    return this.#store.removeTable(location)
  }

  #opened(location: string, versions: Versions, view: TableView): OpenTable {
    return { location, pointer: new VersionPointer(location, versions, this.#clock), view }
  }

  #locationOf(id: TableId): string {
    checkId(id)
    return `${this.#store.root}/${id.namespace}/${id.name}`
  }

  #versions(location: string): Versions {
    return new Versions(this.#store, `${location}/metadata`)
  }
}

/** The present metadata is the newest version. */
class VersionPointer implements Pointer {
  readonly #location: string
  readonly #versions: Versions
  readonly #clock: Clock

  constructor(location: string, versions: Versions, clock: Clock) {
    this.#location = location
    this.#versions = versions
    this.#clock = clock
  }

  pathOf({ version }: TableView): string {
    return this.#versions.path(version)
  }

  async latest(known: TableView): Promise<TableView | undefined> {
    const version = await this.#versions.latest(known.version)
    if (version === known.version) return known
    return version === undefined ? undefined : readView(this.#versions, version, this.#location)
  }

  async put(base: TableView, metadata: TableMetadata, { files = [], before }: Work): Promise<TableView | undefined> {
    const version = base.version + 1
    const keep = keptVersions(metadata)
    const previous = { 'timestamp-ms': base.metadata['last-updated-ms'], 'metadata-file': this.pathOf(base) }
    const log = [...(base.metadata['metadata-log'] ?? []), previous]
    const next: TableMetadata = {
      ...metadata,
      'last-updated-ms': Math.max(this.#clock.now(), base.metadata['last-updated-ms']),
      'metadata-log': keep === undefined ? log : log.slice(-keep),
    }
    const keepFrom = keep === undefined ? 0 : version - keep
    const work = { companions: files, ...(before ? { before } : {}), keepFrom }
    const put = await this.#versions.put(version, { bytes: serializeMetadata(next), ...work })
    return put ? new TableView(version, next, base) : undefined
  }

  owns(path: string, { version, metadata }: TableView): boolean {
    if (path.endsWith('/version-hint.text')) return true
    const number = /\/v(\d+)\.metadata\.json$/.exec(path)?.[1]
    return number !== undefined && Number(number) >= version - (keptVersions(metadata) ?? version)
  }
}

/** Reads one version. Throws `invalid` / `table-moved` when its files are recorded under another directory. */
async function readView(versions: Versions, version: number, location: string): Promise<TableView> {
  const path = versions.path(version)
  const metadata = parseMetadata((await versions.read(version)).toString('utf8'), path)
  const recorded = normalLocation(metadata.location).replace(/\/$/, '')
  if (recorded !== location) {
    throw new MillraceError(
      'invalid',
      'table-moved',
      `The table in ${location} was written in ${recorded}, and Iceberg records absolute paths.`,
      {
        hint: `Move it back to ${recorded} (a symbolic link there will do), or write it anew from its source.`,
        context: { path },
      },
    )
  }
  return new TableView(version, metadata)
}

/** How many versions before the present one stay; undefined: all. */
function keptVersions(metadata: TableMetadata): number | undefined {
  const properties = metadata.properties ?? {}
  if (properties[PROPERTY.deleteOldVersions] !== 'true') return undefined
  return Math.max(1, Number(properties[PROPERTY.keptVersions] ?? KEPT_VERSIONS) || KEPT_VERSIONS)
}

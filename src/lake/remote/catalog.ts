import { MillraceError } from '../../base/errors.ts'
import type { VendedAccess } from '../access.ts'
import type { Catalog, Namespaces, OpenTable } from '../catalog.ts'
import type { TableMetadata } from '../metadata.ts'
import { serializeMetadata } from '../metadata.ts'
import { checkName, isName, nameOf } from '../name.ts'
import type { TableId } from '../name.ts'
import type { LakeStore, NewFile } from '../store.ts'
import { DELEGATION } from './access-in.ts'
import type { ClientEffects, Request } from './client.ts'
import { CatalogClient } from './client.ts'
import type { CatalogConfig } from './config.ts'
import { creation } from './difference.ts'
import { CatalogFailure } from './failure.ts'
import { RemotePointer, loadTable, loadedTable, orMissing } from './pointer.ts'
import type { LoadedTable } from './pointer.ts'

const REGISTER = 'POST /v1/{prefix}/namespaces/{namespace}/register'

/**
 * Tables of a lake in another Iceberg REST catalog: that one says which metadata is the present one, and writes it. Data files,
 * manifests and lists are Millrace's, in the lake's own store.
 */
export class RemoteCatalog implements Catalog {
  readonly namespaces: Namespaces
  readonly #client: CatalogClient
  readonly #store: LakeStore
  readonly #names: RemoteNamespaces

  readonly #vended: VendedAccess | undefined

  private constructor(client: CatalogClient, store: LakeStore, parent: readonly string[], vended?: VendedAccess) {
    this.#client = client
    this.#store = store
    this.#vended = vended
    this.namespaces = this.#names = new RemoteNamespaces(client, parent)
  }

  /** What opens the tables is put into `vended`, where there is one. Errors: those of CatalogClient.open. */
  static async open(
    config: CatalogConfig,
    store: LakeStore,
    effects: ClientEffects,
    vended?: VendedAccess,
  ): Promise<RemoteCatalog> {
    const parent = config.namespace === undefined ? [] : config.namespace.split('.')
    const headers = vended ? DELEGATION : {}
    return new RemoteCatalog(await CatalogClient.open(config, effects, headers), store, parent, vended)
  }

  checkHistory(): void {
    if (this.#client.has(REGISTER)) return
    const { uri } = this.#client
    throw new MillraceError(
      'invalid',
      'catalog-no-register',
      `The catalog ${uri} cannot take tables with their history: it has no endpoint to register them.`,
      {
        hint: 'Migrate to a catalog that has one, or to a lake without lake.catalog.',
        context: { catalog: uri },
      },
    )
  }

  async tables(only?: string): Promise<TableId[]> {
    const found: TableId[] = []
    for (const namespace of only === undefined ? await this.namespaces.list() : [only]) {
      const path = this.#client.path(this.#names.levels(namespace), 'tables')
      const listed = await orMissing(() => this.#client.all(`tables of ${namespace}`, path, 'identifiers'))
      for (const { name } of (listed ?? []) as { name: string }[]) if (isName(name)) found.push({ namespace, name })
    }
    return found.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  }

  /** Throws `invalid` / `table-elsewhere`. */
  async open(id: TableId): Promise<OpenTable | undefined> {
    const loaded = await loadTable(this.#client, this.#pathOf(id), id)
    return loaded && this.#opened(id, loaded)
  }

  async create(id: TableId, metadata: TableMetadata, companions: readonly NewFile[]): Promise<OpenTable | undefined> {
    await this.#names.ensure(id.namespace)
    await this.#store.makeTable(metadata.location)
    const { snapshots = [], schemas } = metadata
    const hasHistory = snapshots.length > 1 || schemas.length > 1
    if (hasHistory) this.checkHistory()
    const file = { path: `${metadata.location}/metadata/00000-${metadata['table-uuid']}.metadata.json` }
    const files = hasHistory ? [...companions, { ...file, bytes: serializeMetadata(metadata) }] : companions
    for (const each of files) await this.#store.write(each)
    if (files.length > 0) await this.#store.settle(`${metadata.location}/metadata`)
    const request: Request = hasHistory
      ? {
          method: 'POST',
          path: this.#client.path(this.#names.levels(id.namespace), 'register'),
          body: { name: id.name, 'metadata-location': file.path },
        }
      : { method: 'POST', path: this.#pathOf(id), body: creation(metadata) }
    const created = await this.#create(id, request, metadata['table-uuid'])
    return created && this.#opened(id, created)
  }

  /** Out of sight first: what a crash leaves then are files of no table. */
  async drop(id: TableId, location: string): Promise<void> {
    const request: Request = { method: 'DELETE', path: this.#pathOf(id), query: { purgeRequested: 'false' } }
    await orMissing(() => this.#client.ask(`dropping ${nameOf(id)}`, request))
    try {
      await this.#store.removeTable(location)
    } catch (error) {
      // The catalog has done it.
      if (!(error instanceof MillraceError) || error.code !== 'not-found') throw error
    }
  }

  /** Undefined when somebody else's is there; ours is known by its uuid. */
  async #create(id: TableId, request: Request, uuid: string): Promise<LoadedTable | undefined> {
    const what = `creating ${nameOf(id)}`
    const patience = this.#client.patience()
    let isUnclear = false
    for (;;) {
      try {
        return loadedTable(await this.#client.send(request), id, this.#client)
      } catch (error) {
        if (!(error instanceof CatalogFailure)) throw error
        isUnclear ||= error.outcome === 'unclear'
        if (error.outcome === 'final') {
          if (error.status !== 409) throw this.#client.error(error, what)
          const found = isUnclear ? await loadTable(this.#client, this.#pathOf(id), id) : undefined
          return found?.metadata['table-uuid'] === uuid ? found : undefined
        }
        if (!(await patience.wait())) throw this.#client.error(error, what)
      }
    }
  }

  async #opened(id: TableId, loaded: LoadedTable): Promise<OpenTable> {
    const { location } = loaded.metadata
    if (!this.#store.reaches(location)) throw elsewhere(id, location, this.#store.root, this.#client.uri)
    if (this.#vended) await this.#take(this.#vended, id, loaded)
    await this.#store.makeTable(location)
    const options = { id, path: this.#pathOf(id), client: this.#client, store: this.#store }
    const pointer = new RemotePointer(options, loaded)
    return { location, pointer, view: pointer.view }
  }

  /** A table that was just created comes without them in some catalogs. */
  async #take(vended: VendedAccess, id: TableId, loaded: LoadedTable): Promise<void> {
    const renew = async () => (await loadTable(this.#client, this.#pathOf(id), id))?.access
    const access = loaded.access ?? (await renew())
    if (access) vended.set(loaded.metadata.location, access, renew)
  }

  #pathOf({ namespace, name }: TableId): string {
    return this.#client.path(this.#names.levels(namespace), 'tables', name)
  }
}

/** The namespaces of a lake in another catalog, below one that holds them all or at its top. */
class RemoteNamespaces implements Namespaces {
  readonly #client: CatalogClient
  readonly #parent: readonly string[]
  readonly #known = new Set<string>()

  constructor(client: CatalogClient, parent: readonly string[]) {
    this.#client = client
    this.#parent = parent
  }

  levels(name: string): string[] {
    return [...this.#parent, name]
  }

  async list(): Promise<string[]> {
    const query: Record<string, string> = this.#parent.length === 0 ? {} : { parent: this.#parent.join('\x1f') }
    const listed = await orMissing(() => this.#client.all('its namespaces', 'namespaces', 'namespaces', query))
    const names = ((listed ?? []) as string[][]).map((levels) => levels.at(-1)!)
    return names.filter(isName).sort()
  }

  async load(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    const request: Request = { method: 'GET', path: this.#client.path(this.levels(name)) }
    const answer = await orMissing(() => this.#client.ask(`namespace ${name}`, request))
    const { properties } = (answer?.body ?? {}) as { properties?: Record<string, string> }
    return answer && (properties ?? {})
  }

  async create(name: string, properties: Readonly<Record<string, string>>): Promise<void> {
    checkName(name)
    await this.#ensureParents()
    if (await this.#create(this.levels(name), properties)) return
    throw new MillraceError('conflict', 'namespace-exists', `The namespace '${name}' exists already.`)
  }

  async drop(name: string): Promise<boolean> {
    const request: Request = { method: 'DELETE', path: this.#client.path(this.levels(name)) }
    this.#known.delete(name)
    try {
      return (await orMissing(() => this.#client.ask(`dropping namespace ${name}`, request))) !== undefined
    } catch (error) {
      if (!(error instanceof MillraceError) || error.context['status'] !== 409) throw error
      throw new MillraceError('conflict', 'namespace-not-empty', `The namespace '${name}' has tables.`, {
        hint: 'Drop them first.',
        cause: error,
      })
    }
  }

  /** Sees to a namespace that a table is about to be made in. */
  async ensure(name: string): Promise<void> {
    if (this.#known.has(name)) return
    await this.#ensureParents()
    await this.#create(this.levels(name), {})
    this.#known.add(name)
  }

  async #ensureParents(): Promise<void> {
    for (let depth = 1; depth <= this.#parent.length; depth++) await this.#create(this.#parent.slice(0, depth), {})
  }

  /** Whether it was not there. */
  async #create(levels: readonly string[], properties: Readonly<Record<string, string>>): Promise<boolean> {
    const request: Request = { method: 'POST', path: 'namespaces', body: { namespace: levels, properties } }
    try {
      await this.#client.ask(`creating namespace ${levels.join('.')}`, request)
      return true
    } catch (error) {
      if (error instanceof MillraceError && error.context['status'] === 409) return false
      throw error
    }
  }
}

function elsewhere(id: TableId, location: string, root: string, uri: string): MillraceError {
  return new MillraceError(
    'invalid',
    'table-elsewhere',
    `${nameOf(id)} lies at ${location} by the catalog ${uri}, and the lake is at ${root}.`,
    {
      hint: 'Name the place where the catalog keeps its tables in the target (bucket, or path), or another namespace in lake.catalog.',
      context: { table: nameOf(id), location },
    },
  )
}

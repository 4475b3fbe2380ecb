import { MillraceError } from '../../base/errors.ts'
import type { Lake } from '../lake.ts'
import type { TableView } from '../manifests.ts'
import { refId } from '../metadata.ts'
import type { TableMetadata } from '../metadata.ts'
import { isName } from '../name.ts'
import { nameOf, noTable } from '../table.ts'
import type { LakeTable, TableId } from '../table.ts'
import { badRequest, commitFailed } from './error.ts'
import { refuseForeignChange, refuseRewind } from './managed.ts'
import { committedTable, requestedTable } from './new-table.ts'
import { RequestPart } from './request.ts'
import { checkRequirements, requiresCreate } from './requirements.ts'
import { applyUpdates } from './updates.ts'
import { syncForeignFiles } from './foreign-files.ts'

export interface CatalogOptions {
  readonly lake: Lake
  /** Whether a table is one of the project's, which Millrace makes, changes and drops by its declaration. */
  readonly isManaged: (id: TableId) => boolean
}

/** What the catalog tells of a table: `LoadTableResult` of the specification. */
export interface TableAnswer {
  /** Undefined of a table that is only staged. */
  readonly 'metadata-location'?: string
  readonly metadata: TableMetadata
}

/**
 * The Iceberg REST catalog over a lake, without HTTP: each method takes what a request brought and gives what answers it
 * (Apache Iceberg, `open-api/rest-catalog-open-api.yaml`). A commit is `LakeTable.transact` with the requirements checked
 * and the updates applied, so commits of other engines and of Millrace exclude each other as Millrace's own do.
 */
export class RestCatalog {
  readonly #lake: Lake
  readonly #options: CatalogOptions

  constructor(options: CatalogOptions) {
    this.#lake = options.lake
    this.#options = options
  }

  /** Settings that clients take where they have none of their own. */
  get defaults(): Readonly<Record<string, string>> {
    return this.#lake.context.store.clientSettings
  }

  async namespaces(parent: readonly string[]): Promise<{ namespaces: string[][] }> {
    // Namespaces have one level: below any of them there is none.
    if (parent.length > 0) {
      await this.namespace(parent)
      return { namespaces: [] }
    }
    return { namespaces: (await this.#lake.namespaces.list()).map((name) => [name]) }
  }

  /** Throws `invalid` / `no-such-namespace`. */
  async namespace(levels: readonly string[]) {
    const [name = ''] = levels
    const properties = levels.length === 1 && isName(name) ? await this.#lake.namespaces.load(name) : undefined
    if (properties === undefined) throw noNamespace(levels)
    return { namespace: levels, properties }
  }

  async createNamespace(body: unknown) {
    const request = new RequestPart(body, 'the request')
    const levels = request.texts('namespace')
    if (levels.length !== 1) throw badRequest('Namespaces of this catalog have one level.', 'Use a name without parts.')
    const properties = request.properties('properties')
    await this.#lake.namespaces.create(levels[0]!, properties)
    return { namespace: levels, properties }
  }

  async dropNamespace(levels: readonly string[]): Promise<void> {
    await this.namespace(levels)
    await this.#lake.namespaces.drop(levels[0]!)
  }

  async tables(levels: readonly string[]) {
    await this.namespace(levels)
    const found = await this.#lake.list(levels[0])
    return { identifiers: found.map(({ namespace, name }) => ({ namespace: [namespace], name })) }
  }

  /** `snapshots`: `refs` leaves out those that no ref is at. Throws `invalid` / `no-such-table`. */
  async table(levels: readonly string[], name: string, snapshots: 'all' | 'refs'): Promise<TableAnswer> {
    const table = await this.#load(idOf(levels, name))
    const answer = this.#answer(table)
    return snapshots === 'all' ? answer : { ...answer, metadata: atRefs(answer.metadata) }
  }

  /** Creates a table; or with `stage-create` says what it will be once a commit creates it, and changes nothing. */
  async createTable(levels: readonly string[], body: unknown): Promise<TableAnswer> {
    await this.namespace(levels)
    const request = new RequestPart(body, 'the request')
    const id = idOf(levels, request.text('name'))
    const metadata = requestedTable(this.#lake, id, request)
    if (request.json['stage-create'] !== true) return this.#answer(await this.#lake.createFrom(id, metadata))
    if (await this.#lake.load(id)) {
      throw new MillraceError('conflict', 'table-exists', `Table ${nameOf(id)} exists already.`)
    }
    return { metadata }
  }

  /** Throws `conflict` / `requirement-failed` when the table is not as required: nothing was committed. */
  async commit(levels: readonly string[], name: string, body: unknown): Promise<TableAnswer> {
    const id = idOf(levels, name)
    const request = new RequestPart(body, 'the commit')
    const requirements = request.parts('requirements')
    const updates = request.parts('updates')
    if (requiresCreate(requirements)) return this.#commitNew(id, updates)
    const table = await this.#load(id)
    const isManaged = this.#options.isManaged(id)
    const { context } = this.#lake
    let base = table.view.metadata
    let next = base
    const change = async ({ metadata }: TableView) => {
      checkRequirements(metadata, requirements)
      if (isManaged) refuseForeignChange(id, metadata, updates)
      base = metadata
      next = applyUpdates(metadata, updates, context.clock.now())
      if (isManaged) refuseRewind(id, base, next)
      return next === base ? undefined : { metadata: next }
    }
    await table.transact(change, () => syncForeignFiles(context, next, base))
    return this.#answer(table)
  }

  /** Removes a table with its files. Throws `denied` / `managed-table` for one of the project's. */
  async dropTable(levels: readonly string[], name: string): Promise<void> {
    const id = idOf(levels, name)
    if (this.#options.isManaged(id)) {
      throw new MillraceError('denied', 'managed-table', `${nameOf(id)} belongs to the project.`, {
        hint: 'Take it out of the project instead.',
      })
    }
    await this.#lake.drop(id)
  }

  async #commitNew(id: TableId, updates: readonly RequestPart[]): Promise<TableAnswer> {
    try {
      const metadata = committedTable(this.#lake, id, updates)
      await syncForeignFiles(this.#lake.context, metadata)
      return this.#answer(await this.#lake.createFrom(id, metadata))
    } catch (error) {
      // Somebody else created it since it was staged.
      if (error instanceof MillraceError && error.code === 'table-exists') throw commitFailed(error.message)
      throw error
    }
  }

  async #load(id: TableId): Promise<LakeTable> {
    const table = await this.#lake.load(id)
    if (!table) throw noTable(id)
    await table.refresh()
    return table
  }

  #answer(table: LakeTable): TableAnswer {
    return { 'metadata-location': table.metadataPath, metadata: table.view.metadata }
  }
}

function idOf(levels: readonly string[], name: string): TableId {
  const id = { namespace: levels.join('.'), name }
  // What cannot be a name names no table, and is no fault of the request.
  if (levels.length !== 1 || !isName(id.namespace) || !isName(name)) throw noTable(id)
  return id
}

function noNamespace(levels: readonly string[]): MillraceError {
  return new MillraceError('invalid', 'no-such-namespace', `There is no namespace '${levels.join('.')}' in the lake.`, {
    hint: 'Create it first.',
  })
}

function atRefs(metadata: TableMetadata): TableMetadata {
  const ids = new Set([...Object.keys(metadata.refs ?? {}), 'main'].map((name) => refId(metadata, name)))
  return { ...metadata, snapshots: (metadata.snapshots ?? []).filter((snapshot) => ids.has(snapshot['snapshot-id'])) }
}

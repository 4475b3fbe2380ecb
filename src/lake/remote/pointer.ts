import { MillraceError, messageOf } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Access } from '../access.ts'
import type { Pointer, Work } from '../catalog.ts'
import { normalLocation } from '../location.ts'
import { TableView } from '../manifests.ts'
import { checkMetadata } from '../metadata.ts'
import type { TableMetadata } from '../metadata.ts'
import { nameOf } from '../name.ts'
import type { TableId } from '../name.ts'
import type { LakeStore } from '../store.ts'
import { accessIn } from './access-in.ts'
import type { FileSettings } from './access-in.ts'
import type { Answer, CatalogClient } from './client.ts'
import { difference, isDone } from './difference.ts'
import { CatalogFailure } from './failure.ts'

/** A table as a catalog tells of it (`LoadTableResult` of the specification). */
export interface LoadedTable {
  readonly metadataLocation: string
  readonly metadata: TableMetadata
  readonly etag: string | undefined
  /** What opens its files, where the catalog hands that out. */
  readonly access: Access | undefined
}

/** What a pointer needs of its catalog. */
export interface PointerOptions {
  readonly id: TableId
  /** Of the table, below the catalog's prefix. */
  readonly path: string
  readonly client: CatalogClient
  readonly store: LakeStore
}

/**
 * The present metadata of a table, as a catalog elsewhere has it. Requests follow one after the other, so that what comes later is
 * newer. A commit whose outcome is unclear is settled by looking: it is made again as it was, which its
 * requirements let happen once.
 */
export class RemotePointer implements Pointer {
  readonly #options: PointerOptions
  readonly #queue = new SerialQueue()
  readonly #paths = new WeakMap<TableView, string>()
  #loaded: LoadedTable
  #view: TableView

  constructor(options: PointerOptions, loaded: LoadedTable) {
    this.#options = options
    this.#loaded = loaded
    this.#view = this.#viewOf(loaded, 1)
  }

  get view(): TableView {
    return this.#view
  }

  pathOf(view: TableView): string {
    return this.#paths.get(view) ?? this.#loaded.metadataLocation
  }

  latest(): Promise<TableView | undefined> {
    return this.#queue.run(() => this.#look())
  }

  put(
    base: TableView,
    next: TableMetadata,
    { files = [], before = async () => {} }: Work,
  ): Promise<TableView | undefined> {
    const { store } = this.#options
    return this.#queue.run(async () => {
      const attempt = { isUnclear: false }
      let view: TableView | undefined
      try {
        await allDone([...files.map((file) => store.write(file)), before()])
        if (files.length > 0) await store.settle(`${base.metadata.location}/metadata`)
        view = await this.#commit(base.metadata, next, attempt)
        return view
      } finally {
        // Failures here leave orphans. While a try may still be on its way, nothing is removed that it speaks of.
        if (!view && !attempt.isUnclear) await Promise.allSettled(files.map((file) => store.remove(file.path)))
      }
    })
  }

  /** The catalog writes the metadata, and deletes what it does not need. */
  owns(path: string): boolean {
    return /\.metadata\.json(?:\.crc|\.gz)?$|\/version-hint\.text$/.test(path)
  }

  async #commit(
    base: TableMetadata,
    next: TableMetadata,
    attempt: { isUnclear: boolean },
  ): Promise<TableView | undefined> {
    const { client, path, id } = this.#options
    const body = difference(base, next)
    if (body.updates.length === 0) return this.#view
    const patience = client.patience()
    for (;;) {
      try {
        return this.#adopt(loadedTable(await client.send({ method: 'POST', path, body }), id, client))
      } catch (error) {
        // An answer that is none: what it says of a commit that was made is not to be relied on.
        const failure =
          error instanceof CatalogFailure ? error : new CatalogFailure('unclear', 200, '', messageOf(error))
        attempt.isUnclear ||= failure.outcome === 'unclear'
        const failed = () =>
          attempt.isUnclear ? this.#unknown(failure) : client.error(failure, `a commit to ${nameOf(id)}`)
        if (failure.outcome !== 'refused') {
          const found = await this.#lookAfter(attempt.isUnclear)
          const done = found !== undefined && isDone(base, next, found)
          if (done === true) return this.#view
          if (done === undefined && attempt.isUnclear) throw this.#unknown(failure)
          // What is required is not so, and will not be when an earlier try of this comes to be looked at. Some refuse a commit
          // that was overtaken for what it says: a sequence number that is taken, say.
          if (failure.outcome === 'final' && (failure.status === 409 || found !== base)) return undefined
        }
        if (failure.outcome === 'final' || !(await patience.wait())) throw failed()
      }
    }
  }

  /** What is there once a commit has failed; undefined when the table is gone. */
  async #lookAfter(isUnclear: boolean): Promise<TableMetadata | undefined> {
    try {
      return (await this.#look())?.metadata
    } catch (error) {
      throw isUnclear ? this.#unknown(error) : error
    }
  }

  async #look(): Promise<TableView | undefined> {
    const { id, path, client } = this.#options
    const loaded = await loadTable(client, path, id, this.#loaded)
    return loaded && this.#adopt(loaded)
  }

  #adopt(loaded: LoadedTable): TableView {
    const isSame = loaded.metadataLocation === this.#loaded.metadataLocation
    this.#loaded = loaded
    return isSame ? this.#view : (this.#view = this.#viewOf(loaded, this.#view.version + 1))
  }

  #viewOf({ metadata, metadataLocation }: LoadedTable, version: number): TableView {
    const view = new TableView(version, metadata)
    this.#paths.set(view, metadataLocation)
    return view
  }

  #unknown(cause: unknown): MillraceError {
    const { id, client } = this.#options
    return new MillraceError(
      'corrupt',
      'commit-unknown',
      `A commit to ${nameOf(id)} may be there or not: the catalog ${client.uri} went away.`,
      {
        hint: 'Do not commit the same change again. Start again when the catalog is back: loading the table shows whether the snapshot is there.',
        context: { table: nameOf(id), catalog: client.uri },
        cause: cause instanceof CatalogFailure ? client.error(cause, `a commit to ${nameOf(id)}`) : cause,
      },
    )
  }
}

/** Undefined when there is no such table; `known` when it is as it was. */
export async function loadTable(
  client: CatalogClient,
  path: string,
  id: TableId,
  known?: LoadedTable,
): Promise<LoadedTable | undefined> {
  const headers: Record<string, string> = known?.etag === undefined ? {} : { 'if-none-match': known.etag }
  const answer = await orMissing(() => client.ask(`table ${nameOf(id)}`, { method: 'GET', path, headers }))
  if (answer === undefined) return undefined
  return answer.status === 304 && known ? known : loadedTable(answer, id, client)
}

/** Undefined where the catalog says that there is no such thing. */
export async function orMissing<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof MillraceError && error.context['status'] === 404) return undefined
    throw error
  }
}

/** Throws `invalid` / `unsupported-format`, `corrupt` / `bad-metadata`. */
export function loadedTable({ body, etag }: Answer, id: TableId, client: CatalogClient): LoadedTable {
  const {
    'metadata-location': metadataLocation,
    metadata,
    ...files
  } = (body ?? {}) as FileSettings & { 'metadata-location'?: string; metadata?: TableMetadata }
  const checked = checkMetadata(metadata, `${nameOf(id)} in ${client.uri}`)
  const location = normalLocation(checked.location).replace(/\/+$/, '')
  return {
    metadataLocation: normalLocation(metadataLocation ?? ''),
    metadata: { ...checked, location },
    etag,
    access: accessIn({ ...files, config: { ...client.properties, ...files.config } }, location),
  }
}

/** Like Promise.all, but the first failure waits for the rest: nothing of the work goes on after it. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}

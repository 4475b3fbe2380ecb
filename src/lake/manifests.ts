import { MillraceError } from '../base/errors.ts'
import { Cache } from './cache.ts'
import { normalLocation } from './location.ts'
import { decodeManifestList } from './manifest-list.ts'
import type { ManifestFile } from './manifest-list.ts'
import { decodeManifest } from './manifest.ts'
import type { ManifestEntry } from './manifest.ts'
import { currentFields, currentSchema } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'
import { resolveSpec } from './partition.ts'
import type { Spec } from './partition.ts'
import type { LakeStore } from './store.ts'

/** Bytes of encoded metadata whose decoded form is kept; decoded it takes about twice as much memory. */
const CACHE_BYTES_MAX = 16 * 1024 * 1024

/** Reads manifests and manifest lists, which never change once written, through a bounded cache. One per lake. */
export class Manifests {
  readonly #store: Pick<LakeStore, 'read'>
  readonly #lists = new Cache<readonly ManifestFile[]>(CACHE_BYTES_MAX / 4)
  readonly #entries = new Cache<readonly ManifestEntry[]>(CACHE_BYTES_MAX)

  constructor(store: Pick<LakeStore, 'read'>) {
    this.#store = store
  }

  /** The manifests of a snapshot, newest first. */
  async list(snapshot: SnapshotJson): Promise<readonly ManifestFile[]> {
    const path = normalLocation(snapshot['manifest-list'])
    const cached = this.#lists.get(path)
    if (cached) return cached
    const bytes = await this.#read(path)
    const manifests = decodeManifestList(bytes, path)
    this.#lists.set(path, manifests, bytes.length)
    return manifests
  }

  async entries(manifest: ManifestFile, view: TableView): Promise<readonly ManifestEntry[]> {
    // Partition values are read in the types of the present schema, so they belong to it.
    const key = `${manifest.path}#${view.schemaId}`
    const cached = this.#entries.get(key)
    if (cached) return cached
    const bytes = await this.#read(manifest.path)
    const { entries, size } = decodeManifest(bytes, manifest, view.spec(manifest.specId))
    this.#entries.set(key, entries, size)
    return entries
  }

  async #read(path: string): Promise<Buffer> {
    try {
      return await this.#store.read(path)
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'not-found') throw error
      throw new MillraceError('corrupt', 'file-missing', `${path} is missing, and a snapshot refers to it.`, {
        hint: 'If another process expired the snapshot, refresh and use a newer one; else restore the file from a backup.',
        context: { path },
        cause: error,
      })
    }
  }
}

/** One version of a table's metadata, with what is derived from it. */
export class TableView {
  readonly version: number
  readonly metadata: TableMetadata
  readonly schemaId: number
  #fields: ReturnType<typeof currentFields> | undefined
  #specs: Map<number, Spec>

  /** `previous` lends what has not changed since. */
  constructor(version: number, metadata: TableMetadata, previous?: TableView) {
    this.version = version
    this.metadata = metadata
    this.schemaId = currentSchema(metadata)['schema-id']
    const same =
      previous !== undefined &&
      previous.schemaId === this.schemaId &&
      previous.metadata['partition-specs'] === metadata['partition-specs']
    this.#fields = same ? previous.#fields : undefined
    this.#specs = same ? previous.#specs : new Map()
  }

  /** Resolved when they are asked for: the catalog keeps tables of other engines whose types Millrace does not read. */
  get fields(): ReturnType<typeof currentFields> {
    return (this.#fields ??= currentFields(this.metadata))
  }

  get defaultSpec(): Spec {
    return this.spec(this.metadata['default-spec-id'])
  }

  spec(id: number): Spec {
    const known = this.#specs.get(id)
    if (known) return known
    const json = this.metadata['partition-specs'].find((spec) => spec['spec-id'] === id)
    if (!json) {
      throw new MillraceError(
        'corrupt',
        'bad-metadata',
        `The table at ${this.metadata.location} has no partition spec ${id}.`,
      )
    }
    const spec = resolveSpec(json, this.fields)
    this.#specs.set(id, spec)
    return spec
  }
}

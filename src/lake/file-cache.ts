import { dirname } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import type { Disk } from '../storage/disk.ts'
import type { Hold, LocalFiles } from './store.ts'

/** Where files come from and go to. */
export interface RemoteFiles {
  /** Writes a file to a new local path. Throws `invalid` / `not-found`. */
  download(location: string, path: string): Promise<unknown>
  upload(path: string, location: string): Promise<void>
  /** Bytes of a file; undefined when there is none. */
  size(location: string): Promise<number | undefined>
}

/** A file at its local path. */
interface Entry {
  readonly bytes: number
  readonly holds: number
  /** Written here and not yet uploaded: it stays, and does not count. */
  readonly pending: boolean
}

const TRANSFERS_AT_ONCE = 8
const SCHEME = 's3://'

/**
 * Local copies of immutable files of an object store, at most so many bytes: what nobody holds and was used longest ago goes
 * first. New files are written here by the engine and uploaded before a commit refers to them; until then they stay.
 * The directory is this process's own and holds nothing that lasts: it is emptied when it is opened.
 */
export class FileCache implements LocalFiles {
  readonly directory: string
  readonly #bytesMax: number
  readonly #remote: RemoteFiles
  readonly #disk: Disk
  /** By location; the one used longest ago first. */
  readonly #entries = new Map<string, Entry>()
  readonly #arriving = new Map<string, Promise<void>>()
  readonly #transfers = new Semaphore(TRANSFERS_AT_ONCE)
  #bytes = 0

  private constructor(directory: string, bytesMax: number, remote: RemoteFiles, disk: Disk) {
    this.directory = directory
    this.#bytesMax = bytesMax
    this.#remote = remote
    this.#disk = disk
  }

  static async open(directory: string, bytesMax: number, remote: RemoteFiles, disk: Disk): Promise<FileCache> {
    await disk.removeTree(directory)
    await disk.makeDirectory(directory)
    return new FileCache(directory, bytesMax, remote, disk)
  }

  pathOf(location: string): string {
    return location.startsWith(SCHEME) ? `${this.directory}/${location.slice(SCHEME.length)}` : location
  }

  locationOf(path: string): string {
    return path.startsWith(`${this.directory}/`) ? SCHEME + path.slice(this.directory.length + 1) : path
  }

  hold(): Hold {
    const held = new Map<string, true>()
    let released = false
    return {
      add: async (files) => {
        const added = files.filter(({ path }) => path.startsWith(SCHEME) && !held.has(path))
        // Each file once, however often it is named.
        const unique = new Map(added.map((file) => [file.path, file]))
        for (const path of unique.keys()) held.set(path, true)
        const results = await Promise.allSettled([...unique.values()].map((file) => this.#take(file)))
        const paths = [...unique.keys()]
        for (const [i, { status }] of results.entries()) if (status === 'rejected') held.delete(paths[i]!)
        if (released) for (const path of held.keys()) this.#letGo(path)
        const failed = results.find((result) => result.status === 'rejected')
        if (failed) throw failed.reason
      },
      release: () => {
        released = true
        for (const path of held.keys()) this.#letGo(path)
        held.clear()
      },
    }
  }

  async sync(locations: readonly string[]): Promise<void> {
    await Promise.all(locations.map((location) => this.#transfers.run(() => this.#upload(location))))
    await this.#makeRoom(0).catch(() => undefined)
  }

  /** Files written here below a place that were not uploaded. */
  async *pending(place: string): AsyncGenerator<{ location: string; modifiedMs: number }> {
    for (const name of await this.#disk.list(this.pathOf(place))) {
      const location = `${place}/${name}`
      const stat = await this.#disk.stat(this.pathOf(location))
      const entry = this.#entries.get(location)
      if (stat?.directory) yield* this.pending(location)
      else if (stat && (entry === undefined || entry.pending)) yield { location, modifiedMs: stat.mtimeMs }
    }
  }

  /** Removes the local copy of a file that is gone, unless somebody reads it. */
  async forget(location: string): Promise<void> {
    const entry = this.#entries.get(location)
    if (entry !== undefined && entry.holds > 0) return
    this.#drop(location)
    await this.#disk.remove(this.pathOf(location))
  }

  async #take({ path: location, bytes }: { readonly path: string; readonly bytes?: number }): Promise<void> {
    // Who waited for a download that failed tries it itself.
    for (;;) {
      const entry = this.#entries.get(location)
      if (entry) return this.#put(location, { ...entry, holds: entry.holds + 1 })
      const arriving = this.#arriving.get(location)
      if (!arriving) break
      await arriving.catch(() => undefined)
    }
    const arrival = this.#arrive(location, bytes)
    this.#arriving.set(location, arrival)
    try {
      await arrival
    } finally {
      this.#arriving.delete(location)
    }
  }

  /** Ends with the file in its place and held once. */
  async #arrive(location: string, known: number | undefined): Promise<void> {
    const path = this.pathOf(location)
    const here = await this.#disk.stat(path)
    if (here) return this.#put(location, { bytes: here.size, holds: 1, pending: true })
    const bytes = known ?? (await this.#remote.size(location))
    if (bytes === undefined) throw missing(location)
    await this.#makeRoom(bytes)
    // It counts from now on, so that what arrives beside it finds its own room.
    this.#bytes += bytes
    try {
      await this.#transfers.run(async () => {
        await this.#disk.makeDirectory(dirname(path))
        await this.#disk.remove(`${path}.part`)
        await this.#remote.download(location, `${path}.part`)
        await this.#disk.rename(`${path}.part`, path)
      })
    } finally {
      this.#bytes -= bytes
    }
    this.#put(location, { bytes, holds: 1, pending: false })
  }

  async #upload(location: string): Promise<void> {
    const path = this.pathOf(location)
    const entry = this.#entries.get(location)
    if (entry?.pending === false) return
    const here = await this.#disk.stat(path)
    if (!here) {
      // Written by an engine elsewhere.
      if ((await this.#remote.size(location)) === undefined) throw missing(location)
      return
    }
    await this.#remote.upload(path, location)
    this.#put(location, { bytes: here.size, holds: this.#entries.get(location)?.holds ?? 0, pending: false })
  }

  #letGo(location: string): void {
    const entry = this.#entries.get(location)
    if (!entry) return
    if (entry.pending && entry.holds === 1) this.#drop(location)
    else this.#put(location, { ...entry, holds: entry.holds - 1 })
  }

  /** Enters a file as the one used last. */
  #put(location: string, entry: Entry): void {
    this.#drop(location)
    this.#entries.set(location, entry)
    if (!entry.pending) this.#bytes += entry.bytes
  }

  #drop(location: string): void {
    const entry = this.#entries.get(location)
    if (!entry) return
    this.#entries.delete(location)
    if (!entry.pending) this.#bytes -= entry.bytes
  }

  /** Removes what nobody holds until there is room. Throws `unavailable` / `cache-full`. */
  async #makeRoom(bytes: number): Promise<void> {
    const removals: Promise<void>[] = []
    for (const [location, { holds, pending }] of this.#entries) {
      if (this.#bytes + bytes <= this.#bytesMax) break
      if (holds > 0 || pending) continue
      this.#drop(location)
      removals.push(this.#disk.remove(this.pathOf(location)))
    }
    await Promise.all(removals)
    if (this.#bytes + bytes <= this.#bytesMax) return
    throw new MillraceError(
      'unavailable',
      'cache-full',
      `The files read at once do not fit into the cache of the lake: ${this.#bytes + bytes} bytes, and ${this.#bytesMax} are allowed.`,
      { hint: 'Raise cacheBytes of the lake in the target, or let fewer tables refresh at once (limits.refreshes).' },
    )
  }
}

function missing(location: string): MillraceError {
  return new MillraceError('invalid', 'not-found', `${location} does not exist.`, { context: { path: location } })
}

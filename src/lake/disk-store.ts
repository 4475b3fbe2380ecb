import { dirname } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import type { Disk } from '../storage/disk.ts'
import { isBelow } from './location.ts'
import type { Draft, Hold, LakeStore, LocalFiles, NewFile } from './store.ts'

const SYNCS_AT_ONCE = 16

/** A lake in a directory of this machine. `suffix` gives a new random part of a file name. */
export class DiskStore implements LakeStore {
  readonly root: string
  readonly clientSettings = {}
  readonly local: LocalFiles
  readonly #disk: Disk
  readonly #suffix: () => string

  constructor(disk: Disk, root: string, suffix: () => string) {
    this.root = root
    this.#disk = disk
    this.#suffix = suffix
    this.local = {
      directory: root,
      pathOf: (location) => location,
      locationOf: (path) => path,
      hold: () => NOTHING_HELD,
      sync: (locations, table) => this.#sync(locations, table),
    }
  }

  reaches(location: string): boolean {
    return isBelow(location, this.root)
  }

  read(location: string): Promise<Buffer> {
    return this.#disk.readFile(location)
  }

  async exists(location: string): Promise<boolean> {
    return (await this.#disk.stat(location)) !== undefined
  }

  async names(place: string): Promise<string[]> {
    return (await this.#disk.stat(place))?.directory === true ? this.#disk.list(place) : []
  }

  async *files(place: string): AsyncGenerator<{ location: string; modifiedMs: number }> {
    for (const name of await this.#disk.list(place)) {
      const location = `${place}/${name}`
      const stat = await this.#disk.stat(location)
      if (stat?.directory) yield* this.files(location)
      else if (stat) yield { location, modifiedMs: stat.mtimeMs }
    }
  }

  async write({ path, bytes }: NewFile): Promise<void> {
    const file = await this.#disk.open(path, 'create')
    try {
      await file.write(bytes)
      await file.dataSync()
    } finally {
      await file.close()
    }
  }

  settle(place: string): Promise<void> {
    return this.#disk.syncDirectory(place)
  }

  /** Put if absent by hard link, which is atomic between processes. */
  draft(location: string, bytes: Buffer): Draft {
    const disk = this.#disk
    const directory = dirname(location)
    const temporary = `${directory}/${this.#suffix()}.metadata.json.tmp`
    return {
      write: () => this.write({ path: temporary, bytes }),
      publish: async () => {
        await disk.syncDirectory(directory)
        try {
          await disk.link(temporary, location)
        } catch (error) {
          // A link that reports an error may have been made all the same: look.
          if (!(await this.#holds(location, bytes, error))) return false
        }
        try {
          await disk.syncDirectory(directory)
          return true
        } catch (error) {
          throw unknownOutcome(location, error)
        }
      },
      discard: () => disk.remove(temporary),
    }
  }

  async note(location: string, bytes: Buffer): Promise<void> {
    const temporary = `${location}.${this.#suffix()}.tmp`
    const file = await this.#disk.open(temporary, 'create')
    try {
      await file.write(bytes)
    } finally {
      await file.close()
    }
    await this.#disk.rename(temporary, location)
  }

  remove(location: string): Promise<void> {
    return this.#disk.remove(location)
  }

  /** What is written in part is a file like others. */
  async abandonUploads(): Promise<void> {}

  makeNamespace(name: string): Promise<void> {
    return this.#disk.makeDirectory(`${this.root}/${name}`)
  }

  async makeTable(location: string): Promise<void> {
    for (const part of ['data', 'metadata']) await this.#disk.makeDirectory(`${location}/${part}`)
    // makeDirectory may have found directories that another process has made and not yet synced.
    for (let at = location; at.length >= this.root.length; at = dirname(at)) await this.#disk.syncDirectory(at)
  }

  async openTable(): Promise<void> {}

  async removeTable(location: string): Promise<void> {
    // Out of sight in one step: a crash half way through the removal leaves no half table.
    const directory = dirname(location)
    const grave = `${directory}/.dropped-${location.slice(directory.length + 1)}-${this.#suffix()}`
    await this.#disk.rename(location, grave)
    await this.#disk.syncDirectory(directory)
    await this.#disk.removeTree(grave)
  }

  async #sync(locations: readonly string[], table: string): Promise<void> {
    const gate = new Semaphore(SYNCS_AT_ONCE)
    await Promise.all(locations.map((location) => gate.run(() => this.#disk.syncFile(location))))
    // Partition directories are new as well: their names, up to the table's own directory, must last too.
    const directories = new Set<string>()
    for (const location of locations) {
      for (let at = dirname(location); !directories.has(at); at = dirname(at)) {
        directories.add(at)
        if (at === table || !at.startsWith(`${table}/`)) break
      }
    }
    await Promise.all([...directories].map((directory) => gate.run(() => this.#disk.syncDirectory(directory))))
  }

  async #holds(location: string, bytes: Buffer, linkError: unknown): Promise<boolean> {
    let found: Buffer
    try {
      found = await this.read(location)
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found') throw linkError
      throw unknownOutcome(location, error)
    }
    return found.equals(bytes)
  }
}

const NOTHING_HELD: Hold = { add: async () => {}, release: () => {} }

function unknownOutcome(path: string, cause: unknown): MillraceError {
  return new MillraceError(
    'corrupt',
    'commit-unknown',
    `${path} may or may not be committed: the disk failed after it was put in place.`,
    {
      hint: 'Do not commit the same change again. Check the disk and restart: loading the table shows whether the snapshot is there.',
      context: { path },
      cause,
    },
  )
}

import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import type { Disk } from '../storage/disk.ts'

const HINT = 'version-hint.text'
const VERSION_FILE = /^v(\d+)\.metadata\.json$/

/** A file to write: nothing refers to it before it is on the disk. */
export interface NewFile {
  readonly path: string
  readonly bytes: Uint8Array
}

/** A version to put, and what goes with it. */
export interface NewVersion {
  readonly bytes: Buffer
  /** New files in the same directory that it refers to. */
  readonly companions?: readonly NewFile[]
  /** Work that must be done before anything refers to it: fsyncs of other files. */
  readonly before?: () => Promise<void>
  /** Versions below this one are deleted. */
  readonly keepFrom?: number
}

/**
 * The numbered metadata files of one table, `v<N>.metadata.json`. Version N+1 is put if absent by hard link, which is
 * atomic between processes: whoever links first has committed, everybody else reads it and tries again.
 *
 * The latest version is the highest number; `version-hint.text` is only where looking begins and may lag.
 */
export class Versions {
  readonly directory: string
  readonly #disk: Disk
  readonly #suffix: () => string
  /** The lowest version that may still exist; undefined before the first look. */
  #lowest: number | undefined

  /** `suffix` gives a new random file name part. */
  constructor(disk: Disk, directory: string, suffix: () => string) {
    this.#disk = disk
    this.directory = directory
    this.#suffix = suffix
  }

  path(version: number): string {
    return join(this.directory, `v${version}.metadata.json`)
  }

  /** The latest version, looking from `known` on; undefined when there is none (no such table). */
  async latest(known = 0): Promise<number | undefined> {
    let version = Math.max(known, await this.#hinted())
    // Without a usable hint the directory tells. With one, only what was linked since is looked for.
    if (version === 0 || !(await this.#exists(version))) version = Math.max(0, ...(await this.list()))
    if (version === 0) return undefined
    while (await this.#exists(version + 1)) version++
    return version
  }

  /** Versions that exist, ascending. */
  async list(): Promise<number[]> {
    const names = await this.#disk.list(this.directory)
    return names
      .map((name) => Number(VERSION_FILE.exec(name)?.[1] ?? 0))
      .filter((version) => version > 0)
      .sort((a, b) => a - b)
  }

  read(version: number): Promise<Buffer> {
    return this.#disk.readFile(this.path(version))
  }

  /**
   * Puts a version if there is none of that number. First writes and fsyncs it and its companions, while `before` runs;
   * afterwards moves the hint and deletes old versions. Returns whether the version is ours.
   *
   * Throws what the disk threw when nothing was committed, and `corrupt` / `commit-unknown` when the version is there but
   * may not survive a power loss.
   */
  async put(
    version: number,
    { bytes, companions = [], before = async () => {}, keepFrom = 0 }: NewVersion,
  ): Promise<boolean> {
    const temporary = join(this.directory, `${this.#suffix()}.metadata.json.tmp`)
    const writes = [{ path: temporary, bytes }, ...companions].map((file) => this.#write(file))
    let put = false
    let unknown = false
    try {
      await allDone([...writes, before()])
      await this.#disk.syncDirectory(this.directory)
      put = await this.#link(temporary, version, bytes)
    } catch (error) {
      unknown = error instanceof MillraceError && error.code === 'commit-unknown'
      throw error
    } finally {
      const unneeded = put || unknown ? [temporary] : [temporary, ...companions.map((file) => file.path)]
      // Failures here leave orphans or a lagging hint, which the next commit or the removal of orphans mends.
      const tidy = unneeded.map((path) => this.#disk.remove(path))
      if (put) tidy.push(this.#hint(version), this.#deleteBelow(keepFrom))
      await Promise.allSettled(tidy)
    }
    return put
  }

  /** Points the hint at `version` or at what came after it. */
  async #hint(version: number): Promise<void> {
    for (let at = version; ; at++) {
      const temporary = join(this.directory, `${HINT}.${this.#suffix()}.tmp`)
      const file = await this.#disk.open(temporary, 'create')
      try {
        await file.write(Buffer.from(String(at)))
      } finally {
        await file.close()
      }
      await this.#disk.rename(temporary, join(this.directory, HINT))
      // Another process may have committed the next version and hinted at it before us.
      if (!(await this.#exists(at + 1))) return
    }
  }

  /**
   * Deletes versions below `keepFrom`, in ascending order without gaps: that N exists then shows that N+1 was not
   * deleted, which `#link` relies on.
   */
  async #deleteBelow(keepFrom: number): Promise<void> {
    if (keepFrom <= 1) return
    this.#lowest ??= (await this.list())[0] ?? keepFrom
    for (; this.#lowest < keepFrom; this.#lowest++) await this.#disk.remove(this.path(this.#lowest))
  }

  async #link(temporary: string, version: number, bytes: Buffer): Promise<boolean> {
    try {
      await this.#disk.link(temporary, this.path(version))
    } catch (error) {
      // A link that reports an error may have been made all the same: look.
      if (!(await this.#isOurs(version, bytes, error))) return false
    }
    try {
      // A process that slept while others committed and deleted old versions may have linked where one was deleted.
      if (version > 1 && !(await this.#exists(version - 1))) {
        await this.#disk.remove(this.path(version))
        return false
      }
      await this.#disk.syncDirectory(this.directory)
      return true
    } catch (error) {
      throw unknownOutcome(this.path(version), error)
    }
  }

  async #isOurs(version: number, bytes: Buffer, linkError: unknown): Promise<boolean> {
    let found: Buffer
    try {
      found = await this.read(version)
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found') throw linkError
      throw unknownOutcome(this.path(version), error)
    }
    return found.equals(bytes)
  }

  async #write({ path, bytes }: NewFile): Promise<void> {
    const file = await this.#disk.open(path, 'create')
    try {
      await file.write(bytes)
      await file.dataSync()
    } finally {
      await file.close()
    }
  }

  async #exists(version: number): Promise<boolean> {
    return (await this.#disk.stat(this.path(version))) !== undefined
  }

  async #hinted(): Promise<number> {
    try {
      const text = (await this.#disk.readFile(join(this.directory, HINT))).toString('utf8').trim()
      return /^\d{1,15}$/.test(text) ? Number(text) : 0
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found') return 0
      throw error
    }
  }
}

/** Like Promise.all, but the first failure waits for the rest: nothing of the work goes on after it. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}

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

import { MillraceError } from '../base/errors.ts'
import type { LakeStore, NewFile } from './store.ts'

const HINT = 'version-hint.text'
const VERSION_FILE = /^v(\d+)\.metadata\.json$/

/** A version to put, and what goes with it. */
export interface NewVersion {
  readonly bytes: Buffer
  /** New files in the same directory that it refers to. */
  readonly companions?: readonly NewFile[]
  /** Work that must be done before anything refers to it: making other files durable. */
  readonly before?: () => Promise<void>
  /** Versions below this one are deleted. */
  readonly keepFrom?: number
}

/**
 * The numbered metadata files of one table, `v<N>.metadata.json`. Version N+1 is put if absent, which is atomic between
 * processes: whoever is first has committed, everybody else reads it and tries again.
 *
 * The latest version is the highest number; `version-hint.text` is only where looking begins and may lag.
 */
export class Versions {
  readonly directory: string
  readonly #store: LakeStore
  /** The lowest version that may still exist; undefined before the first look. */
  #lowest: number | undefined

  constructor(store: LakeStore, directory: string) {
    this.#store = store
    this.directory = directory
  }

  path(version: number): string {
    return `${this.directory}/v${version}.metadata.json`
  }

  /** The latest version, looking from `known` on; undefined when there is none (no such table). */
  async latest(known = 0): Promise<number | undefined> {
    let version = known > 0 ? known : await this.#hinted()
    // Of what is known only what came since is looked for. Where that is gone, and without a hint, the directory tells.
    if (version === 0 || !(await this.#exists(version))) version = Math.max(0, ...(await this.list()))
    if (version === 0) return undefined
    while (await this.#exists(version + 1)) version++
    return version
  }

  /** Versions that exist, ascending. */
  async list(): Promise<number[]> {
    const names = await this.#store.names(this.directory)
    return names
      .map((name) => Number(VERSION_FILE.exec(name)?.[1] ?? 0))
      .filter((version) => version > 0)
      .sort((a, b) => a - b)
  }

  read(version: number): Promise<Buffer> {
    return this.#store.read(this.path(version))
  }

  /**
   * Puts a version if there is none of that number. First makes it and its companions durable, while `before` runs;
   * afterwards moves the hint and deletes old versions. Returns whether the version is ours.
   *
   * Throws what the store threw when nothing was committed, and `corrupt` / `commit-unknown` when the version is there but
   * may not last, or may be there or not.
   */
  async put(
    version: number,
    { bytes, companions = [], before = async () => {}, keepFrom = 0 }: NewVersion,
  ): Promise<boolean> {
    const draft = this.#store.draft(this.path(version), bytes)
    let put = false
    let unknown = false
    try {
      await allDone([draft.write(), ...companions.map((file) => this.#store.write(file)), before()])
      put = (await draft.publish()) && (await this.#follows(version))
    } catch (error) {
      unknown = error instanceof MillraceError && error.code === 'commit-unknown'
      throw error
    } finally {
      // Failures here leave orphans or a lagging hint, which the next commit or the removal of orphans mends.
      const tidy = [draft.discard()]
      if (!put && !unknown) tidy.push(...companions.map((file) => this.#store.remove(file.path)))
      if (put) tidy.push(this.#hint(version), this.#deleteBelow(keepFrom))
      await Promise.allSettled(tidy)
    }
    return put
  }

  /**
   * A process that slept while others committed and deleted old versions may have put one where one was deleted. Then the
   * version before it is gone too, and ours is taken back.
   */
  async #follows(version: number): Promise<boolean> {
    try {
      if (version === 1 || (await this.#exists(version - 1))) return true
      await this.#store.remove(this.path(version))
      return false
    } catch (error) {
      const path = this.path(version)
      throw new MillraceError('corrupt', 'commit-unknown', `${path} may or may not be committed.`, {
        hint: 'Do not commit the same change again. Start again: loading the table shows whether the snapshot is there.',
        context: { path },
        cause: error,
      })
    }
  }

  /** Points the hint at `version` or at what came after it. */
  async #hint(version: number): Promise<void> {
    for (let at = version; ; at++) {
      await this.#store.note(`${this.directory}/${HINT}`, Buffer.from(String(at)))
      // Another process may have committed the next version and hinted at it before us.
      if (!(await this.#exists(at + 1))) return
    }
  }

  /**
   * Deletes versions below `keepFrom`, in ascending order without gaps: that N exists then shows that N+1 was not
   * deleted, which `#follows` relies on.
   */
  async #deleteBelow(keepFrom: number): Promise<void> {
    if (keepFrom <= 1) return
    this.#lowest ??= (await this.list())[0] ?? keepFrom
    for (; this.#lowest < keepFrom; this.#lowest++) await this.#store.remove(this.path(this.#lowest))
  }

  #exists(version: number): Promise<boolean> {
    return this.#store.exists(this.path(version))
  }

  async #hinted(): Promise<number> {
    try {
      const text = (await this.#store.read(`${this.directory}/${HINT}`)).toString('utf8').trim()
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

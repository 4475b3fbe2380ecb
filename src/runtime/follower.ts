import type { Clock } from '../base/clock.ts'
import { asMillraceError } from '../base/errors.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Dataset } from '../project/dataset.ts'
import { timedStream } from '../project/event-time.ts'
import { newestStep, rowsVersion } from './warehouse.ts'

export interface FollowerOptions {
  readonly datasets: readonly Dataset[]
  readonly clock: Clock
  /** Time between two looks, ms. */
  readonly everyMs: number
  /** How long a partition of a stream may be without records before time passes it by, ms. */
  idleMs(stream: string): number
  /** Whether this process commits to a dataset: then there is nothing to be found out. */
  isOwn(dataset: Dataset): boolean
  /** The table of a dataset, taken from the lake anew when it was dropped; undefined while there is none. */
  load(dataset: Dataset): Promise<LakeTable | undefined>
  /** Others have committed to a dataset, rows or not. */
  onMoved?(dataset: Dataset, table: LakeTable): void
  /** Others have published rows. */
  onPublished(dataset: Dataset): void
}

/** Finds out what other processes commit, by looking. */
export class Follower {
  readonly #options: FollowerOptions
  readonly #rows = new Map<string, string | null>()
  /** Of each stream's partitions: how far the lake is, and since when. */
  readonly #offsets = new Map<string, readonly { readonly offset: number; readonly movedMs: number }[]>()

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /**
   * Partitions that others have committed nothing of for longer than the stream's `idle`. Records that wait in the log are not
   * seen from here: they come late then, and correct what was published.
   */
  idlePartitions(stream: string): ReadonlySet<number> {
    const found = this.#offsets.get(stream)
    const idleMs = found === undefined ? Infinity : this.#options.idleMs(stream)
    if (!found || idleMs === Infinity) return NO_PARTITIONS
    const since = this.#options.clock.monotonic() - idleMs
    return new Set(found.flatMap(({ movedMs }, partition) => (movedMs <= since ? [partition] : [])))
  }

  /** Looks until the signal. The lake may be out of reach for a while: the next look finds what this one did not. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs } = this.#options
    while (!signal.aborted) {
      await this.look()
      await clock.sleep(everyMs, signal)
    }
  }

  /** Takes up what was committed until now. */
  async look(): Promise<void> {
    const { datasets, isOwn } = this.#options
    await Promise.all(datasets.filter((dataset) => !isOwn(dataset)).map((dataset) => this.#look(dataset)))
  }

  async #look(dataset: Dataset): Promise<void> {
    const { load, onMoved, onPublished } = this.#options
    try {
      const table = await load(dataset)
      if (!table) return
      const before = table.view
      await table.refresh()
      const rows = versionOf(dataset, table)
      const known = this.#rows.get(dataset.name)
      this.#rows.set(dataset.name, rows)
      if (table.view !== before || known === undefined) {
        this.#note(dataset, table)
        onMoved?.(dataset, table)
      }
      if (known !== undefined ? known !== rows : rows !== null) onPublished(dataset)
    } catch (error) {
      if (asMillraceError(error).kind === 'internal') throw error
    }
  }

  #note({ kind, name }: Dataset, table: LakeTable): void {
    if (kind === 'table') return
    const now = this.#options.clock.monotonic()
    const before = this.#offsets.get(name)
    const offsets = newestStep(table)?.record.offsets ?? []
    this.#offsets.set(
      name,
      offsets.map((offset, i) => (before?.[i]?.offset === offset ? before[i] : { offset, movedMs: now })),
    )
  }
}

/** Other rows are another version; where functions leave rows out, time goes on without any. */
function versionOf(dataset: Dataset, table: LakeTable): string | null {
  const rows = rowsVersion(table, table.snapshot('main'))
  if (dataset.kind === 'stream' || !timedStream(dataset)) return rows
  return `${rows} at ${String(newestStep(table)?.record.newest)}`
}

const NO_PARTITIONS: ReadonlySet<number> = new Set()

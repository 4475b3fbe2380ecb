import type { Clock } from '../base/clock.ts'
import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import type { Dataset } from '../project/dataset.ts'
import { checkInputsOf, inputsOf } from '../project/project.ts'

/** What happened to a step. */
export interface StepOutcome {
  readonly outcome: 'unchanged' | 'published' | 'blocked'
  readonly reason?: string
}

export type StepState =
  | { readonly state: 'ok' }
  | { readonly state: 'blocked'; readonly reason: string }
  | { readonly state: 'failed'; readonly reason: string; readonly error: MillraceError }

export interface SchedulerOptions {
  /** Datasets, each after all it reads. */
  readonly order: readonly Dataset[]
  readonly clock: Clock
  /** Steps at once. */
  readonly limit: number
  /** Share of the time a table that is always due may be refreshing, 0 to 1: it rests in between. 1 never rests. */
  readonly share: number
  /** Refreshes (tables) or audits (streams) one dataset. */
  step(dataset: Dataset): Promise<StepOutcome>
}

/**
 * Runs what is due, in dependency order, several at once. A dataset is due when something it reads was published; it
 * waits while anything upstream is due or running, so a chain settles in one pass. A failure stays with what failed:
 * what depends on it goes on from the last good snapshot.
 */
export class Scheduler {
  readonly #options: SchedulerOptions
  readonly #due = new Set<Dataset>()
  readonly #running = new Set<Dataset>()
  readonly #states = new Map<Dataset, StepState>()
  readonly #readyAt = new Map<Dataset, number>()
  readonly #readers = new Map<Dataset, Dataset[]>()
  readonly #upstream = new Map<Dataset, ReadonlySet<Dataset>>()
  readonly #slots: Semaphore
  readonly #idle: (() => void)[] = []
  #paused = false
  #stopping = new AbortController()

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#slots = new Semaphore(options.limit)
    for (const dataset of options.order) {
      const direct = [...new Set([...inputsOf(dataset), ...checkInputsOf(dataset)])]
      for (const input of direct) this.#readers.set(input, [...(this.#readers.get(input) ?? []), dataset])
      this.#upstream.set(dataset, new Set(direct.flatMap((input) => [input, ...(this.#upstream.get(input) ?? [])])))
    }
  }

  stateOf(dataset: Dataset): StepState {
    return this.#states.get(dataset) ?? { state: 'ok' }
  }

  /** Something upstream that is not ok, if anything. */
  heldBy(dataset: Dataset): { dataset: Dataset; state: StepState } | undefined {
    for (const input of this.#upstream.get(dataset) ?? []) {
      const state = this.stateOf(input)
      if (state.state !== 'ok') return { dataset: input, state }
    }
    return undefined
  }

  setState(dataset: Dataset, state: StepState): void {
    this.#states.set(dataset, state)
  }

  /** Makes a dataset due. */
  due(dataset: Dataset): void {
    this.#due.add(dataset)
    this.#pump()
  }

  /** Makes the readers of a dataset due: it was published. */
  published(dataset: Dataset): void {
    for (const reader of this.#readers.get(dataset) ?? []) this.#due.add(reader)
    this.#pump()
  }

  /** Starts nothing more until `resume`; what becomes due waits. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#pump()
  }

  /** Resolves when nothing is due or running; once stopped, when nothing is running. */
  async settled(): Promise<void> {
    while (this.#running.size > 0 || (this.#due.size > 0 && !this.#stopping.signal.aborted))
      await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Starts nothing more and waits for what runs. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const wake of this.#idle.splice(0)) wake()
    await this.settled()
  }

  #pump(): void {
    if (this.#paused || this.#stopping.signal.aborted) return
    for (const dataset of this.#options.order) {
      if (!this.#due.has(dataset) || this.#running.has(dataset)) continue
      const waits = [...this.#upstream.get(dataset)!].some((input) => this.#due.has(input) || this.#running.has(input))
      if (waits) continue
      this.#due.delete(dataset)
      this.#running.add(dataset)
      void this.#slots.run(() => this.#step(dataset)).finally(() => this.#ended(dataset))
    }
  }

  async #step(dataset: Dataset): Promise<void> {
    const { clock, share, step } = this.#options
    const rest = (this.#readyAt.get(dataset) ?? 0) - clock.monotonic()
    if (rest > 0) await clock.sleep(rest, this.#stopping.signal)
    if (this.#stopping.signal.aborted) return
    const started = clock.monotonic()
    try {
      const { outcome, reason } = await step(dataset)
      this.#states.set(
        dataset,
        outcome === 'blocked' ? { state: 'blocked', reason: reason ?? 'an audit failed' } : { state: 'ok' },
      )
      if (outcome === 'published') for (const reader of this.#readers.get(dataset) ?? []) this.#due.add(reader)
    } catch (error) {
      const known = asMillraceError(error)
      this.#states.set(dataset, { state: 'failed', reason: known.message, error: known })
      if (known.retryable) {
        this.#readyAt.set(dataset, clock.monotonic() + RETRY_MS)
        this.#due.add(dataset)
        return
      }
    }
    const took = clock.monotonic() - started
    this.#readyAt.set(dataset, clock.monotonic() + took * (1 / share - 1))
  }

  #ended(dataset: Dataset): void {
    this.#running.delete(dataset)
    this.#pump()
    for (const wake of this.#idle.splice(0)) wake()
  }
}

const RETRY_MS = 1_000

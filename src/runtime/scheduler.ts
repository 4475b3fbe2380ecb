import type { Clock } from '../base/clock.ts'
import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import type { Dataset } from '../project/dataset.ts'
import { checkInputsOf, inputsOf } from '../project/project.ts'

/** What happened to a step. */
export interface StepOutcome {
  readonly outcome: 'unchanged' | 'published' | 'blocked'
  readonly reason?: string
  /** The work was in proportion to what was new: it need not be held back, as what is computed again and again is. */
  readonly proportional?: boolean
  /** There is more to be done already. */
  readonly more?: boolean
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
  /** Whether nothing else waits for the processors: what rests may go on sooner then. */
  isQuiet?(): boolean
  /** Refreshes (tables) or audits (streams) one dataset. */
  step(dataset: Dataset): Promise<StepOutcome>
  /** Called when a dataset was published, before its readers run. */
  onPublished?(dataset: Dataset): void
}

/**
 * Runs what is due, in dependency order, several at once. A dataset is due when something it reads was published; it
 * waits while anything upstream runs or is about to, so a chain settles in one pass. What is always due rests between its
 * steps, and what reads it goes on meanwhile. A failure stays with what failed: what depends on it goes on from the last
 * good snapshot.
 */
export class Scheduler {
  readonly #options: SchedulerOptions
  /** What is due, with the number of the change that made it so. */
  readonly #due = new Map<Dataset, number>()
  readonly #running = new Map<Dataset, number>()
  readonly #states = new Map<Dataset, StepState>()
  /** When what rests may run again. */
  readonly #readyAt = new Map<Dataset, number>()
  /** Of these, those that only leave room for others, with when they may at the soonest. */
  readonly #resting = new Map<Dataset, number>()
  /** Failures in a row. */
  readonly #failures = new Map<Dataset, number>()
  readonly #readers = new Map<Dataset, Dataset[]>()
  readonly #upstream = new Map<Dataset, ReadonlySet<Dataset>>()
  readonly #slots: Semaphore
  readonly #waiting: (() => void)[] = []
  #changes = 0
  #paused = false
  /** When the next look at what rests is set for. */
  #timerAt = Infinity
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
    this.#makeDue(dataset, ++this.#changes)
    this.#pump()
  }

  /** Makes the readers of a dataset due: it was published. */
  published(dataset: Dataset): void {
    this.#spread(dataset, ++this.#changes)
    this.#pump()
  }

  #spread(dataset: Dataset, change: number): void {
    this.#options.onPublished?.(dataset)
    for (const reader of this.#readers.get(dataset) ?? []) this.#makeDue(reader, change)
  }

  // A dataset that waits already keeps the number of the first change it waits for.
  #makeDue(dataset: Dataset, change: number): void {
    if (!this.#due.has(dataset)) this.#due.set(dataset, change)
  }

  /** Starts nothing more until `resume`; what becomes due waits. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#pump()
  }

  /**
   * Resolves when all that is due now, and what becomes due by it, has run; what later changes make due is not waited
   * for. Once stopped: when nothing runs.
   */
  async settled(): Promise<void> {
    const upTo = this.#changes
    const isOpen = (changes: ReadonlyMap<Dataset, number>) => [...changes.values()].some((change) => change <= upTo)
    const stopped = () => this.#stopping.signal.aborted
    while (stopped() ? this.#running.size > 0 : isOpen(this.#due) || isOpen(this.#running)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** Starts nothing more and waits for what runs. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake()
    await this.settled()
  }

  #pump(): void {
    if (this.#paused || this.#stopping.signal.aborted) return
    const now = this.#options.clock.monotonic()
    if (this.#options.isQuiet?.() === true) this.#shortenRests()
    let soonest = Infinity
    for (const dataset of this.#options.order) {
      const change = this.#due.get(dataset)
      if (change === undefined || this.#running.has(dataset)) continue
      const readyAt = this.#readyAt.get(dataset) ?? -Infinity
      if (readyAt > now) {
        soonest = Math.min(soonest, readyAt)
        continue
      }
      if ([...this.#upstream.get(dataset)!].some((input) => this.#isComing(input, now))) continue
      this.#due.delete(dataset)
      this.#resting.delete(dataset)
      this.#running.set(dataset, change)
      void this.#slots.run(() => this.#step(dataset, change)).finally(() => this.#ended(dataset))
    }
    if (soonest < Infinity) this.#pumpAt(soonest)
  }

  /** Runs, or will as soon as there is room. */
  #isComing(dataset: Dataset, now: number): boolean {
    return this.#running.has(dataset) || (this.#due.has(dataset) && (this.#readyAt.get(dataset) ?? -Infinity) <= now)
  }

  /** What waits to be tried again goes on waiting. */
  #shortenRests(): void {
    for (const [dataset, soon] of this.#resting) this.#readyAt.set(dataset, soon)
    this.#resting.clear()
  }

  #pumpAt(time: number): void {
    if (time >= this.#timerAt) return
    this.#timerAt = time
    const { clock } = this.#options
    void clock.sleep(Math.max(1, time - clock.monotonic()), this.#stopping.signal).then(() => {
      // One that was set for a sooner time has taken this one's place.
      if (this.#timerAt === time) this.#timerAt = Infinity
      this.#pump()
    })
  }

  async #step(dataset: Dataset, change: number): Promise<void> {
    const { clock, share, step } = this.#options
    if (this.#stopping.signal.aborted) return
    const started = clock.monotonic()
    try {
      const { outcome, reason, proportional, more } = await step(dataset)
      this.#failures.delete(dataset)
      this.#states.set(
        dataset,
        outcome === 'blocked' ? { state: 'blocked', reason: reason ?? 'an audit failed' } : { state: 'ok' },
      )
      if (outcome === 'published') this.#spread(dataset, change)
      const ended = clock.monotonic()
      const until = (part: number) => ended + (ended - started) * (1 / part - 1)
      const soon = Math.min(until(Math.max(share, more === true ? SHARE_BEHIND : SHARE_MAX)), ended + QUIET_REST_MS_MAX)
      this.#readyAt.set(dataset, proportional === true ? soon : until(share))
      this.#resting.set(dataset, soon)
      if (more === true) this.#makeDue(dataset, change)
    } catch (error) {
      this.#failed(dataset, change, asMillraceError(error))
    }
  }

  /** What may pass by itself is tried again, later each time; a one-shot run gives up, a server does not. */
  #failed(dataset: Dataset, change: number, error: MillraceError): void {
    this.#states.set(dataset, { state: 'failed', reason: error.message, error })
    const failures = (this.#failures.get(dataset) ?? 0) + 1
    this.#failures.set(dataset, failures)
    if (!error.retryable || (this.#options.share === 1 && failures >= ATTEMPTS_MAX)) return
    this.#resting.delete(dataset)
    this.#readyAt.set(dataset, this.#options.clock.monotonic() + Math.min(RETRY_MS * 2 ** (failures - 1), RETRY_MS_MAX))
    this.#makeDue(dataset, change)
  }

  #ended(dataset: Dataset): void {
    this.#running.delete(dataset)
    this.#pump()
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

/** Share of the time for steps in proportion to what is new, and for others while nothing else is to be done. */
const SHARE_MAX = 0.5
/** The same where more is to be done already: what reads it gets its turn. */
const SHARE_BEHIND = 0.9
/** Longest rest while nothing else is to be done: a step may have taken long because it waited, for a slow store, say. */
const QUIET_REST_MS_MAX = 10_000
const RETRY_MS = 250
const RETRY_MS_MAX = 10_000
/** Tries of a step in a one-shot run. */
const ATTEMPTS_MAX = 4

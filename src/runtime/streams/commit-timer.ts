import type { Clock } from '../../base/clock.ts'

export interface CommitTimerOptions {
  readonly clock: Clock
  /** Longest time between a gated batch and its commit while busy, ms. */
  readonly intervalMs: number
  /** A stream at rest for this long commits at once, ms. */
  readonly quietMs: number
  /** Ends waiting: what has landed is committed at once. */
  readonly signal: AbortSignal
  commit(): Promise<void>
  onFailed(error: unknown): void
}

/** Shortest time between two commits when somebody waits, ms. */
const URGENT_MS = 200
const LOOK_MS = 50

/** Says when what has landed is committed: often enough to be fresh, and seldom enough to be cheap. */
export class CommitTimer {
  readonly #options: CommitTimerOptions
  #isWaiting = false
  #committedMs = -Infinity
  #landedMs = -Infinity
  /** Somebody waits for what has landed. */
  isUrgent = false

  constructor(options: CommitTimerOptions) {
    this.#options = options
  }

  /** Something has landed. */
  landed(): void {
    this.#landedMs = this.#options.clock.monotonic()
    this.#wait()
  }

  /** A commit begins: what lands from now on is for the next. */
  begun(): void {
    this.#isWaiting = false
  }

  /** A commit has ended; `more` has landed meanwhile. */
  ended(more: boolean): void {
    this.#committedMs = this.#options.clock.monotonic()
    if (more) this.#wait()
  }

  #wait(): void {
    if (this.#isWaiting) return
    this.#isWaiting = true
    this.#commitWhenDue().catch((error: unknown) => this.#options.onFailed(error))
  }

  /** Waits until the interval since the last commit is over, or nothing has landed for a while: then there is no reason to wait. */
  async #commitWhenDue(): Promise<void> {
    const { clock, intervalMs, quietMs, signal, commit } = this.#options
    while (!signal.aborted) {
      const interval = this.isUrgent ? Math.min(URGENT_MS, intervalMs) : intervalMs
      const due = Math.min(this.#committedMs + interval, this.#landedMs + quietMs)
      const wait = due - clock.monotonic()
      if (wait <= 0) break
      // It may become urgent meanwhile.
      await clock.sleep(Math.min(wait, LOOK_MS), signal)
    }
    await commit()
  }
}

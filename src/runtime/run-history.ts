import { asMillraceError } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import { SerialQueue } from '../base/queue.ts'
import { RUNS_MAX, type Run, type RunBegin, type RunEnd, type RunQuestion, type Runs } from '../state/runs.ts'
import type { RefreshResult } from './tables/table-runner.ts'

/** Where it is kept what ran: the state that processes share, or `MemoryRuns`. */
export type RunStore = Pick<Runs, 'begin' | 'finish' | 'list'>

export interface RunHistoryOptions {
  readonly store: RunStore
  /** This process's run: no other is called so. */
  readonly run: string
}

/** Notes that may wait while the store does not answer. What comes then is not kept. */
const WAITING_MAX = 1_000

/** What ran, and how it ended. No step waits for it, nor fails with it. */
export class RunHistory {
  readonly #options: RunHistoryOptions
  readonly #turns = new SerialQueue()
  #waiting = 0
  #steps = 0

  constructor(options: RunHistoryOptions) {
    this.#options = options
  }

  /** Runs a step of a table, keeping its beginning, its end and what came of it. */
  async refresh(dataset: string, work: () => Promise<RefreshResult>): Promise<RefreshResult> {
    const { run, store } = this.#options
    const id = `${run}-${++this.#steps}`
    this.#note(() => store.begin({ id, kind: 'refresh', dataset, holder: run }))
    try {
      const result = await work()
      this.#note(() => store.finish(id, endOf(result)))
      return result
    } catch (error) {
      this.#note(() => store.finish(id, { outcome: 'failed', error: asMillraceError(error).toJSON() }))
      throw error
    }
  }

  /** Newest first. */
  async list(question: RunQuestion): Promise<Run[]> {
    return this.#options.store.list(question)
  }

  /** Resolves when all is kept that was noted. */
  idle(): Promise<void> {
    return this.#turns.idle()
  }

  #note(work: () => Promise<void>): void {
    if (this.#waiting >= WAITING_MAX) return
    this.#waiting++
    void this.#turns
      .run(work)
      .catch(() => undefined)
      .finally(() => this.#waiting--)
  }
}

function endOf({ outcome, snapshot, intervals, reason }: RefreshResult): RunEnd {
  const summary = outcome === 'unchanged' ? {} : (snapshot?.summary ?? {})
  const counts = {
    rows: Number(snapshot?.summary['total-records'] ?? 0),
    added: Number(summary['added-records'] ?? 0),
    removed: Number(summary['deleted-records'] ?? 0),
    intervals,
  }
  if (outcome !== 'blocked') return { outcome: 'succeeded', counts }
  return {
    outcome: 'failed',
    counts,
    error: { kind: 'invalid', code: 'audit-failed', message: reason ?? 'an audit failed', context: {} },
  }
}

/** The last runs of this process, where there is no state to keep them in. */
export class MemoryRuns implements RunStore {
  readonly #clock: Clock
  /** In the order in which they began. */
  readonly #runs = new Map<string, Run>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async begin(run: RunBegin): Promise<void> {
    this.#runs.set(run.id, { ...run, startedMs: this.#clock.now() })
    if (this.#runs.size > RUNS_MAX) this.#runs.delete(this.#runs.keys().next().value!)
  }

  async finish(id: string, end: RunEnd): Promise<void> {
    const run = this.#runs.get(id)
    if (run) this.#runs.set(id, { ...run, ...end, endedMs: this.#clock.now() })
  }

  async list({ kind, dataset, outcome, before, limit = RUNS_MAX }: RunQuestion = {}): Promise<Run[]> {
    const all = [...this.#runs.values()].toReversed()
    const from = before === undefined ? 0 : all.findIndex(({ id }) => id === before) + 1
    const isAsked = (run: Run) =>
      (kind === undefined || run.kind === kind) &&
      (dataset === undefined || run.dataset === dataset) &&
      (outcome === undefined || run.outcome === outcome)
    return all.slice(from).filter(isAsked).slice(0, limit)
  }
}

import { sql } from 'kysely'
import type { SerializedError } from '../base/errors.ts'
import type { StateDatabase, Tables } from './schema.ts'

/** Something that is about to run. */
export interface RunBegin {
  readonly id: string
  /** What it is: `refresh`, `replay`, `load`, `maintain`, … */
  readonly kind: string
  readonly dataset?: string
  /** The process. */
  readonly holder: string
}

export interface RunEnd {
  readonly outcome: 'succeeded' | 'failed' | 'stopped'
  /** What came of it: rows, files, bytes, … */
  readonly counts?: Readonly<Record<string, number>>
  readonly error?: SerializedError
}

/** A run as it is remembered. */
export interface Run extends RunBegin, Partial<RunEnd> {
  readonly startedMs: number
  /** Undefined while it runs, and for one whose process ended before it did. */
  readonly endedMs?: number
}

export interface RunQuestion {
  readonly kind?: string
  readonly dataset?: string
  readonly outcome?: RunEnd['outcome']
  /** Runs that began before this one: the id of the last of a page. */
  readonly before?: string
  /** At most `RUNS_MAX`. */
  readonly limit?: number
}

/** Most runs that are listed at once. */
export const RUNS_MAX = 1_000
const RUNS = 100

/** The history of runs. */
export class Runs {
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
  }

  async begin({ id, kind, dataset, holder }: RunBegin): Promise<void> {
    const { queries, nowMs } = this.#database
    const row = { id, kind, dataset: dataset ?? null, holder, started_at: nowMs() }
    // Repeated where the outcome of the first try was unknown.
    await queries
      .insertInto('runs')
      .values(row)
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute()
  }

  async finish(id: string, { outcome, counts, error }: RunEnd): Promise<void> {
    const { queries, nowMs } = this.#database
    await queries
      .updateTable('runs')
      .set({
        ended_at: nowMs(),
        outcome,
        counts: counts === undefined ? null : JSON.stringify(counts),
        error: error === undefined ? null : JSON.stringify(error),
      })
      .where('id', '=', id)
      .execute()
  }

  /** Newest first. */
  async list({ kind, dataset, outcome, before, limit = RUNS }: RunQuestion = {}): Promise<Run[]> {
    const { queries } = this.#database
    let query = queries.selectFrom('runs').selectAll()
    if (kind !== undefined) query = query.where('kind', '=', kind)
    if (dataset !== undefined) query = query.where('dataset', '=', dataset)
    if (outcome !== undefined) query = query.where('outcome', '=', outcome)
    if (before !== undefined) {
      const started = queries.selectFrom('runs').select('started_at').where('id', '=', before)
      query = query.where((run) =>
        run.or([run('started_at', '<', started), run.and([run('started_at', '=', started), run('id', '<', before)])]),
      )
    }
    const rows = await query
      .orderBy('started_at', 'desc')
      .orderBy('id', 'desc')
      .limit(Math.min(limit, RUNS_MAX))
      .execute()
    return rows.map(runOf)
  }

  /** Forgets runs that began longer ago than this, ms, ended or not: what still runs then has died. */
  async removeOlder(ms: number): Promise<void> {
    const { queries, nowMs } = this.#database
    await queries
      .deleteFrom('runs')
      .where('started_at', '<=', sql<number>`${nowMs()} - ${ms}`)
      .execute()
  }
}

function runOf({ id, kind, dataset, holder, started_at, ended_at, outcome, counts, error }: Tables['runs']): Run {
  return {
    id,
    kind,
    ...(dataset === null ? {} : { dataset }),
    holder,
    startedMs: started_at,
    ...(ended_at === null ? {} : { endedMs: ended_at }),
    ...(outcome === null ? {} : { outcome: outcome as RunEnd['outcome'] }),
    ...(counts === null ? {} : { counts: JSON.parse(counts) as Record<string, number> }),
    ...(error === null ? {} : { error: JSON.parse(error) as SerializedError }),
  }
}

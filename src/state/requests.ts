import { sql } from 'kysely'
import { MillraceError } from '../base/errors.ts'
import type { StateDatabase } from './schema.ts'

/** A request that is one's own to carry out. */
export interface BegunRequest {
  readonly stream: string
  readonly key: string
  /** 1, and one more for each time it was taken over: only the newest may finish it. */
  readonly attempt: number
}

export type RequestState =
  /** It is the caller's to carry out. `earlier` is what an attempt before it, which never finished, had noted. */
  | { readonly state: 'begun'; readonly request: BegunRequest; readonly earlier?: unknown }
  /** Another process is at it, and noted this. */
  | { readonly state: 'pending'; readonly payload: unknown; readonly ageMs: number }
  /** It was carried out, with this result. */
  | { readonly state: 'finished'; readonly result: unknown }

/**
 * Idempotency keys: which requests came before, so that repeating one changes nothing and gets the first answer. What a
 * process notes as it begins (the payload) is what another needs to find out how far it came.
 */
export class Requests {
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
  }

  /**
   * Begins a request, or says what became of it. `digest` is of what was sent: the same key with another one is a mistake of the client's.
   * One that has been pending for `abandonedMs` is taken over.
   *
   * Errors: `invalid`/`idempotency-mismatch`.
   */
  async begin(
    stream: string,
    key: string,
    digest: string,
    payload: unknown,
    { abandonedMs }: { readonly abandonedMs: number },
  ): Promise<RequestState> {
    const { queries, nowMs } = this.#database
    const text = JSON.stringify(payload)
    const inserted = await queries
      .insertInto('requests')
      .values({ stream, key, digest, attempt: 1, payload: text, result: null, begun_at: nowMs() })
      .onConflict((conflict) => conflict.columns(['stream', 'key']).doNothing())
      .returning('attempt')
      .executeTakeFirst()
    if (inserted) return { state: 'begun', request: { stream, key, attempt: 1 } }
    const known = await this.#read(stream, key)
    // It expired in between.
    if (!known) return this.begin(stream, key, digest, payload, { abandonedMs })
    if (known.digest !== digest) throw mismatch(stream, key)
    if (known.result !== null) return { state: 'finished', result: JSON.parse(known.result) }
    const pending = { state: 'pending', payload: JSON.parse(known.payload), ageMs: known.age } as const
    if (known.age < abandonedMs) return pending
    const taken = await queries
      .updateTable('requests')
      .set({ attempt: known.attempt + 1, payload: text, begun_at: nowMs() })
      .where((own) => own.and({ stream, key, attempt: known.attempt }))
      .where('result', 'is', null)
      .returning('attempt')
      .executeTakeFirst()
    if (!taken) return { ...pending, ageMs: 0 }
    return { state: 'begun', request: { stream, key, attempt: taken.attempt }, earlier: pending.payload }
  }

  /** Keeps the result for whoever repeats the request. Errors: `conflict`/`request-taken-over` when another attempt has begun. */
  async finish({ stream, key, attempt }: BegunRequest, result: unknown): Promise<void> {
    const row = await this.#database.queries
      .updateTable('requests')
      .set({ result: JSON.stringify(result) })
      .where((own) => own.and({ stream, key, attempt }))
      .returning('key')
      .executeTakeFirst()
    if (row) return
    throw new MillraceError(
      'conflict',
      'request-taken-over',
      `The request with key '${key}' to stream '${stream}' took so long that another process carries it out.`,
      {
        hint: 'Send it again with the same key: the answer is that of the other process.',
        context: { dataset: stream },
      },
    )
  }

  /** Forgets a request that changed nothing, so that it may be sent again. */
  async abandon({ stream, key, attempt }: BegunRequest): Promise<void> {
    await this.#database.queries
      .deleteFrom('requests')
      .where((own) => own.and({ stream, key, attempt }))
      .where('result', 'is', null)
      .execute()
  }

  /** What became of a request; undefined for one that is not known, or no longer. */
  async find(stream: string, key: string): Promise<Exclude<RequestState, { state: 'begun' }> | undefined> {
    const known = await this.#read(stream, key)
    if (!known) return undefined
    if (known.result !== null) return { state: 'finished', result: JSON.parse(known.result) }
    return { state: 'pending', payload: JSON.parse(known.payload), ageMs: known.age }
  }

  /** Forgets requests begun longer ago than this, ms. */
  async removeOlder(ms: number): Promise<void> {
    const { queries, nowMs } = this.#database
    await queries
      .deleteFrom('requests')
      .where('begun_at', '<=', sql<number>`${nowMs()} - ${ms}`)
      .execute()
  }

  #read(stream: string, key: string) {
    const { queries, nowMs } = this.#database
    return queries
      .selectFrom('requests')
      .select(['digest', 'attempt', 'payload', 'result', sql<number>`${nowMs()} - begun_at`.as('age')])
      .where((known) => known.and({ stream, key }))
      .executeTakeFirst()
  }
}

function mismatch(stream: string, key: string): MillraceError {
  return new MillraceError(
    'invalid',
    'idempotency-mismatch',
    `The idempotency key '${key}' was used for other records of stream '${stream}'.`,
    {
      hint: 'Use a new key for each request, and the same one only to send the same records again.',
      context: { dataset: stream },
    },
  )
}

import { sql } from 'kysely'
import type { StateDatabase } from './schema.ts'

/** Who takes part in what: each pool has members, and each of them says from time to time that it lives. */
export class Members {
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
  }

  /** Joins, or stays for `ttlMs` from now. */
  async beat(pool: string, member: string, ttlMs: number): Promise<void> {
    const { queries, nowMs } = this.#database
    const expires = sql<number>`${nowMs()} + ${ttlMs}`
    await queries
      .insertInto('members')
      .values({ pool, member, joined_at: nowMs(), expires_at: expires })
      .onConflict((conflict) => conflict.columns(['pool', 'member']).doUpdateSet({ expires_at: expires }))
      .execute()
  }

  /** The members that live, by name. */
  async list(pool: string): Promise<string[]> {
    const { queries, nowMs } = this.#database
    const rows = await queries
      .selectFrom('members')
      .select('member')
      .where('pool', '=', pool)
      .where('expires_at', '>', nowMs())
      .execute()
    return rows.map(({ member }) => member).toSorted()
  }

  async leave(pool: string, member: string): Promise<void> {
    await this.#database.queries
      .deleteFrom('members')
      .where((own) => own.and({ pool, member }))
      .execute()
  }

  /** Forgets those that ended without leaving. */
  async removeExpired(): Promise<void> {
    const { queries, nowMs } = this.#database
    await queries.deleteFrom('members').where('expires_at', '<=', nowMs()).execute()
  }
}

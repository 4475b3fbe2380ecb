import { sql } from 'kysely'
import type { StateDatabase } from './schema.ts'

/** The right to do something alone, for a while. */
export interface Lease {
  readonly name: string
  readonly holder: string
  /**
   * Fencing token: greater than that of every earlier holder, of a state that was lost too, for the first one is the second it was
   * taken in. What a holder changes elsewhere should be refused where a
   * greater one was seen, for a holder that slept cannot know that its time is over.
   */
  readonly epoch: number
}

/** A lease as seen from outside. */
export interface HeldLease extends Lease {
  /** How long it lasts without being renewed, ms. */
  readonly remainingMs: number
}

/**
 * Leases by name. Time is the database's alone; a holder counts its own from before it asked. A lease lasts up to, and
 * not at, the end of its time.
 */
export class Leases {
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
  }

  /**
   * Takes a lease that is free, or undefined while another has it. The epoch grows, unless this holder has the lease: then
   * it is renewed, so the call may be repeated when its outcome is unknown.
   */
  async acquire(name: string, holder: string, ttlMs: number): Promise<Lease | undefined> {
    const { queries, nowMs } = this.#database
    const now = nowMs()
    const row = await queries
      .insertInto('leases')
      .values({ name, holder, epoch: sql`${now} / 1000`, acquired_at: now, expires_at: sql`${now} + ${ttlMs}` })
      .onConflict((conflict) =>
        conflict
          .column('name')
          .doUpdateSet({
            holder,
            epoch: sql`CASE WHEN leases.holder = ${holder} AND leases.expires_at > ${now} THEN leases.epoch ELSE leases.epoch + 1 END`,
            acquired_at: sql`CASE WHEN leases.holder = ${holder} AND leases.expires_at > ${now} THEN leases.acquired_at ELSE ${now} END`,
            expires_at: sql`${now} + ${ttlMs}`,
          })
          .where(sql<boolean>`leases.holder IS NULL OR leases.holder = ${holder} OR leases.expires_at <= ${now}`),
      )
      .returning('epoch')
      .executeTakeFirst()
    return row && { name, holder, epoch: row.epoch }
  }

  /** Makes leases last from now on; returns those that are still held. One that ran out is lost even if nobody took it. */
  async renew(leases: readonly Lease[], ttlMs: number): Promise<Lease[]> {
    if (leases.length === 0) return []
    const { queries, nowMs } = this.#database
    const rows = await queries
      .updateTable('leases')
      .set({ expires_at: sql`${nowMs()} + ${ttlMs}` })
      .where('expires_at', '>', nowMs())
      .where((held) => held.or(leases.map(({ name, holder, epoch }) => held.and({ name, holder, epoch }))))
      .returning(['name', 'epoch'])
      .execute()
    const renewed = new Map(rows.map(({ name, epoch }) => [name, epoch]))
    return leases.filter(({ name, epoch }) => renewed.get(name) === epoch)
  }

  /** Lets others have it. False when it was no longer held; its next holder, if any, keeps it. */
  async release({ name, holder, epoch }: Lease): Promise<boolean> {
    const { queries, nowMs } = this.#database
    const row = await queries
      .updateTable('leases')
      .set({ holder: null, expires_at: nowMs() })
      .where((held) => held.and({ name, holder, epoch }))
      .where('expires_at', '>', nowMs())
      .returning('name')
      .executeTakeFirst()
    return row !== undefined
  }

  /** The leases that are held, of names that begin so, by name. */
  async list(prefix = ''): Promise<HeldLease[]> {
    const { queries, nowMs } = this.#database
    const rows = await queries
      .selectFrom('leases')
      .select(['name', 'holder', 'epoch', sql<number>`expires_at - ${nowMs()}`.as('remaining')])
      .where('holder', 'is not', null)
      .where('expires_at', '>', nowMs())
      .where(sql<boolean>`substr(name, 1, ${prefix.length}) = ${prefix}`)
      .execute()
    return rows
      .map(({ name, holder, epoch, remaining }) => ({ name, holder: holder!, epoch, remainingMs: remaining }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }
}

import type { Kysely, RawBuilder } from 'kysely'

/**
 * The tables of the state: docs/formats/state.md. Times are milliseconds since the epoch by the database's clock; what has
 * no columns of its own is JSON in text.
 */
export interface Tables {
  migrations: { number: number; name: string; checksum: string; applied_at: number }
  /** `holder` is null once it was given back; the row stays, for its epoch. */
  leases: { name: string; holder: string | null; epoch: number; acquired_at: number; expires_at: number }
  members: { pool: string; member: string; joined_at: number; expires_at: number }
  /** `result` is null until it is finished. */
  requests: {
    stream: string
    key: string
    digest: string
    attempt: number
    payload: string
    result: string | null
    begun_at: number
  }
  places: { name: string; value: string; version: number; changed_at: number }
  /** `ended_at` and `outcome` are null while it runs. */
  runs: {
    id: string
    kind: string
    dataset: string | null
    holder: string
    started_at: number
    ended_at: number | null
    outcome: string | null
    counts: string | null
    error: string | null
  }
}

/** A database that keeps the state: queries, its clock, and how to begin. Adapters: `sqlite.ts`, `postgres.ts`. */
export interface StateDatabase {
  /** Queries; what they throw are MillraceErrors. */
  readonly queries: Kysely<Tables>
  /** What the database is called in messages; never with a password. */
  readonly name: string
  /** The present by the database's clock, ms since the epoch, as part of a query. */
  nowMs(): RawBuilder<number>
  /** Whether the schema has been changed before. */
  isMigrated(): Promise<boolean>
  /**
   * Begins a change of the schema within a transaction: one at a time, and with the table names of statements meaning those
   * of the state. Returns whether there has been one before.
   */
  prepareMigration(transaction: Kysely<Tables>): Promise<boolean>
  close(): Promise<void>
}

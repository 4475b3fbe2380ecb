import type { Clock } from '../base/clock.ts'
import { Leases } from './leases.ts'
import { Members } from './members.ts'
import { migrate, pendingMigrations } from './migrate.ts'
import { MIGRATIONS, type Migration } from './migrations.ts'
import { Places } from './places.ts'
import { type PostgresOptions, openPostgres } from './postgres.ts'
import { Requests } from './requests.ts'
import { Runs } from './runs.ts'
import type { StateDatabase } from './schema.ts'
import { openSqlite } from './sqlite.ts'

/** Where the state is: a file, or a schema of a PostgreSQL database that several processes share. */
export type StateTarget =
  { readonly kind: 'sqlite'; readonly path: string } | ({ readonly kind: 'postgres' } & PostgresOptions)

export interface StateEffects {
  /** Time of a state in SQLite; PostgreSQL has its own. */
  readonly clock: Clock
}

/** How much of what is over is kept. */
export interface StateRetention {
  /** Idempotency keys of requests, ms since they were begun. */
  readonly requestsMs: number
  /** Ended runs, ms since they began. */
  readonly runsMs: number
}

/** Opens the state and brings its schema to where this program is. Errors: those of `migrate`, `openSqlite` and `openPostgres`. */
export async function openState(
  target: StateTarget,
  { clock }: StateEffects,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<State> {
  const database = target.kind === 'sqlite' ? openSqlite(target.path, clock) : await openPostgres(target)
  try {
    await migrate(database, migrations)
    return new State(database)
  } catch (error) {
    await database.close()
    throw error
  }
}

/**
 * Opens the state without changing it. Also says which migrations the next process that starts will apply, by name: where some are pending,
 * nothing can be asked of it yet. Errors: as `openState`.
 */
export async function lookAtState(
  target: StateTarget,
  { clock }: StateEffects,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<{ readonly state: State; readonly pending: readonly string[] }> {
  const database = target.kind === 'sqlite' ? openSqlite(target.path, clock) : await openPostgres(target)
  try {
    return { state: new State(database), pending: await pendingMigrations(database, migrations) }
  } catch (error) {
    await database.close()
    throw error
  }
}

/**
 * What processes must agree on and the lake does not say: who does what, which requests came before, how far handlers are,
 * what ran. Every call is a statement of its own, so what resolved is durable, and what threw `unavailable` may or may not
 * have happened.
 */
export class State {
  readonly leases: Leases
  readonly members: Members
  readonly requests: Requests
  readonly places: Places
  readonly runs: Runs
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
    this.leases = new Leases(database)
    this.members = new Members(database)
    this.requests = new Requests(database)
    this.places = new Places(database)
    this.runs = new Runs(database)
  }

  /** What it is called in messages; never with a password. */
  get name(): string {
    return this.#database.name
  }

  /** Removes what is over and older than told. Whoever keeps house calls it from time to time. */
  async tidy({ requestsMs, runsMs }: StateRetention): Promise<void> {
    await this.members.removeExpired()
    await this.requests.removeOlder(requestsMs)
    await this.runs.removeOlder(runsMs)
  }

  close(): Promise<void> {
    return this.#database.close()
  }
}

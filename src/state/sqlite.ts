import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from 'kysely'
import type { Clock } from '../base/clock.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import type { StateDatabase, Tables } from './schema.ts'

/** Longest wait for another that writes, ms. */
const BUSY_MS = 5_000
const LOOK_MS = 5

/**
 * Opens the state in a file, made when there is none; its directory must exist. Several processes may open it. Every change
 * is durable when it resolves (fsync of the write-ahead log). Time is `clock`'s.
 *
 * Errors of this and of queries: `denied`/`no-access`, `corrupt`/`state-corrupt` when it is no database or a damaged one,
 * `unavailable`/`disk-full`, `unavailable`/`state-busy` when another process writes for too long.
 */
export function openSqlite(path: string, clock: Clock): StateDatabase {
  const connection = new Connection(path, clock)
  const queries = new Kysely<Tables>({ dialect: dialectOver(connection) })
  const isMigrated = async (within: Kysely<Tables>) => {
    const noted = await sql`SELECT 1 FROM sqlite_master WHERE name = 'migrations'`.execute(within)
    return noted.rows.length > 0
  }
  return {
    queries,
    name: path,
    nowMs: () => sql<number>`cast(${clock.now()} as integer)`,
    // The transaction holds the only lock there is.
    prepareMigration: isMigrated,
    isMigrated: () => isMigrated(queries),
    close: async () => {
      await queries.destroy()
      connection.close()
    },
  }
}

function dialectOver(connection: Connection): Dialect {
  const run = async (text: string): Promise<void> => void (await connection.executeQuery(CompiledQuery.raw(text)))
  const driver: Driver = {
    init: async () => {
      await run('PRAGMA journal_mode = WAL')
      await run('PRAGMA synchronous = FULL')
    },
    acquireConnection: async () => connection,
    releaseConnection: async () => undefined,
    // One that begins by reading would fail at its first write when another wrote in between.
    beginTransaction: () => run('BEGIN IMMEDIATE'),
    commitTransaction: () => run('COMMIT'),
    rollbackTransaction: () => run('ROLLBACK'),
    destroy: async () => undefined,
  }
  return {
    createDriver: () => driver,
    createAdapter: () => new SqliteAdapter(),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createIntrospector: (queries) => new SqliteIntrospector(queries),
  }
}

/** Node's own SQLite as Kysely asks for it. Where another holds the lock it waits without holding up the process. */
class Connection implements DatabaseConnection {
  readonly #path: string
  readonly #clock: Clock
  readonly #database: DatabaseSync

  constructor(path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
    try {
      this.#database = new DatabaseSync(path, { timeout: 0 })
    } catch (error) {
      throw translated(path, error)
    }
  }

  async executeQuery<R>({ sql: text, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const startedMs = this.#clock.monotonic()
    for (;;) {
      try {
        return this.#execute(text, parameters as SQLInputValue[])
      } catch (error) {
        const isPatient = this.#clock.monotonic() - startedMs < BUSY_MS
        if (codeOf(error) !== SQLITE_BUSY || !isPatient) throw translated(this.#path, error)
      }
      await this.#clock.sleep(LOOK_MS)
    }
  }

  #execute<R>(text: string, parameters: SQLInputValue[]): QueryResult<R> {
    const statement = this.#database.prepare(text)
    if (statement.columns().length > 0) return { rows: statement.all(...parameters) as R[] }
    return { rows: [], numAffectedRows: BigInt(statement.run(...parameters).changes) }
  }

  // The state asks nothing that is long.
  streamQuery(): never {
    throw new MillraceError('internal', 'not-supported', 'Queries of the state are not streamed.')
  }

  close(): void {
    this.#database.close()
  }
}

const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26

/** The class of an error, its lower byte (sqlite.org/rescode.html#pve); undefined for what SQLite did not say. */
function codeOf(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : undefined
}

function translated(path: string, error: unknown): unknown {
  const details = (hint: string) => ({ hint, context: { path }, cause: error })
  const what = messageOf(error)
  switch (codeOf(error)) {
    case SQLITE_BUSY:
      return new MillraceError(
        'unavailable',
        'state-busy',
        `The state in ${path} is being written by another process: ${what}.`,
        details('Try again later; if it stays so, look which process has the file open.'),
      )
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return new MillraceError(
        'denied',
        'no-access',
        `The state in ${path} cannot be written: ${what}.`,
        details('Give this user the right to write the file and its directory, which must exist.'),
      )
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return new MillraceError(
        'corrupt',
        'state-corrupt',
        `The state in ${path} cannot be read: ${what}.`,
        details('Restore the file from a backup, or move it away: leases and run history then begin anew.'),
      )
    case SQLITE_FULL:
      return new MillraceError(
        'unavailable',
        'disk-full',
        `The state in ${path} cannot grow: ${what}.`,
        details('Free some space on its disk.'),
      )
    default:
      return error
  }
}

import { Kysely, PostgresDialect, type PostgresPool, sql } from 'kysely'
import type pg from 'pg'
import { MillraceError } from '../base/errors.ts'
import { isConnectionError, translated } from './postgres-errors.ts'
import type { StateDatabase, Tables } from './schema.ts'

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly url: string
  /** Schema that holds the tables, `millrace` by default. */
  readonly schema?: string
}

const VERSION_MIN = 14
/** Queries at once of this process. */
const CONNECTIONS_MAX = 4
const CONNECT_MS = 5_000
/** Longest wait for an answer, ms. Queries touch few rows: a server that takes longer is gone. */
const ANSWER_MS = 15_000
/** OID of int8 in pg_type.dat. */
const INT8 = 20

/**
 * Opens the state in a schema of a PostgreSQL database; connections are made when needed, and again when they broke, so
 * a restart of the server is a time of `unavailable` errors. Time is the server's.
 *
 * Errors of this and of queries: `invalid`/`missing-driver`, `invalid`/`bad-state-url`, `invalid`/`postgres-too-old`,
 * `unavailable`/`state-unavailable`, `denied`/`state-denied`, `invalid`/`no-database`, and others of `postgres-errors.ts`. No
 * message has the password in it.
 */
export async function openPostgres({ url, schema = 'millrace' }: PostgresOptions): Promise<StateDatabase> {
  const name = nameOf(url)
  const { Pool: PoolOf, types } = await importDriver()
  const pool = new PoolOf({
    connectionString: url,
    application_name: 'millrace',
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: ANSWER_MS,
    keepAlive: true,
    allowExitOnIdle: true,
    // Epochs and times are numbers that JavaScript holds exactly.
    types: {
      getTypeParser: ((oid: number, form: 'text') => (oid === INT8 ? Number : types.getTypeParser(oid, form))) as never,
    },
  } satisfies pg.PoolConfig)
  // A connection that broke is replaced: its query tells, if it had one. Without listeners it would end the process.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => void client.on('error', () => undefined))
  const queries = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: translating(pool, name) }) })
  try {
    await checkVersion(queries, name)
  } catch (error) {
    await pool.end()
    throw error
  }
  return {
    queries: queries.withSchema(schema),
    name: `${name}, schema ${schema}`,
    // Not now(), which stands still while a statement waits for another transaction.
    nowMs: () => sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`,
    isMigrated: async () => {
      // A schema that this user may not use is told of as one that is not there: by whoever starts.
      const found =
        await sql`SELECT 1 FROM pg_tables WHERE schemaname = ${schema} AND tablename = 'migrations'`.execute(queries)
      return found.rows.length > 0
    },
    prepareMigration: async (transaction) => {
      await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`millrace ${schema}`}, 0))`.execute(transaction)
      const found = await sql`SELECT 1 FROM pg_namespace WHERE nspname = ${schema}`.execute(transaction)
      if (found.rows.length === 0) await sql`CREATE SCHEMA ${sql.id(schema)}`.execute(transaction)
      await sql`SET LOCAL search_path TO ${sql.id(schema)}`.execute(transaction)
      const noted = await sql<{ found: boolean }>`SELECT to_regclass('migrations') IS NOT NULL AS found`.execute(
        transaction,
      )
      return noted.rows[0]!.found
    },
    close: () => queries.destroy(),
  }
}

async function importDriver(): Promise<typeof pg> {
  try {
    return (await import('pg')).default
  } catch (cause) {
    throw new MillraceError('invalid', 'missing-driver', "State in PostgreSQL needs the package 'pg'.", {
      hint: 'Install it in the project: npm install pg',
      cause,
    })
  }
}

/** Who and where a URL means, for messages. */
function nameOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || !/^postgres(ql)?:$/.test(parsed.protocol)) {
    // Without the URL, which may hold a password, and without the error, which holds the URL.
    throw new MillraceError('invalid', 'bad-state-url', 'The URL of the state is not one of PostgreSQL.', {
      hint: "Write it as 'postgres://user:password@host:5432/database'; signs such as @ or / in the password as %40 or %2F.",
    })
  }
  const host = parsed.searchParams.get('host') ?? (parsed.hostname || 'localhost')
  const port = parsed.searchParams.get('port') ?? (parsed.port || '5432')
  const database = decodeURIComponent(parsed.pathname.slice(1))
  const user = decodeURIComponent(parsed.username)
  return `PostgreSQL at ${host}:${port}/${database}${user === '' ? '' : ` as user ${user}`}`
}

async function checkVersion(queries: Kysely<Tables>, name: string): Promise<void> {
  const { rows } = await sql<{ version: string; number: number }>`
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS number
  `.execute(queries)
  const { version, number } = rows[0]!
  if (number >= VERSION_MIN * 10_000) return
  throw new MillraceError(
    'invalid',
    'postgres-too-old',
    `${name} is version ${version}; Millrace needs ${VERSION_MIN} or newer.`,
    { hint: 'Upgrade the server, or name another one in the state of the target.' },
  )
}

/** A pool whose errors say what to do, and which lets go of connections that failed. */
function translating(pool: pg.Pool, name: string): PostgresPool {
  const failed = (error: unknown) => translated(error, name)
  const wrap = (client: pg.PoolClient) => {
    let broken = false
    return {
      ...('processID' in client ? { processID: client.processID as number } : {}),
      query: async (text: string, parameters: readonly unknown[]) => {
        try {
          return await client.query(text, [...parameters])
        } catch (error) {
          broken ||= isConnectionError(error)
          throw failed(error)
        }
      },
      release: (destroy?: boolean) => client.release(broken || destroy === true),
    }
  }
  return {
    options: pool.options,
    connect: async () => {
      try {
        return wrap(await pool.connect()) as never
      } catch (error) {
        throw failed(error)
      }
    },
    end: () => pool.end(),
  }
}

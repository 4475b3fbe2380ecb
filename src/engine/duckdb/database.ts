import { type DuckDBConnection, DuckDBInstance, type DuckDBValue, version } from '@duckdb/node-api'
import { MillraceError, messageOf } from '../../base/errors.ts'
import { offeredColumns } from '../../project/columns.ts'

export interface DatabaseOptions {
  /** Processors it may use. */
  threads: number
  /** Bytes it may hold before it spills. */
  memory: number
  /** Where it spills; created when needed. */
  temporary: string
}

export type Row = Record<string, DuckDBValue>

/**
 * One in-memory DuckDB: the embedded engine. Connections are reused; each piece of work has one to itself, so several
 * queries run at once.
 */
export class Database {
  readonly #instance: DuckDBInstance
  readonly #idle: DuckDBConnection[] = []
  readonly #busy = new Set<DuckDBConnection>()
  #released: (() => void) | undefined

  private constructor(instance: DuckDBInstance) {
    this.#instance = instance
  }

  static async open(options: DatabaseOptions): Promise<Database> {
    const instance = await DuckDBInstance.create(':memory:', {
      threads: String(options.threads),
      memory_limit: `${Math.floor(options.memory / 1024)}KiB`,
      temp_directory: options.temporary,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      // It keeps some 20 KB of every file ever read until the memory is full, and reading small files takes a tenth longer with it.
      enable_external_file_cache: 'false',
    })
    return new Database(instance)
  }

  static get engineVersion(): string {
    return version()
  }

  /** Runs work on a connection of its own. */
  async use<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const connection = await this.take()
    try {
      return await work(connection)
    } finally {
      this.release(connection)
    }
  }

  /** A connection for the caller until it is released. */
  async take(): Promise<DuckDBConnection> {
    const connection = this.#idle.pop() ?? (await this.connect())
    this.#busy.add(connection)
    return connection
  }

  release(connection: DuckDBConnection): void {
    this.#busy.delete(connection)
    this.#idle.push(connection)
    if (this.#busy.size === 0) this.#released?.()
  }

  /** A connection for the caller to keep: temporary tables and functions live on it. */
  async connect(): Promise<DuckDBConnection> {
    const connection = await this.#instance.connect()
    await connection.run("SET TimeZone = 'UTC'")
    return connection
  }

  /** All rows of a query, as objects of DuckDB values. */
  rows(sql: string): Promise<Row[]> {
    return this.use(async (connection) => {
      const reader = await run(sql, () => connection.runAndReadAll(sql))
      return reader.getRowObjects()
    })
  }

  async execute(sql: string): Promise<void> {
    await this.use((connection) => run(sql, () => connection.run(sql)))
  }

  /** Ends what runs, and closes. A connection that is closed while it runs a query would take the process with it. */
  async close(): Promise<void> {
    while (this.#busy.size > 0) {
      for (const connection of this.#busy) connection.interrupt()
      await new Promise<void>((resolve) => (this.#released = resolve))
    }
    for (const connection of this.#idle) connection.closeSync()
    this.#idle.length = 0
    this.#instance.closeSync()
  }
}

/** Runs a statement, turning DuckDB's errors into Millrace's. */
export async function run<T>(sql: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw engineError(error, sql)
  }
}

/** What an error of DuckDB means for the caller, by its leading word ("Binder Error: …"). */
export function engineError(error: unknown, sql?: string): MillraceError {
  if (error instanceof MillraceError) return error
  const text = messageOf(error)
  const [, type = '', detail = text] =
    /^(?:Invalid Input Error: Failed to execute prepared statement: )?([A-Za-z ]+) Error: ([\s\S]*)$/.exec(text) ?? []
  const details = { cause: error, context: { sql: sql === undefined ? undefined : shorten(sql) } }
  switch (type) {
    case 'Parser':
    case 'Binder':
    case 'Catalog':
    case 'Conversion':
    case 'Invalid Input':
    case 'Invalid':
    case 'Out of Range':
    case 'Mismatch Type':
    case 'Not implemented':
      return new MillraceError('invalid', 'bad-sql', `${type} error: ${detail.split('\n')[0]}`, {
        ...details,
        ...hintOf(detail),
      })
    case 'Out of Memory':
      return new MillraceError(
        'unavailable',
        'engine-memory',
        `The engine ran out of memory: ${detail.split('\n')[0]}`,
        {
          ...details,
          hint: 'Raise limits.engineMemory in millrace.config.ts, or let the query read less at once.',
        },
      )
    case 'IO':
      return /No space left|disk full/i.test(detail)
        ? new MillraceError('unavailable', 'disk-full', `The disk is full: ${detail.split('\n')[0]}`, {
            ...details,
            hint: 'Free space; the work is retried.',
          })
        : new MillraceError('internal', 'engine-io', detail, details)
    case 'INTERRUPT':
      return new MillraceError('unavailable', 'interrupted', 'The query was interrupted.', details)
    default:
      return new MillraceError('internal', 'engine', text, details)
  }
}

// DuckDB ends many messages with what it would have understood, or with the line and a mark below the place.
function hintOf(detail: string): { hint?: string } {
  const candidates = /^\s*Candidate bindings: (.*)$/m.exec(detail)?.[1]?.replaceAll('"', '').split(', ')
  if (candidates !== undefined) {
    const wrong = /"(\w+)"/.exec(detail)?.[1] ?? ''
    const offered = offeredColumns(wrong, candidates)
    return offered.length === 0 ? {} : { hint: `Did you mean ${offered.map((name) => `'${name}'`).join(', ')}?` }
  }
  const meant = /^\s*(Did you mean .*|Candidate Entries:.*)$/m.exec(detail)?.[1]
  if (meant !== undefined) return { hint: meant.replaceAll('"', "'") }
  const marked = /^(LINE \d+: )(.*)\n(\s*)\^/m.exec(detail)
  if (!marked || !detail.startsWith('syntax error')) return {}
  const at = marked[3]!.length - marked[1]!.length
  const near = marked[2]!.slice(Math.max(0, at - 30), at + 10).trim()
  return {
    hint: `It stands near «${near}». A name that is also a word of SQL (at, order, end, …) needs double quotes.`,
  }
}

function shorten(sql: string): string {
  return sql.length > 400 ? `${sql.slice(0, 400)}…` : sql
}

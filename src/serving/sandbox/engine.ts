import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type DuckDBConnection,
  DuckDBInstance,
  type DuckDBResult,
  type DuckDBType,
  DuckDBTypeId,
} from '@duckdb/node-api'
import { quoteIdentifier, quoteLiteral } from '../../base/identifier.ts'
import { bindParameters } from '../../engine/duckdb/bind.ts'
import { resultType } from '../../engine/duckdb/json-text.ts'
import { RowEncoder, resultTooLarge } from './encode.ts'
import { examine } from './gate.ts'
import type { Analysis, QueryOutcome, SandboxQuery, SandboxRelation, SandboxSettings } from './protocol.ts'
import { memoryExceeded, sqlError } from './sql-error.ts'
import { MillraceError } from '../../base/errors.ts'

/** DuckDB as user SQL meets it: in memory, settings locked, files outside the roots out of reach. One query at a time. */
export class SandboxEngine {
  readonly #connection: DuckDBConnection
  readonly #settings: SandboxSettings
  readonly #volatile: ReadonlySet<string>
  /** Version of the view by relation name, least recently used first. */
  readonly #views = new Map<string, string>()

  private constructor(connection: DuckDBConnection, settings: SandboxSettings, volatile: ReadonlySet<string>) {
    this.#connection = connection
    this.#settings = settings
    this.#volatile = volatile
  }

  static async open(settings: SandboxSettings): Promise<SandboxEngine> {
    const instance = await DuckDBInstance.create(':memory:', {
      memory_limit: `${settings.memoryBytes}B`,
      threads: String(settings.threads),
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      allow_community_extensions: 'false',
    })
    const connection = await instance.connect()
    const functions = await connection.runAndReadAll(VOLATILE_FUNCTIONS)
    const directories = [...settings.roots, settings.temporary].map((path) => quoteLiteral(path.replace(/\/?$/, '/')))
    // The order matters: directories can only be allowed while external access is still on, nothing once it is locked.
    for (const statement of [
      "set TimeZone = 'UTC'",
      `set temp_directory = ${quoteLiteral(join(settings.temporary, 'spill'))}`,
      `set max_temp_directory_size = '${settings.temporaryBytes}B'`,
      'set errors_as_json = true',
      `set allowed_directories = [${directories.join(', ')}]`,
      'set enable_external_access = false',
      'set lock_configuration = true',
    ]) {
      await connection.run(statement)
    }
    return new SandboxEngine(connection, settings, new Set(functions.getRows().map(([name]) => String(name))))
  }

  /** What a statement refers to. Errors as `examine`. */
  async analyse(sql: string): Promise<Analysis> {
    const tree = await this.#text('select json_serialize_sql($1::varchar, skip_null := true, skip_empty := true)', sql)
    return examine(sql, tree, this.#volatile)
  }

  /** Runs one query that passes the gate. Parts of the answer go to `emit` as they come. */
  async query(query: SandboxQuery, emit: (bytes: Uint8Array) => Promise<void>): Promise<QueryOutcome> {
    try {
      const { tables } = await this.analyse(query.sql)
      this.#requireKnown(tables, query)
      for (const relation of query.relations) {
        await this.#view(relation).catch((error: unknown) => relationFailed(relation, error))
      }
      await this.#forgetViews(query.relations.length)
      return query.format === 'parquet' ? await this.#toParquet(query) : await this.#toRows(query, query.format, emit)
    } catch (error) {
      throw sqlError(error, query.sql)
    }
  }

  interrupt(): void {
    this.#connection.interrupt()
  }

  /** The parent resolves names; here they are only held to what it resolved. */
  #requireKnown(tables: Analysis['tables'], query: SandboxQuery): void {
    const known = new Set(query.relations.map((relation) => relation.name.toLowerCase()))
    const stranger = tables.find((table) => !known.has(table.name.toLowerCase()))
    if (stranger !== undefined) {
      throw new MillraceError('invalid', 'unknown-dataset', `There is no dataset '${stranger.name}'.`)
    }
  }

  async #view(relation: SandboxRelation): Promise<void> {
    const kept = this.#views.get(relation.name)
    this.#views.delete(relation.name)
    if (kept !== relation.version) {
      const columns = relation.columns.map(({ name, json }) => {
        const column = quoteIdentifier(name)
        return json ? `${column}::json as ${column}` : column
      })
      await this.#connection.run(
        `create or replace temp view ${quoteIdentifier(relation.name)} as select ${columns.join(', ')} from ${relation.sql}`,
      )
    }
    this.#views.set(relation.name, relation.version)
  }

  /** Drops views over the bound, the least recently used first; never those of the query at hand, which are the newest. */
  async #forgetViews(needed: number): Promise<void> {
    for (const name of this.#views.keys()) {
      if (this.#views.size <= Math.max(this.#settings.views, needed)) return
      this.#views.delete(name)
      await this.#connection.run(`drop view ${quoteIdentifier(name)}`)
    }
  }

  async #toRows(
    query: SandboxQuery,
    format: Exclude<SandboxQuery['format'], 'parquet'>,
    emit: (bytes: Uint8Array) => Promise<void>,
  ): Promise<QueryOutcome> {
    const statement = await this.#connection.prepare(query.sql)
    try {
      bindParameters(statement, query.parameters)
      const result = await statement.stream()
      const names = result.columnNames()
      const columns = columnsOf(result).slice(0, names.length - query.keys)
      const encoder = new RowEncoder(columns, result.columnTypes(), { format, maxBytes: query.maxBytes, emit })
      let truncated = false
      while (!truncated) {
        const chunk = await result.fetchChunk()
        if (chunk === null || chunk.rowCount === 0) break
        const count = Math.min(chunk.rowCount, query.maxRows - encoder.rows)
        truncated = count < chunk.rowCount
        await encoder.add(chunk, count)
      }
      await encoder.end()
      return { columns, rows: encoder.rows, truncated, last: encoder.last, file: undefined }
    } finally {
      statement.destroySync()
    }
  }

  /** `json_deserialize_sql` writes the statement anew, without comments and semicolons, so that it can stand in COPY. */
  async #toParquet(query: SandboxQuery): Promise<QueryOutcome> {
    const written = `(${await this.#text('select json_deserialize_sql(json_serialize_sql($1::varchar))', query.sql)})`
    const path = join(this.#settings.temporary, 'answer.parquet')
    const { columns, source } = await this.#describe(written, query)
    const counted = await this.#copy(
      `copy (from ${source} limit ${query.maxRows + 1}) to ${quoteLiteral(path)}`,
      path,
      query,
    )
    let rows = counted
    if (counted > query.maxRows) {
      // The limit and one row more went out to learn whether there is more; the answer holds the limit.
      const shorter = join(this.#settings.temporary, 'answer-cut.parquet')
      rows = await this.#copy(
        `copy (from read_parquet(${quoteLiteral(path)}) limit ${query.maxRows}) to ${quoteLiteral(shorter)}`,
        shorter,
        { ...query, parameters: [] },
      )
      await rm(path)
      return this.#fileOutcome(shorter, columns, rows, true)
    }
    return this.#fileOutcome(path, columns, rows, false)
  }

  async #text(sql: string, argument: string): Promise<string> {
    const [row] = (await this.#connection.runAndReadAll(sql, [argument])).getRows()
    // Where memory is short DuckDB may answer nothing instead of failing.
    if (typeof row?.[0] !== 'string') throw memoryExceeded()
    return row[0]
  }

  /** The columns of a query, and the query with integers that Parquet would make doubles of as the decimals they are called. */
  async #describe(source: string, query: SandboxQuery): Promise<{ columns: QueryOutcome['columns']; source: string }> {
    const statement = await this.#connection.prepare(`from ${source} limit 0`)
    try {
      bindParameters(statement, query.parameters)
      const result = await statement.run()
      const columns = columnsOf(result)
      if (!result.columnTypes().some(isHuge)) return { columns, source }
      const places = columns.map((_, i) => `c${i}`)
      const values = columns.map(
        ({ name }, i) => `c${i}${isHuge(result.columnType(i)) ? '::decimal(38, 0)' : ''} as ${quoteIdentifier(name)}`,
      )
      return { columns, source: `(select ${values.join(', ')} from ${source} as t(${places.join(', ')}))` }
    } finally {
      statement.destroySync()
    }
  }

  /** Runs COPY and interrupts it when its file outgrows the limit. Returns the rows written. */
  async #copy(sql: string, path: string, query: SandboxQuery): Promise<number> {
    let outgrown = false
    const watch = setInterval(() => {
      void stat(path).then(
        ({ size }) => {
          if (size <= query.maxBytes) return
          outgrown = true
          this.interrupt()
        },
        () => undefined,
      )
    }, FILE_WATCH_MS)
    const statement = await this.#connection.prepare(`${sql} (format parquet, compression zstd)`)
    try {
      bindParameters(statement, query.parameters)
      const result = await statement.runAndReadAll()
      return Number(result.getRows()[0]![0])
    } catch (error) {
      await rm(path, { force: true })
      throw outgrown ? resultTooLarge(query.maxBytes) : error
    } finally {
      clearInterval(watch)
      statement.destroySync()
    }
  }

  async #fileOutcome(
    path: string,
    columns: QueryOutcome['columns'],
    rows: number,
    truncated: boolean,
  ): Promise<QueryOutcome> {
    const { size } = await stat(path)
    return { columns, rows, truncated, last: undefined, file: { path, bytes: size } }
  }
}

/** A view is made from SQL that Millrace wrote: what goes wrong there is never the sender's fault. */
function relationFailed({ name }: SandboxRelation, error: unknown): never {
  const known = sqlError(error, '')
  if (known.kind === 'unavailable') throw known
  throw new MillraceError('internal', 'relation-failed', `The rows of '${name}' cannot be read.`, {
    hint: 'This is a bug; please report it with what was asked.',
    context: { dataset: name },
    cause: error,
  })
}

const FILE_WATCH_MS = 50

/** Macros have no stability of their own: what they are made of tells. */
const VOLATILE_FUNCTIONS = `select distinct function_name from duckdb_functions()
  where stability <> 'CONSISTENT' or regexp_matches(macro_definition, '(?i)\\b(?:now|today|random)\\(|current_')`

function isHuge({ typeId }: DuckDBType): boolean {
  return typeId === DuckDBTypeId.HUGEINT || typeId === DuckDBTypeId.UHUGEINT
}

function columnsOf(result: DuckDBResult) {
  return result.columnNames().map((name, i) => ({ name, type: resultType(result.columnType(i)) }))
}

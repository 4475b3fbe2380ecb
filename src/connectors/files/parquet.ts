import {
  type DuckDBConnection,
  type DuckDBResult,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MillraceError, messageOf } from '../../base/errors.ts'
import { quoteIdentifier, quoteLiteral } from '../../base/identifier.ts'
import { Database } from '../../engine/duckdb/database.ts'
import type { FilesSource } from '../../project/source.ts'
import type { FileVersion } from '../files.ts'
import { type ReadOptions, expectUnchanged, isGzip, readContent, throwIfCancelled } from './bytes.ts'
import { FieldNames, expectFields } from './fields.ts'
import type { RecordWriter } from './records.ts'

const MEMORY_BYTES = 512 * 1024 * 1024

/**
 * Writes the rows of a Parquet file as records, in their order; a row's line is its number. JSON has no decimals, dates
 * or 64-bit integers that every reader keeps, so decimals, dates, times and timestamps (ISO 8601) become text, and integers keep all
 * their digits. Yields the share of the file done, 0 to 1, whenever the writer may hold a batch.
 *
 * Errors: `invalid`/`bad-parquet`, `invalid`/`missing-field`, and those of `readContent`.
 */
export async function* readParquet(
  source: FilesSource,
  file: FileVersion,
  writer: RecordWriter,
  options: ReadOptions & { needed: readonly string[] },
): AsyncGenerator<number> {
  await using parquet = await OpenParquet.open(file, options)
  const names = new FieldNames(source).name(parquet.columns)
  expectFields(source, file, parquet.columns, names, options.needed)
  const members = parquet.columns.flatMap((column, i) => {
    const name = names[i]
    if (name === undefined) return []
    const value = `(${jsonOf(quoteIdentifier(column), parquet.types[i]!)})::VARCHAR`
    return [`${quoteLiteral(`${JSON.stringify(name)}:`)} || coalesce(${value}, 'null')`]
  })
  let row = 0
  for await (const chunk of parquet.select(`concat_ws(',', ${members.join(', ')})`)) {
    throwIfCancelled(file, options.signal)
    for (const [record] of chunk) writer.record(++row, String(record))
    yield row / parquet.rows
  }
  await expectUnchanged(file, options.disk)
}

/** The field names of a Parquet file. Errors: `invalid`/`bad-parquet`, and those of `readContent`. */
export async function parquetFields(file: FileVersion, options: ReadOptions): Promise<readonly string[]> {
  await using parquet = await OpenParquet.open(file, options)
  return parquet.columns
}

/** A Parquet file open in an engine of its own, so that its memory is bounded and given back. */
class OpenParquet {
  readonly columns: readonly string[]
  readonly types: readonly DuckDBType[]
  readonly rows: number
  readonly #file: FileVersion
  readonly #from: string
  readonly #connection: DuckDBConnection
  readonly #release: () => Promise<void>

  private constructor(
    file: FileVersion,
    from: string,
    connection: DuckDBConnection,
    empty: DuckDBResult,
    rows: number,
    release: () => Promise<void>,
  ) {
    this.columns = empty.columnNames()
    this.types = empty.columnTypes()
    this.rows = rows
    this.#file = file
    this.#from = from
    this.#connection = connection
    this.#release = release
  }

  static async open(file: FileVersion, options: ReadOptions): Promise<OpenParquet> {
    await expectUnchanged(file, options.disk)
    const folder = await fs.mkdtemp(join(tmpdir(), 'millrace-parquet-'))
    const database = await Database.open({ threads: 1, memory: MEMORY_BYTES, temporary: folder })
    const release = async () => {
      await database.close()
      await fs.rm(folder, { recursive: true, force: true })
    }
    try {
      const path = isGzip(file.path) ? await unzipped(file, options, folder) : file.path
      const from = `read_parquet(${quoteLiteral(path)}, hive_partitioning = false)`
      const connection = await database.connect()
      const empty = await connection.run(`SELECT * FROM ${from} LIMIT 0`)
      const count = await connection.runAndReadAll(`SELECT count(*) FROM ${from}`)
      return new OpenParquet(file, from, connection, empty, Number(count.getRows()[0]![0]), release)
    } catch (error) {
      await release()
      throw parquetError(error, file)
    }
  }

  /** The values of an expression, row by row in the order of the file, some at a time. */
  async *select(expression: string): AsyncGenerator<DuckDBValue[][]> {
    try {
      yield* (await this.#connection.stream(`SELECT ${expression} FROM ${this.#from}`)).yieldRows()
    } catch (error) {
      throw parquetError(error, this.#file)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release()
  }
}

/** SQL of type JSON that keeps the value of an expression to the last digit. */
function jsonOf(value: string, type: DuckDBType, depth = 0): string {
  const item = `x${depth}`
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.BIGINT:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.UINTEGER:
    case DuckDBTypeId.UBIGINT:
      return `to_json(${value})`
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      // JSON knows no NaN and no infinity.
      return `CASE WHEN isfinite(${value}) THEN ${value}::VARCHAR::JSON ELSE to_json(${value}::VARCHAR) END`
    case DuckDBTypeId.TIMESTAMP_TZ:
      return `to_json(replace(replace(${value}::VARCHAR, ' ', 'T'), '+00', 'Z'))`
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
    case DuckDBTypeId.TIMESTAMP_NS:
      return `to_json(replace(${value}::VARCHAR, ' ', 'T'))`
    case DuckDBTypeId.VARCHAR:
      // A JSON column's text is taken as it stands: parsing it would cost digits.
      return type.alias === 'JSON'
        ? `CASE WHEN json_valid(${value}) THEN regexp_replace(${value}, '[\\r\\n]+', ' ', 'g')::JSON ELSE to_json(${value}::VARCHAR) END`
        : `to_json(${value})`
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
      return `to_json(list_transform(${value}, lambda ${item}: ${jsonOf(item, type.valueType, depth + 1)}))`
    case DuckDBTypeId.STRUCT: {
      const members = type.entryNames.map((name, i) => {
        const member = `struct_extract(${value}, ${quoteLiteral(name)})`
        return `${quoteLiteral(name)}, ${jsonOf(member, type.entryTypes[i]!, depth + 1)}`
      })
      return `CASE WHEN ${value} IS NOT NULL THEN json_object(${members.join(', ')}) END`
    }
    case DuckDBTypeId.MAP: {
      const values = `list_transform(map_values(${value}), lambda ${item}: ${jsonOf(item, type.valueType, depth + 1)})`
      return `CASE WHEN ${value} IS NOT NULL THEN to_json(map(map_keys(${value})::VARCHAR[], ${values})) END`
    }
    default:
      return `to_json(${value}::VARCHAR)`
  }
}

/** A gzipped Parquet file needs its end before its beginning: it is unpacked to a temporary file. */
async function unzipped(file: FileVersion, options: ReadOptions, folder: string): Promise<string> {
  const path = join(folder, 'file.parquet')
  await fs.writeFile(path, readContent(file, options))
  return path
}

function parquetError(error: unknown, file: FileVersion): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError('invalid', 'bad-parquet', `${file.file}: ${reasonOf(error)}.`, {
    hint: 'Deliver the file again, whole, or declare its format.',
    context: { source: file.source, file: file.file },
    cause: error,
  })
}

/** DuckDB's first line without its kind of error and the path, which is told already. */
function reasonOf(error: unknown): string {
  const [line = ''] = messageOf(error).split('\n')
  const reason = line.replace(/^[A-Za-z ]+ Error: /, '').replace(/^File '[^']*' */, 'the file is ')
  return reason.replace(/[.!]$/, '')
}

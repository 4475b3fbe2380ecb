import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api'
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
 * or 64-bit integers that every reader keeps, so decimals, dates, times and timestamps (ISO 8601) become text and integers all their digits.
 * Yields the share of the file done, 0 to 1, whenever the writer may hold a batch.
 *
 * Errors: `invalid`/`bad-parquet`, `invalid`/`missing-field`, and those of `readContent`.
 */
export async function* readParquet(
  source: FilesSource,
  file: FileVersion,
  writer: RecordWriter,
  options: ReadOptions & { needed: readonly string[] },
): AsyncGenerator<number> {
  await expectUnchanged(file, options.disk)
  const folder = await fs.mkdtemp(join(tmpdir(), 'millrace-parquet-'))
  const database = await Database.open({ threads: 1, memory: MEMORY_BYTES, temporary: folder })
  try {
    const path = isGzip(file.path) ? await unzipped(file, options, folder) : file.path
    yield* readRows(database, path, source, file, writer, options)
  } catch (error) {
    throw error instanceof MillraceError ? error : parquetError(error, file)
  } finally {
    database.close()
    await fs.rm(folder, { recursive: true, force: true })
  }
  await expectUnchanged(file, options.disk)
}

/** The field names of a Parquet file. */
export async function parquetFields(file: FileVersion, options: ReadOptions): Promise<string[]> {
  const folder = await fs.mkdtemp(join(tmpdir(), 'millrace-parquet-'))
  const database = await Database.open({ threads: 1, memory: MEMORY_BYTES, temporary: folder })
  try {
    const path = isGzip(file.path) ? await unzipped(file, options, folder) : file.path
    const connection = await database.connect()
    return (await connection.run(`${selectAll(path)} LIMIT 0`)).columnNames()
  } catch (error) {
    throw error instanceof MillraceError ? error : parquetError(error, file)
  } finally {
    database.close()
    await fs.rm(folder, { recursive: true, force: true })
  }
}

async function* readRows(
  database: Database,
  path: string,
  source: FilesSource,
  file: FileVersion,
  writer: RecordWriter,
  options: ReadOptions & { needed: readonly string[] },
): AsyncGenerator<number> {
  const connection = await database.connect()
  const empty = await connection.run(`${selectAll(path)} LIMIT 0`)
  const found = empty.columnNames()
  const types = empty.columnTypes()
  expectFields(source, file, found, options.needed)
  const names = new FieldNames(source).name(found)
  const members = found.flatMap((column, i) => {
    const name = names[i]
    if (name === undefined) return []
    const value = `(${jsonOf(quoteIdentifier(column), types[i]!)})::VARCHAR`
    return [`${quoteLiteral(`${JSON.stringify(name)}:`)} || coalesce(${value}, 'null')`]
  })
  const total = Number(
    (await connection.runAndReadAll(`SELECT count(*) FROM read_parquet(${quoteLiteral(path)})`)).getRows()[0]![0],
  )
  const rows = await connection.stream(`SELECT concat_ws(',', ${members.join(', ')}) FROM (${selectAll(path)})`)
  let row = 0
  for await (const chunk of rows.yieldRows()) {
    throwIfCancelled(file, options.signal)
    for (const [members] of chunk) writer.record(++row, members as string)
    yield row / total
  }
}

function selectAll(path: string): string {
  return `SELECT * FROM read_parquet(${quoteLiteral(path)}, hive_partitioning = false)`
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
  return new MillraceError('invalid', 'bad-parquet', `${file.file}: ${messageOf(error).split('\n')[0]}`, {
    hint: 'Deliver the file again, whole, or declare its format.',
    context: { source: file.source, file: file.file },
    cause: error,
  })
}

import { type DuckDBConnection, DuckDBMapValue, type DuckDBValue } from '@duckdb/node-api'
import { quoteIdentifier, quoteLiteral } from '../../base/identifier.ts'
import type { IdentifiedField, IdentifiedType } from '../../project/columns.ts'
import { run } from './database.ts'
import { duckdbType } from './types.ts'

/** One Parquet file a COPY made. */
export interface WrittenFile {
  path: string
  records: number
  bytes: number
  footerBytes: number
  /** Per column (nested: DuckDB's quoted dotted path), DuckDB's statistics as text. */
  columnStatistics: Record<string, Record<string, string>>
  /** Per partition column, its value as text; null for none. */
  partitionValues: Record<string, string | null>
}

export interface CopyOptions {
  /** A directory that exists. */
  directory: string
  fields: readonly IdentifiedField[]
  /** Names of extra columns of the query that say which file a row goes to; they are not written. */
  partitionColumns?: readonly string[]
  /** Files of a micro-batch, soon rewritten by compaction: cheap to write rather than small. */
  hot?: boolean
  /** Rows of a row group: small where the file is read from its middle. */
  rowGroupRows?: number
}

/** A tenth off the whole gate beside zstd; dictionaries of columns that are nearly unique are given up early. */
const HOT = ['COMPRESSION snappy', 'DICTIONARY_SIZE_LIMIT 5000']
/** Half the time of DuckDB's level 3, for files a fiftieth larger. */
const LASTING = ['COMPRESSION zstd', 'COMPRESSION_LEVEL 1']

/**
 * Writes the rows of a query as Parquet with the lake's field ids, one file per partition value and writer thread.
 * Nothing is fsynced: DuckDB's COPY never does, so the caller must before anything refers to the files.
 */
export async function copyToParquet(
  connection: DuckDBConnection,
  query: string,
  options: CopyOptions,
): Promise<WrittenFile[]> {
  const { directory, fields, partitionColumns = [] } = options
  const partitioned = partitionColumns.length > 0
  const settings = [
    'FORMAT parquet',
    ...(options.hot === true ? HOT : LASTING),
    ...(options.rowGroupRows === undefined ? [] : [`ROW_GROUP_SIZE ${options.rowGroupRows}`]),
    `FIELD_IDS {${fields.map(fieldIds).join(', ')}}`,
    'RETURN_STATS',
    ...(partitioned
      ? [
          `PARTITION_BY (${partitionColumns.map(quoteIdentifier).join(', ')})`,
          'OVERWRITE_OR_IGNORE',
          "FILENAME_PATTERN '{uuidv7}'",
        ]
      : []),
  ]
  const target = partitioned ? directory : `${directory}/${uniqueName()}.parquet`
  const statement = `COPY (${query}) TO ${quoteLiteral(target)} (${settings.join(', ')})`
  const reader = await run(statement, () => connection.runAndReadAll(statement))
  return reader
    .getRowObjects()
    .map((row) => ({
      path: String(row.filename),
      records: Number(row.count),
      bytes: Number(row.file_size_bytes),
      footerBytes: Number(row.footer_size_bytes),
      columnStatistics: nestedText(row.column_statistics) as Record<string, Record<string, string>>,
      partitionValues:
        row.partition_keys === null ? {} : (nestedText(row.partition_keys) as Record<string, string | null>),
    }))
    .filter((file) => file.records > 0)
}

let counter = 0

/** File names sort by the time they were made; the random part keeps processes apart. */
function uniqueName(): string {
  return `${Date.now().toString(36)}-${(counter++).toString(36)}-${crypto.randomUUID()}`
}

function nestedText(value: DuckDBValue | undefined): Record<string, unknown> {
  if (!(value instanceof DuckDBMapValue)) return {}
  return Object.fromEntries(
    value.entries.map(({ key, value: inner }) => [
      String(key),
      inner instanceof DuckDBMapValue ? nestedText(inner) : inner === null ? null : String(inner),
    ]),
  )
}

function fieldIds(field: IdentifiedField): string {
  return `${quoteIdentifier(field.name)}: ${idsOf(field.id, field.type)}`
}

function idsOf(id: number, type: IdentifiedType): string {
  if (type.kind === 'list') return `{__duckdb_field_id: ${id}, element: ${idsOf(type.elementId, type.element)}}`
  if (type.kind === 'struct') return `{__duckdb_field_id: ${id}, ${type.fields.map(fieldIds).join(', ')}}`
  return String(id)
}

/**
 * A table expression over Parquet files, read by field id so that files of any age fit the present schema: renamed,
 * added and widened columns included. No files: no rows. With `fileColumn`, a column of that name holds the path of the file.
 */
export function parquetRelation(
  files: readonly string[],
  fields: readonly IdentifiedField[],
  fileColumn?: string,
): string {
  if (files.length === 0) {
    const columns = fields.map((f) => `NULL::${duckdbType(f.type)} AS ${quoteIdentifier(f.name)}`)
    if (fileColumn !== undefined) columns.push(`NULL::VARCHAR AS ${quoteIdentifier(fileColumn)}`)
    return `(SELECT ${columns.join(', ')} WHERE false)`
  }
  const schema = fields.map(
    (f) => `${f.id}: {name: ${quoteLiteral(f.name)}, type: ${quoteLiteral(duckdbType(f.type))}, default_value: NULL}`,
  )
  const named = fileColumn === undefined ? '' : `, filename = ${quoteLiteral(fileColumn)}`
  return `read_parquet([${files.map(quoteLiteral).join(', ')}], schema = MAP {${schema.join(', ')}}${named}, hive_partitioning = false)`
}

import { rm } from 'node:fs/promises'
import { type DuckDBConnection, DuckDBScalarFunction, INTEGER, VARCHAR } from '@duckdb/node-api'
import { assert } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { type WrittenFile, copyToParquet, parquetRelation } from '../engine/duckdb/parquet.ts'
import { type PartitionField, partitionName } from '../lake/partition.ts'
import { isPrimitive } from '../lake/schema.ts'
import { transformSql, transformValue } from '../lake/transform.ts'
import { parseValue } from '../lake/value.ts'
import { type ColumnType, type IdentifiedField, typeName } from '../project/columns.ts'

export interface PartitionedWrite {
  /** A directory that exists. */
  readonly directory: string
  readonly fields: readonly IdentifiedField[]
  readonly partition: readonly PartitionField[]
  /** Rows are expected to belong to several partitions: they are spread at once. */
  readonly spread: boolean
  /** As in `CopyOptions`. */
  readonly hot?: boolean
}

/**
 * Writes rows as Parquet files that each belong to one partition. DuckDB's spreading costs a sixth more than a plain
 * file, and most micro-batches lie in one partition: so a plain file is written first, and only spread when its
 * statistics say that it must be.
 */
export async function writePartitioned(
  connection: DuckDBConnection,
  query: string,
  write: PartitionedWrite,
): Promise<{ files: WrittenFile[]; spread: boolean }> {
  const { directory, fields, partition } = write
  const options = {
    directory,
    fields,
    ...(write.hot === undefined ? {} : { hot: write.hot }),
  }
  if (partition.length === 0) return { files: await copyToParquet(connection, query, options), spread: false }
  const spread = async (from: string) => {
    registerBuckets(connection, write)
    // Names of their own: an identity partition has the name of its column, which would be left out of the file.
    const names = partition
      .map(partitionName)
      .map((name) => (fields.some((field) => field.name === name) ? `_${name}` : name))
    const columns = partition.map((field, i) => `${partitionSql(field, fields)} AS ${quoteIdentifier(names[i]!)}`)
    const query = `SELECT *, ${columns.join(', ')} FROM (${from})`
    const written = await copyToParquet(connection, query, { ...options, partitionColumns: names })
    return written.map((file) => ({ ...file, partitionValues: renamed(file.partitionValues, partition, names) }))
  }
  if (write.spread) {
    const files = await spread(query)
    return { files, spread: files.length > 1 }
  }
  const files = await copyToParquet(connection, query, options)
  const plain = files.map((file) => ({ ...file, partitionValues: onlyValues(partition, fields, file) }))
  if (plain.every((file): file is WrittenFile => file.partitionValues !== undefined))
    return { files: plain, spread: false }
  const parts = await spread(
    `SELECT * FROM ${parquetRelation(
      files.map((file) => file.path),
      fields,
    )}`,
  )
  for (const file of files) await rm(file.path, { force: true })
  return { files: parts, spread: true }
}

function renamed(
  values: WrittenFile['partitionValues'],
  partition: readonly PartitionField[],
  names: readonly string[],
): Record<string, string | null> {
  return Object.fromEntries(partition.map((field, i) => [partitionName(field), values[names[i]!] ?? null]))
}

/** The partition values, as text, that all rows of a file have, if its statistics prove them; undefined otherwise. */
function onlyValues(
  partition: readonly PartitionField[],
  fields: readonly IdentifiedField[],
  file: WrittenFile,
): Record<string, string | null> | undefined {
  const values = partition.map((field) => [partitionName(field), onlyValue(field, fields, file)] as const)
  return values.every((entry): entry is [string, string | null] => entry[1] !== undefined)
    ? Object.fromEntries(values)
    : undefined
}

function onlyValue(
  field: PartitionField,
  fields: readonly IdentifiedField[],
  file: WrittenFile,
): string | null | undefined {
  const { type } = columnOf(field, fields)
  const statistics = file.columnStatistics[quoteIdentifier(field.column)]
  if (
    !statistics ||
    !isPrimitive(type) ||
    statistics.null_count !== '0' ||
    statistics.min === undefined ||
    statistics.max === undefined
  )
    return undefined
  const [min, max] = [parseValue(type, statistics.min), parseValue(type, statistics.max)]
  if (min === undefined || max === undefined) return undefined
  // Equal ends prove nothing of what lies between where the transform keeps no order.
  if (field.transform.kind === 'bucket' && min !== max) return undefined
  const [first, last] = [transformValue(field.transform, type, min), transformValue(field.transform, type, max)]
  if (first !== last) return undefined
  if (first === null) return null
  if (field.transform.kind === 'identity') return statistics.min
  return type.kind === 'decimal' && typeof first === 'bigint' ? decimalText(first, type.scale) : String(first)
}

function decimalText(unscaled: bigint, scale: number): string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale === 0 ? '' : `.${digits.slice(point)}`}`
}

function columnOf(field: PartitionField, fields: readonly IdentifiedField[]): IdentifiedField {
  const column = fields.find((candidate) => candidate.name === field.column)
  assert(column, `partition column ${field.column} is in the table`)
  return column
}

function partitionSql(field: PartitionField, fields: readonly IdentifiedField[]): string {
  const { type } = columnOf(field, fields)
  const column = quoteIdentifier(field.column)
  if (field.transform.kind !== 'bucket') return transformSql(field.transform, column, type)
  return `${bucketName(type)}(${field.transform.count}, ${column}::VARCHAR)`
}

function bucketName(type: ColumnType): string {
  return `millrace_bucket_${typeName(type).replaceAll(/[^a-z0-9]+/g, '_')}`
}

const registered = new WeakMap<DuckDBConnection, Set<string>>()

/** DuckDB has no murmur3: buckets are computed in JavaScript, a vector at a time. */
function registerBuckets(connection: DuckDBConnection, write: PartitionedWrite): void {
  const known = registered.get(connection) ?? new Set()
  registered.set(connection, known)
  for (const field of write.partition) {
    const { type } = columnOf(field, write.fields)
    const name = bucketName(type)
    if (field.transform.kind !== 'bucket' || known.has(name)) continue
    assert(isPrimitive(type), 'buckets are of scalar columns')
    known.add(name)
    connection.registerScalarFunction(
      DuckDBScalarFunction.create({
        name,
        parameterTypes: [INTEGER, VARCHAR],
        returnType: INTEGER,
        mainFunction: (_info, chunk, output) => {
          const [count, text] = [chunk.getColumnVector(0), chunk.getColumnVector(1)]
          for (let i = 0; i < chunk.rowCount; i++) {
            const item = text.getItem(i)
            const value = item === null ? undefined : parseValue(type, String(item))
            output.setItem(
              i,
              value === undefined
                ? null
                : transformValue({ kind: 'bucket', count: Number(count.getItem(i)) }, type, value),
            )
          }
          output.flush()
        },
      }),
    )
  }
}

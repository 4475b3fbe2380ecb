import type { ColumnType, Field } from '../../project/columns.ts'
import { quoteName } from './quote.ts'

/** The Spark SQL type of a column type, as in DDL and casts: docs/formats/types.md. */
export function sparkType(type: ColumnType): string {
  switch (type.kind) {
    case 'string':
    case 'json':
      return 'STRING'
    case 'int':
      return 'INT'
    case 'long':
      return 'BIGINT'
    case 'double':
      return 'DOUBLE'
    case 'boolean':
      return 'BOOLEAN'
    case 'date':
      return 'DATE'
    case 'timestamp':
      return 'TIMESTAMP_NTZ'
    case 'decimal':
      return `DECIMAL(${type.precision},${type.scale})`
    case 'list':
      return `ARRAY<${sparkType(type.element)}>`
    case 'struct':
      return `STRUCT<${type.fields.map((field) => `${quoteName(field.name)}: ${sparkType(field.type)}`).join(', ')}>`
  }
}

/** Columns as in `CREATE TABLE t (…)`; what is not nullable says so. */
export function columnList(fields: readonly Field[]): string {
  return fields
    .map((field) => `${quoteName(field.name)} ${sparkType(field.type)}${field.nullable ? '' : ' NOT NULL'}`)
    .join(', ')
}

/** An expression as a column of a type, with its name. */
export function castTo(expression: string, { name, type }: Pick<Field, 'name' | 'type'>): string {
  return `CAST(${expression} AS ${sparkType(type)}) AS ${quoteName(name)}`
}

/** Spark's own description of a type (`spark.connect.DataType`): one of the members is set, and names it. */
export interface SparkDataType {
  readonly kind: string
  readonly decimal?: { readonly precision?: number; readonly scale?: number }
  readonly array?: { readonly elementType: SparkDataType; readonly containsNull?: boolean }
  readonly struct?: { readonly fields: readonly SparkField[] }
}

export interface SparkField {
  readonly name: string
  readonly dataType: SparkDataType
  readonly nullable?: boolean
}

/**
 * The column type that holds values of a Spark type, widening where Iceberg has no such type (TINYINT → int, FLOAT →
 * double); undefined where none does (BINARY, INTERVAL, MAP, TIME, VARIANT). Instants are UTC, as sessions are.
 */
export function columnType(type: SparkDataType): ColumnType | undefined {
  switch (type.kind) {
    case 'string':
    case 'char':
    case 'varChar':
      return { kind: 'string' }
    case 'byte':
    case 'short':
    case 'integer':
    case 'null':
      return { kind: 'int' }
    case 'long':
      return { kind: 'long' }
    case 'float':
    case 'double':
      return { kind: 'double' }
    case 'boolean':
      return { kind: 'boolean' }
    case 'date':
      return { kind: 'date' }
    case 'timestamp':
    case 'timestampNtz':
      return { kind: 'timestamp' }
    // Spark's DECIMAL without digits.
    case 'decimal':
      return { kind: 'decimal', precision: type.decimal?.precision ?? 10, scale: type.decimal?.scale ?? 0 }
    case 'array': {
      const element = columnType(type.array!.elementType)
      return element && { kind: 'list', element, elementNullable: type.array!.containsNull ?? false }
    }
    case 'struct': {
      const fields = type.struct!.fields.map((field) => ({
        name: field.name,
        type: columnType(field.dataType),
        nullable: field.nullable ?? false,
      }))
      return fields.every((field): field is typeof field & { type: ColumnType } => field.type !== undefined)
        ? { kind: 'struct', fields }
        : undefined
    }
    default:
      return undefined
  }
}

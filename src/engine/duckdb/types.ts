import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api'
import { quoteIdentifier } from '../../base/identifier.ts'
import type { ColumnType } from '../../project/columns.ts'

/** The DuckDB type of a column type. Timestamps are without zone and UTC by contract: docs/formats/types.md. */
export function duckdbType(type: ColumnType): string {
  switch (type.kind) {
    case 'string':
      return 'VARCHAR'
    case 'int':
      return 'INTEGER'
    case 'long':
      return 'BIGINT'
    case 'double':
      return 'DOUBLE'
    case 'boolean':
      return 'BOOLEAN'
    case 'date':
      return 'DATE'
    case 'timestamp':
      return 'TIMESTAMP'
    case 'json':
      return 'VARCHAR'
    case 'decimal':
      return `DECIMAL(${type.precision},${type.scale})`
    case 'list':
      return `${duckdbType(type.element)}[]`
    case 'struct':
      return `STRUCT(${type.fields.map((field) => `${quoteIdentifier(field.name)} ${duckdbType(field.type)}`).join(', ')})`
  }
}

/**
 * The column type that holds values of a DuckDB type, widening where Iceberg has no such type (HUGEINT → decimal(38, 0),
 * UBIGINT → decimal(20, 0), FLOAT → double); undefined where none does (INTERVAL, TIME, BLOB, MAP, UNION).
 */
export function columnType(type: DuckDBType): ColumnType | undefined {
  if (type.alias === 'JSON') return { kind: 'json' }
  switch (type.typeId) {
    case DuckDBTypeId.VARCHAR:
    case DuckDBTypeId.UUID:
    case DuckDBTypeId.ENUM:
      return { kind: 'string' }
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.SQLNULL:
      return { kind: 'int' }
    case DuckDBTypeId.UINTEGER:
    case DuckDBTypeId.BIGINT:
      return { kind: 'long' }
    case DuckDBTypeId.UBIGINT:
      return { kind: 'decimal', precision: 20, scale: 0 }
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
      return { kind: 'decimal', precision: 38, scale: 0 }
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return { kind: 'double' }
    case DuckDBTypeId.BOOLEAN:
      return { kind: 'boolean' }
    case DuckDBTypeId.DATE:
      return { kind: 'date' }
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
    case DuckDBTypeId.TIMESTAMP_NS:
    case DuckDBTypeId.TIMESTAMP_TZ:
      return { kind: 'timestamp' }
    case DuckDBTypeId.DECIMAL: {
      const { width, scale } = type
      return { kind: 'decimal', precision: width, scale }
    }
    case DuckDBTypeId.LIST: {
      const element = columnType(type.valueType)
      return element && { kind: 'list', element, elementNullable: true }
    }
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type
      const fields = entryNames.map((name, i) => ({ name, type: columnType(entryTypes[i]!), nullable: true }))
      return fields.every((field): field is typeof field & { type: ColumnType } => field.type !== undefined)
        ? { kind: 'struct', fields }
        : undefined
    }
    default:
      return undefined
  }
}

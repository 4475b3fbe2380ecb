import type { ColumnType, IdentifiedField } from '../project/columns.ts'

/** A JSON Schema (2020-12), as plain data. */
export type JsonSchema = Record<string, unknown>

interface ColumnLike {
  readonly name: string
  readonly type: ColumnType
  readonly nullable: boolean
  readonly doc?: string
}

/** The JSON Schema of a value of a type, as it is accepted and as it is given (docs/http.md). */
export function typeSchema(type: ColumnType): JsonSchema {
  switch (type.kind) {
    case 'string':
      return { type: 'string' }
    case 'int':
      return { type: 'integer', format: 'int32' }
    case 'long':
      return { type: 'integer', format: 'int64' }
    case 'double':
      return { anyOf: [{ type: 'number', format: 'double' }, { enum: ['NaN', 'Infinity', '-Infinity'] }] }
    case 'decimal':
      return {
        type: ['number', 'string'],
        description: `Decimal of ${type.precision} digits, ${type.scale} after the point.`,
      }
    case 'boolean':
      return { type: 'boolean' }
    case 'date':
      return { type: 'string', format: 'date' }
    case 'timestamp':
      return { type: 'string', format: 'date-time' }
    case 'json':
      return {}
    case 'list':
      return { type: 'array', items: orNull(typeSchema(type.element), type.elementNullable) }
    case 'struct':
      return rowSchema(type.fields)
  }
}

export function columnSchema({ type, nullable, doc }: ColumnLike): JsonSchema {
  const schema = orNull(typeSchema(type), nullable)
  return doc === undefined ? schema : { ...schema, description: doc }
}

/** The schema of a row: an object with its columns; those that are not nullable are required. */
export function rowSchema(fields: readonly ColumnLike[] | readonly IdentifiedField[]): JsonSchema {
  const columns = fields as readonly ColumnLike[]
  const required = columns.filter((field) => !field.nullable).map((field) => field.name)
  return {
    type: 'object',
    properties: Object.fromEntries(columns.map((field) => [field.name, columnSchema(field)])),
    ...(required.length === 0 ? {} : { required }),
  }
}

function orNull(schema: JsonSchema, nullable: boolean): JsonSchema {
  if (!nullable || Object.keys(schema).length === 0) return schema
  if (typeof schema['type'] === 'string') return { ...schema, type: [schema['type'], 'null'] }
  if (Array.isArray(schema['type'])) return { ...schema, type: [...(schema['type'] as string[]), 'null'] }
  return { anyOf: [...((schema['anyOf'] as JsonSchema[] | undefined) ?? [schema]), { type: 'null' }] }
}

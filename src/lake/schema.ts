import { MillraceError } from '../base/errors.ts'
import type { ColumnType, Field, IdentifiedField, IdentifiedType } from '../project/columns.ts'

/** A column type without parts: what bounds, partitions and comparisons know. */
export type PrimitiveType = Exclude<IdentifiedType, { kind: 'list' | 'struct' }>

/** Iceberg's JSON form of a type (spec, Appendix C). */
export type TypeJson =
  | string
  | {
      readonly type: 'list'
      readonly 'element-id': number
      readonly element: TypeJson
      readonly 'element-required': boolean
    }
  | { readonly type: 'struct'; readonly fields: readonly FieldJson[] }

export interface FieldJson {
  readonly id: number
  readonly name: string
  readonly required: boolean
  readonly type: TypeJson
  readonly doc?: string
}

export interface SchemaJson {
  readonly type: 'struct'
  readonly 'schema-id': number
  readonly fields: readonly FieldJson[]
}

/** The ids of fields declared `json`: Iceberg has no such type, they are stored as its `string`. */
export type JsonFieldIds = ReadonlySet<number>

export function isPrimitive(type: IdentifiedType): type is PrimitiveType {
  return type.kind !== 'list' && type.kind !== 'struct'
}

/** Gives every field an id, a level at a time as Iceberg's own writers do: `next` hands them out. */
export function assignIds(fields: readonly Field[], next: () => number): IdentifiedField[] {
  const ids = fields.map(() => next())
  return fields.map((field, i) => identified(field, ids[i]!, assignTypeIds(field.type, next)))
}

export function assignTypeIds(type: ColumnType, next: () => number): IdentifiedType {
  switch (type.kind) {
    case 'list':
      return {
        kind: 'list',
        elementId: next(),
        element: assignTypeIds(type.element, next),
        elementNullable: type.elementNullable,
      }
    case 'struct':
      return { kind: 'struct', fields: assignIds(type.fields, next) }
    default:
      return type
  }
}

/** A declared field under an id it has or gets. */
export function identified(field: Field, id: number, type: IdentifiedType): IdentifiedField {
  return {
    id,
    name: field.name,
    type,
    nullable: field.nullable,
    ...(field.doc === undefined ? {} : { doc: field.doc }),
  }
}

/** Every field and list element, depth first, with its path of names as DuckDB prints it (`li`, `element`). */
export function* walk(
  fields: readonly IdentifiedField[],
  path: readonly string[] = [],
  repeated = false,
): Generator<{ id: number; path: readonly string[]; type: IdentifiedType; repeated: boolean }> {
  for (const field of fields) yield* walkType(field.id, field.type, [...path, field.name], repeated)
}

function* walkType(
  id: number,
  type: IdentifiedType,
  path: readonly string[],
  repeated: boolean,
): ReturnType<typeof walk> {
  yield { id, path, type, repeated }
  if (type.kind === 'struct') yield* walk(type.fields, path, repeated)
  if (type.kind === 'list') yield* walkType(type.elementId, type.element, [...path, 'element'], true)
}

/** A schema in Iceberg's JSON. */
export function schemaToJson(fields: readonly IdentifiedField[], schemaId: number): SchemaJson {
  return { type: 'struct', 'schema-id': schemaId, fields: fields.map(fieldToJson) }
}

function fieldToJson(field: IdentifiedField): FieldJson {
  const { id, name, nullable, type, doc } = field
  return { id, name, required: !nullable, type: typeToJson(type), ...(doc === undefined ? {} : { doc }) }
}

/** A type in Iceberg's JSON. */
export function typeToJson(type: IdentifiedType): TypeJson {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})`
    case 'json':
      return 'string'
    case 'list':
      return {
        type: 'list',
        'element-id': type.elementId,
        element: typeToJson(type.element),
        'element-required': !type.elementNullable,
      }
    case 'struct':
      return { type: 'struct', fields: type.fields.map(fieldToJson) }
    default:
      return type.kind
  }
}

/** The fields of a schema in Iceberg's JSON. Throws `invalid` / `unsupported-type` for types Millrace does not have. */
export function schemaFromJson(schema: SchemaJson, jsonIds: JsonFieldIds): IdentifiedField[] {
  return schema.fields.map((field) => fieldFromJson(field, jsonIds))
}

function fieldFromJson(json: FieldJson, jsonIds: JsonFieldIds): IdentifiedField {
  const type = typeFromJson(json.type, json.id, json.name, jsonIds)
  return {
    id: json.id,
    name: json.name,
    type,
    nullable: !json.required,
    ...(json.doc === undefined ? {} : { doc: json.doc }),
  }
}

function typeFromJson(json: TypeJson, id: number, name: string, jsonIds: JsonFieldIds): IdentifiedType {
  if (typeof json !== 'string') {
    if (json.type === 'struct')
      return { kind: 'struct', fields: json.fields.map((field) => fieldFromJson(field, jsonIds)) }
    if (json.type === 'list') {
      const elementId = json['element-id']
      const element = typeFromJson(json.element, elementId, `${name}.element`, jsonIds)
      return { kind: 'list', elementId, element, elementNullable: !json['element-required'] }
    }
    return unsupported(String((json as { type: string }).type), name)
  }
  const decimal = /^decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(json)
  if (decimal) return { kind: 'decimal', precision: Number(decimal[1]), scale: Number(decimal[2]) }
  switch (json) {
    case 'string':
      return { kind: jsonIds.has(id) ? 'json' : 'string' }
    case 'int':
    case 'long':
    case 'double':
    case 'boolean':
    case 'date':
    case 'timestamp':
      return { kind: json }
    default:
      return unsupported(json, name)
  }
}

function unsupported(type: string, name: string): never {
  throw new MillraceError(
    'invalid',
    'unsupported-type',
    `Column '${name}' has the Iceberg type ${type}, which Millrace does not read.`,
    {
      hint: 'Read the table with its own engine, or rewrite the column as one of the types in docs/formats/types.md.',
      context: { column: name },
    },
  )
}

/** The ids of all `json` fields and elements. */
export function jsonFieldIds(fields: readonly IdentifiedField[]): number[] {
  return [...walk(fields)].filter(({ type }) => type.kind === 'json').map(({ id }) => id)
}

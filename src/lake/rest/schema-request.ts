import type { Json } from '../json.ts'
import type { SpecJson } from '../partition.ts'
import { FIRST_PARTITION_ID } from '../partition.ts'
import type { SchemaJson } from '../schema.ts'
import { badRequest } from './error.ts'
import { RequestPart } from './request.ts'

/** The types of format version 2 (spec, "Primitive Types"). A catalog keeps more than Millrace's engine reads. */
const PRIMITIVE =
  /^(?:boolean|int|long|float|double|date|time|timestamp|timestamptz|string|uuid|binary|fixed\[\d+\]|decimal\(\s*\d+\s*,\s*\d+\s*\))$/

/** Gives the id of a field, list element, map key or map value the id it is to have. */
type Renumber = (id: number) => number

/** A schema of a request, checked, as it is. Throws `invalid` / `bad-request`. */
export function requestedSchema(part: RequestPart, schemaId: number): SchemaJson {
  const seen = new Set<number>()
  return schemaWith(part, schemaId, (id) => {
    if (seen.has(id)) throw badRequest(`Two fields of the schema have the id ${id}.`)
    seen.add(id)
    return id
  })
}

/** A schema of a request with ids of its own, counted from 1 a level at a time, and what became of the old ones. */
export function freshSchema(part: RequestPart): {
  schema: SchemaJson
  lastId: number
  ids: ReadonlyMap<number, number>
} {
  const ids = new Map<number, number>()
  const schema = schemaWith(part, 0, (id) => {
    if (ids.has(id)) throw badRequest(`Two fields of the schema have the id ${id}.`)
    ids.set(id, ids.size + 1)
    return ids.size
  })
  return { schema, lastId: ids.size, ids }
}

/** The highest id in a schema. */
export function lastFieldId(schema: SchemaJson): number {
  let last = 0
  schemaWith(new RequestPart(schema, 'schema'), 0, (id) => {
    last = Math.max(last, id)
    return id
  })
  return last
}

function schemaWith(part: RequestPart, schemaId: number, renumber: Renumber): SchemaJson {
  const ids = new Map<number, number>()
  const numbered: Renumber = (id) => {
    const fresh = renumber(id)
    ids.set(id, fresh)
    return fresh
  }
  const fields = fieldsWith(part, numbered)
  const identifiers = part.has('identifier-field-ids') ? part.ids('identifier-field-ids') : []
  return {
    type: 'struct',
    'schema-id': schemaId,
    fields,
    ...(identifiers.length === 0
      ? {}
      : { 'identifier-field-ids': identifiers.map((id) => mapped(ids, Number(id), 'An identifier field')) }),
  } as unknown as SchemaJson
}

function fieldsWith(part: RequestPart, renumber: Renumber): Json[] {
  const names = new Set<string>()
  const fields = part.parts('fields').map((field) => {
    const name = field.text('name')
    if (names.has(name)) throw badRequest(`Two columns are called '${name}'.`)
    names.add(name)
    return { field, id: renumber(field.integer('id')) }
  })
  return fields.map(({ field, id }) => ({ ...field.json, id, type: typeWith(field, 'type', renumber) }))
}

function typeWith(part: RequestPart, key: string, renumber: Renumber): Json {
  const json = part.json[key]
  if (typeof json === 'string') {
    if (PRIMITIVE.test(json)) return json
    throw badRequest(`'${json}' is no type of Iceberg's format version 2.`)
  }
  const type = part.part(key)
  switch (type.text('type')) {
    case 'struct':
      return { ...type.json, fields: fieldsWith(type, renumber) }
    case 'list':
      return {
        ...type.json,
        'element-id': renumber(type.integer('element-id')),
        element: typeWith(type, 'element', renumber),
      }
    case 'map': {
      const ids = { 'key-id': renumber(type.integer('key-id')), 'value-id': renumber(type.integer('value-id')) }
      return { ...type.json, ...ids, key: typeWith(type, 'key', renumber), value: typeWith(type, 'value', renumber) }
    }
    default:
      throw badRequest(`'${type.text('type')}' is no type of Iceberg's format version 2.`)
  }
}

/** The fields of a partition spec of a request; `ids` tells the columns' ids, `fieldId` those of the partition fields. */
export function requestedSpec(
  part: RequestPart,
  ids: ReadonlyMap<number, number>,
  fieldId: (field: RequestPart, sourceId: number, transform: string) => number,
): SpecJson['fields'] {
  return part.parts('fields').map((field) => {
    const sourceId = mapped(ids, field.integer('source-id'), `The partition field '${field.text('name')}'`)
    const transform = transformOf(field)
    return {
      'source-id': sourceId,
      'field-id': fieldId(field, sourceId, transform),
      name: field.text('name'),
      transform,
    }
  })
}

/** The spec of a new table. */
export function freshSpec(part: RequestPart | undefined, ids: ReadonlyMap<number, number>): SpecJson {
  let next = FIRST_PARTITION_ID
  return { 'spec-id': 0, fields: part === undefined ? [] : requestedSpec(part, ids, () => next++) }
}

export interface SortOrderJson {
  readonly 'order-id': number
  readonly fields: readonly Json[]
}

/** A sort order of a request under an id; the empty one is always 0 (spec, "Sorting"). */
export function requestedOrder(part: RequestPart, ids: ReadonlyMap<number, number>, orderId: number): SortOrderJson {
  const fields = part.parts('fields').map((field) => {
    transformOf(field)
    return { ...field.json, 'source-id': mapped(ids, field.integer('source-id'), 'The sort order') }
  })
  return { 'order-id': fields.length === 0 ? 0 : orderId, fields }
}

function transformOf(field: RequestPart): string {
  const transform = field.text('transform')
  if (/^(?:identity|year|month|day|hour|void|(?:bucket|truncate)\[[1-9]\d{0,9}\])$/.test(transform)) return transform
  throw badRequest(`'${transform}' is no transform of Iceberg's format version 2.`)
}

/** The ids of a schema, each as itself. */
export function idsOf(schema: SchemaJson): ReadonlyMap<number, number> {
  const ids = new Map<number, number>()
  schemaWith(new RequestPart(schema, 'schema'), 0, (id) => {
    ids.set(id, id)
    return id
  })
  return ids
}

function mapped(ids: ReadonlyMap<number, number>, id: number, what: string): number {
  const found = ids.get(id)
  if (found === undefined) throw badRequest(`${what} refers to the field ${id}, which the schema does not have.`)
  return found
}

import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { IdentifiedField } from '../project/columns.ts'
import { isPrimitive, walk } from './schema.ts'
import type { PrimitiveType } from './schema.ts'
import { parseTransform, resultType, transformName } from './transform.ts'
import type { Transform } from './transform.ts'

/** How a table is divided: by a transform of one of its columns. */
export interface PartitionField {
  readonly column: string
  readonly transform: Transform
  /** Name of the partition field; by default the column for identity, else `<column>_<transform>`. */
  readonly name?: string
}

export interface SpecFieldJson {
  readonly 'source-id': number
  readonly 'field-id': number
  readonly name: string
  readonly transform: string
}

export interface SpecJson {
  readonly 'spec-id': number
  readonly fields: readonly SpecFieldJson[]
}

/** A partition spec with the types it works on. */
export interface Spec {
  readonly id: number
  readonly fields: readonly SpecField[]
}

export interface SpecField {
  readonly sourceId: number
  readonly fieldId: number
  readonly name: string
  readonly transform: Transform
  readonly source: PrimitiveType
  readonly result: PrimitiveType
}

/** Iceberg numbers partition fields from here on. */
export const FIRST_PARTITION_ID = 1000

/** The name a partition field gets when it is given none. */
export function partitionName(field: PartitionField): string {
  const suffix = field.transform.kind === 'truncate' ? 'trunc' : field.transform.kind
  return field.name ?? (field.transform.kind === 'identity' ? field.column : `${field.column}_${suffix}`)
}

/** The spec of a new table. Throws `invalid` / `bad-partition` naming the field. */
export function specToJson(partition: readonly PartitionField[], fields: readonly IdentifiedField[]): SpecJson {
  const names = new Set<string>()
  return {
    'spec-id': 0,
    fields: partition.map((part, i) => {
      const name = partitionName(part)
      const column = fields.find((field) => field.name === part.column)
      if (!column) {
        throw new MillraceError('invalid', 'bad-partition', `There is no column '${part.column}' to partition by.`, {
          hint: didYouMean(
            part.column,
            fields.map((field) => field.name),
          ),
          context: { column: part.column },
        })
      }
      resultType(part.transform, column.type, column.name)
      // A partition field may share its name with its own column only when it is that column (Iceberg spec).
      const taken = fields.some(
        (field) => field.name === name && (part.transform.kind !== 'identity' || field.id !== column.id),
      )
      if (names.has(name) || taken) {
        throw new MillraceError(
          'invalid',
          'bad-partition',
          `Two things of the table are called '${name}': a partition field needs a name of its own.`,
          {
            hint: 'Give the partition field another name.',
            context: { column: part.column },
          },
        )
      }
      names.add(name)
      return {
        'source-id': column.id,
        'field-id': FIRST_PARTITION_ID + i,
        name,
        transform: transformName(part.transform),
      }
    }),
  }
}

/** A spec with its types. A field whose column is gone reads as void. */
export function resolveSpec(json: SpecJson, fields: readonly IdentifiedField[]): Spec {
  const types = new Map([...walk(fields)].map(({ id, type }) => [id, type]))
  return {
    id: json['spec-id'],
    fields: json.fields.map((field) => {
      const type = types.get(field['source-id'])
      const source: PrimitiveType = type && isPrimitive(type) ? type : { kind: 'string' }
      const transform = type ? parseTransform(field.transform) : ({ kind: 'void' } as const)
      const result = transform.kind === 'void' ? source : resultType(transform, source, field.name)
      return { sourceId: field['source-id'], fieldId: field['field-id'], name: field.name, transform, source, result }
    }),
  }
}

/** A resolved spec as its declaration. */
export function partitionOf(spec: Spec, fields: readonly IdentifiedField[]): PartitionField[] {
  return spec.fields.map(({ sourceId, transform, name }) => {
    const column = fields.find((field) => field.id === sourceId)?.name ?? `#${sourceId}`
    return { column, transform, name }
  })
}

import { MillraceError } from '../base/errors.ts'
import { typeName } from '../project/columns.ts'
import type { ColumnType, Field, IdentifiedField, IdentifiedType } from '../project/columns.ts'
import { assignIds, assignTypeIds, identified } from './schema.ts'

/**
 * The stored fields changed to what is declared now: columns added, widened, renamed (through `formerly`), made
 * optional, reordered, their docs changed; inside structs and lists too. Ids follow the columns. Throws `invalid` /
 * `incompatible-schema`, naming column and remedy, for anything that existing files could not be read with.
 */
export function evolveFields(
  stored: readonly IdentifiedField[],
  declared: readonly Field[],
  next: () => number,
): IdentifiedField[] {
  return evolve(stored, declared, next, '')
}

function evolve(
  stored: readonly IdentifiedField[],
  declared: readonly Field[],
  next: () => number,
  prefix: string,
): IdentifiedField[] {
  checkNames(declared, prefix)
  const matches = matchFields(stored, declared)
  const kept = new Set(matches.values())
  const lost = stored.find((field) => !kept.has(field))
  if (lost) {
    refuse(
      prefix + lost.name,
      'is in the table and no longer declared',
      `Declare it again (nullable, if rows no longer have it), or name it in .formerly('${lost.name}') of the column it became.`,
    )
  }
  const added = declared.filter((field) => !matches.has(field))
  for (const field of added) {
    if (!field.nullable)
      refuse(
        prefix + field.name,
        'is new and required, but rows stored before have no value for it',
        'Make it .nullable().',
      )
  }
  const fresh = new Map(added.map((field, i) => [field, i]))
  const addedFields = assignIds(added, next)
  return declared.map((field) => {
    const old = matches.get(field)
    return old ? evolveField(old, field, next, prefix + field.name) : addedFields[fresh.get(field)!]!
  })
}

/** Names must differ by more than case: DuckDB and Spark take them for one. */
export function checkNames(fields: readonly Field[], prefix = ''): void {
  const seen = new Set<string>()
  for (const { name } of fields) {
    if (name === '') refuse(`${prefix}(no name)`, 'has an empty name', 'Name every column.')
    if (seen.has(name.toLowerCase()))
      refuse(prefix + name, 'is declared twice (case does not tell columns apart)', 'Rename one of the two.')
    seen.add(name.toLowerCase())
  }
}

// By present name first; what is left by former names, the newest first.
function matchFields(stored: readonly IdentifiedField[], declared: readonly Field[]): Map<Field, IdentifiedField> {
  const open = new Map(stored.map((field) => [field.name, field]))
  const matches = new Map<Field, IdentifiedField>()
  const match = (field: Field, name: string): void => {
    const found = open.get(name)
    if (!found || matches.has(field)) return
    matches.set(field, found)
    open.delete(name)
  }
  for (const field of declared) match(field, field.name)
  for (const field of declared) for (const name of (field.formerly ?? []).toReversed()) match(field, name)
  return matches
}

function evolveField(old: IdentifiedField, field: Field, next: () => number, path: string): IdentifiedField {
  if (old.nullable && !field.nullable) {
    refuse(
      path,
      'is nullable in the table and declared required',
      'Keep it .nullable(), and let check.predicate refuse new rows without it.',
    )
  }
  return identified(field, old.id, evolveType(old.type, field.type, next, path))
}

function evolveType(old: IdentifiedType, type: ColumnType, next: () => number, path: string): IdentifiedType {
  if (old.kind === 'struct' && type.kind === 'struct')
    return { kind: 'struct', fields: evolve(old.fields, type.fields, next, `${path}.`) }
  if (old.kind === 'list' && type.kind === 'list') {
    if (old.elementNullable && !type.elementNullable)
      refuse(path, 'has nullable elements in the table and required ones declared', 'Keep its elements .nullable().')
    return {
      ...old,
      element: evolveType(old.element, type.element, next, `${path}.element`),
      elementNullable: type.elementNullable,
    }
  }
  if (!widens(old, type)) {
    const remedy =
      'Widen only: int to long, a decimal to more digits of the same scale. Else add a new nullable column and fill it.'
    refuse(path, `is ${typeName(bareType(old))} in the table and declared ${typeName(type)}`, remedy)
  }
  return assignTypeIds(type, next)
}

/** Whether files of the old type can be read as the new one: the promotions of the Iceberg spec, and json as the text it is. */
function widens(old: IdentifiedType, type: ColumnType): boolean {
  if (old.kind === 'decimal' && type.kind === 'decimal')
    return type.scale === old.scale && type.precision >= old.precision
  if (old.kind === 'int' && type.kind === 'long') return true
  if (old.kind === 'json' && type.kind === 'string') return true
  return old.kind === type.kind && old.kind !== 'list' && old.kind !== 'struct'
}

/** The declared form of a stored type. */
export function bareType(type: IdentifiedType): ColumnType {
  switch (type.kind) {
    case 'list':
      return { kind: 'list', element: bareType(type.element), elementNullable: type.elementNullable }
    case 'struct':
      return { kind: 'struct', fields: type.fields.map((field) => ({ ...field, type: bareType(field.type) })) }
    default:
      return type
  }
}

function refuse(column: string, problem: string, remedy: string): never {
  throw new MillraceError('invalid', 'incompatible-schema', `Column '${column}' ${problem}.`, {
    hint: remedy,
    context: { column },
  })
}

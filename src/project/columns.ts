import { MillraceError } from '../base/errors.ts'

/** The type of a column, as data. One to one with Iceberg, DuckDB, Spark, JSON and TypeScript: docs/formats/types.md. */
export type ColumnType =
  | { readonly kind: 'string' | 'int' | 'long' | 'double' | 'boolean' | 'date' | 'timestamp' | 'json' }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly kind: 'list'; readonly element: ColumnType; readonly elementNullable: boolean }
  | { readonly kind: 'struct'; readonly fields: readonly Field[] }

/** A named, typed place in a row. */
export interface Field {
  readonly name: string
  readonly type: ColumnType
  readonly nullable: boolean
  readonly doc?: string
  /** Former names, newest last: how a rename is told apart from a drop and an add. */
  readonly formerly?: readonly string[]
}

/**
 * A column declaration. Immutable: each method returns a new one. `T` is the TypeScript type of its values as they
 * appear in JSON: decimals, dates and timestamps are strings, longs beyond 2^53 are bigints.
 */
export class Column<T> {
  /** Only carries `T`; never set. */
  declare readonly _type: T
  readonly type: ColumnType
  readonly isNullable: boolean
  readonly docText: string | undefined
  readonly formerNames: readonly string[]

  constructor(type: ColumnType, isNullable = false, docText?: string, formerNames: readonly string[] = []) {
    this.type = type
    this.isNullable = isNullable
    this.docText = docText
    this.formerNames = formerNames
  }

  /** Allows missing values and JSON null. Without it both send the row to quarantine. */
  nullable(): Column<T | null> {
    return new Column<T | null>(this.type, true, this.docText, this.formerNames)
  }

  /** A sentence for the generated documentation. */
  doc(text: string): Column<T> {
    return new Column<T>(this.type, this.isNullable, text, this.formerNames)
  }

  /** Declares that this column was called `name` before: existing data follows the rename. */
  formerly(name: string): Column<T> {
    return new Column<T>(this.type, this.isNullable, this.docText, [...this.formerNames, name])
  }
}

export type Columns = Record<string, Column<unknown>>

/** The TypeScript type of one row of a set of columns. */
export type RowOf<C extends Columns> = { -readonly [K in keyof C]: C[K] extends Column<infer T> ? T : never }

/** Column types. */
export const t = {
  /** UTF-8 text. */
  string: (): Column<string> => new Column({ kind: 'string' }),
  /** 32-bit signed integer. */
  int: (): Column<number> => new Column({ kind: 'int' }),
  /** 64-bit signed integer. */
  long: (): Column<number | bigint> => new Column({ kind: 'long' }),
  /** IEEE 754 binary64. */
  double: (): Column<number> => new Column({ kind: 'double' }),
  /** Exact decimal with `precision` digits (1 to 38), `scale` of them after the point. */
  decimal(precision: number, scale: number): Column<string> {
    if (
      !Number.isInteger(precision) ||
      precision < 1 ||
      precision > 38 ||
      !Number.isInteger(scale) ||
      scale < 0 ||
      scale > precision
    ) {
      throw new MillraceError('invalid', 'bad-type', `t.decimal(${precision}, ${scale}) is not a decimal type.`, {
        hint: 'Precision is a whole number from 1 to 38, scale from 0 to the precision.',
      })
    }
    return new Column({ kind: 'decimal', precision, scale })
  },
  boolean: (): Column<boolean> => new Column({ kind: 'boolean' }),
  /** Calendar date without a zone, ISO 8601 `2026-01-31` in JSON. */
  date: (): Column<string> => new Column({ kind: 'date' }),
  /** Instant in UTC with microseconds; input may carry an offset. ISO 8601 in JSON. */
  timestamp: (): Column<string> => new Column({ kind: 'timestamp' }),
  /** Any JSON value, kept as its text. */
  json: (): Column<unknown> => new Column({ kind: 'json' }),
  list: <T>(element: Column<T>): Column<T[]> =>
    new Column({ kind: 'list', element: element.type, elementNullable: element.isNullable }),
  struct: <C extends Columns>(fields: C): Column<RowOf<C>> => new Column({ kind: 'struct', fields: fieldsOf(fields) }),
}

/** The fields of a set of column declarations, in their order. Throws `invalid`/`bad-column` for what is no declaration. */
export function fieldsOf(columns: Columns): Field[] {
  return Object.entries(columns ?? {}).map(([name, column]) => ({
    ...checked(name, column),
    nullable: column.isNullable,
    ...(column.docText === undefined ? {} : { doc: column.docText }),
    ...(column.formerNames.length === 0 ? {} : { formerly: column.formerNames }),
  }))
}

// Types are stripped, not checked, where a project is run: what they would have found is told here.
function checked(name: string, column: unknown): Pick<Field, 'name' | 'type'> {
  if (typeof column === 'object' && column !== null && 'type' in column && 'isNullable' in column)
    return { name, type: column.type as ColumnType }
  throw new MillraceError('invalid', 'bad-column', `Column '${name}' is not declared with a type.`, {
    hint: `Write ${name}: t.string(), or another of t's types, with its parentheses.`,
    context: { column: name },
  })
}

/** Columns that carry a record's origin in every stream and quarantine. */
const ORIGIN: readonly string[] = ['_partition', '_offset']

/** The columns to offer somebody who named one that is not there: those that Millrace adds only where one of them is meant. */
export function offeredColumns(wrong: string, names: Iterable<string>): string[] {
  return [...names].filter((name) => wrong.startsWith('_') || !ORIGIN.includes(name))
}

/** A type as declared: `decimal(10, 2)`, `list<string>`. */
export function typeName(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})`
    case 'list':
      return `list<${typeName(type.element)}>`
    case 'struct':
      return `struct<${type.fields.map((f) => `${f.name}: ${typeName(f.type)}`).join(', ')}>`
    default:
      return type.kind
  }
}

export function sameType(a: ColumnType, b: ColumnType): boolean {
  return typeName(a) === typeName(b)
}

/** A type whose nested parts carry the lake's field ids. */
export type IdentifiedType =
  | { readonly kind: 'string' | 'int' | 'long' | 'double' | 'boolean' | 'date' | 'timestamp' | 'json' }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | {
      readonly kind: 'list'
      readonly elementId: number
      readonly element: IdentifiedType
      readonly elementNullable: boolean
    }
  | { readonly kind: 'struct'; readonly fields: readonly IdentifiedField[] }

/** A field as stored: names may change, the id never does. */
export interface IdentifiedField {
  readonly id: number
  readonly name: string
  readonly type: IdentifiedType
  readonly nullable: boolean
  readonly doc?: string
}

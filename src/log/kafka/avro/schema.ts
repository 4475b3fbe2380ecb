import { Unreadable } from './reader.ts'

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const
type Primitive = (typeof PRIMITIVES)[number]

/** What a value stands for beyond its type (spec 1.12, "Logical Types"). */
export type Logical =
  | { readonly kind: 'decimal'; readonly scale: number }
  | { readonly kind: 'date' | 'uuid' | 'duration' }
  /** `digits` of a second; times of day, instants, and dates with times that are nowhere in particular. */
  | { readonly kind: 'time' | 'timestamp' | 'local-timestamp'; readonly digits: 3 | 6 | 9 }

export interface AvroRecord {
  readonly kind: 'record'
  /** Filled while the schema is read: a record may have itself among them. */
  readonly fields: { readonly name: string; readonly type: AvroType }[]
}

export type AvroType =
  | { readonly kind: Primitive; readonly logical?: Logical | undefined }
  | { readonly kind: 'fixed'; readonly size: number; readonly logical?: Logical | undefined }
  | { readonly kind: 'enum'; readonly symbols: readonly string[] }
  | { readonly kind: 'array'; readonly items: AvroType }
  | { readonly kind: 'map'; readonly values: AvroType }
  | { readonly kind: 'union'; readonly branches: readonly AvroType[] }
  | AvroRecord

type Declared = Readonly<Record<string, unknown>>

/**
 * Reads an Avro schema in JSON (spec 1.12, "Schema Declaration"); `references` are schemas whose named types it uses, each after those that it
 * uses itself. Logical types that are unknown, or do not fit what they annotate, are passed over, as the spec asks. Errors: `Unreadable`.
 */
export function parseAvroSchema(text: string, references: readonly string[] = []): AvroType {
  const named = new Map<string, AvroType>()
  for (const reference of references) new SchemaParser(named).type(jsonOf(reference), '')
  return new SchemaParser(named).type(jsonOf(text), '')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The spec's older form of a primitive schema is its bare name.
    return text
  }
}

class SchemaParser {
  readonly #named: Map<string, AvroType>

  constructor(named: Map<string, AvroType>) {
    this.#named = named
  }

  type(declared: unknown, namespace: string): AvroType {
    if (typeof declared === 'string') return this.#reference(declared, namespace)
    if (Array.isArray(declared)) return { kind: 'union', branches: declared.map((one) => this.type(one, namespace)) }
    if (typeof declared !== 'object' || declared === null) throw new Unreadable(`${String(declared)} is no type`)
    const { type } = declared as Declared
    switch (type) {
      case 'record':
      case 'error':
        return this.#record(declared as Declared, namespace)
      case 'enum':
        return this.#enum(declared as Declared, namespace)
      case 'fixed':
        return this.#fixed(declared as Declared, namespace)
      case 'array':
        return { kind: 'array', items: this.type((declared as Declared)['items'], namespace) }
      case 'map':
        return { kind: 'map', values: this.type((declared as Declared)['values'], namespace) }
      default:
        return isPrimitive(type)
          ? { kind: type, logical: logicalOf(declared as Declared, type) }
          : this.type(type, namespace)
    }
  }

  #reference(name: string, namespace: string): AvroType {
    if (isPrimitive(name)) return { kind: name }
    const found = this.#named.get(fullName(name, namespace)) ?? this.#named.get(name)
    if (found === undefined) throw new Unreadable(`there is no type '${name}'`)
    return found
  }

  #record(declared: Declared, outer: string): AvroType {
    const { fields } = declared
    if (!Array.isArray(fields)) throw new Unreadable('a record has no fields')
    const record: AvroRecord = { kind: 'record', fields: [] }
    const namespace = this.#name(declared, outer, record)
    for (const { name, type } of fields as readonly Declared[]) {
      if (typeof name !== 'string') throw new Unreadable('a field has no name')
      record.fields.push({ name, type: this.type(type, namespace) })
    }
    return record
  }

  #enum(declared: Declared, namespace: string): AvroType {
    const { symbols } = declared
    if (!Array.isArray(symbols) || !symbols.every((symbol) => typeof symbol === 'string')) {
      throw new Unreadable('an enum has no symbols')
    }
    const type: AvroType = { kind: 'enum', symbols }
    this.#name(declared, namespace, type)
    return type
  }

  #fixed(declared: Declared, namespace: string): AvroType {
    const { size } = declared
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 0) throw new Unreadable('a fixed has no size')
    const type: AvroType = { kind: 'fixed', size, logical: logicalOf(declared, 'fixed', size) }
    this.#name(declared, namespace, type)
    return type
  }

  /** Keeps a type under its full name; returns the namespace of what is within it. */
  #name({ name, namespace }: Declared, outer: string, type: AvroType): string {
    if (typeof name !== 'string') throw new Unreadable('a named type has no name')
    const full = fullName(name, typeof namespace === 'string' ? namespace : outer)
    this.#named.set(full, type)
    return full.slice(0, Math.max(0, full.lastIndexOf('.')))
  }
}

function isPrimitive(type: unknown): type is Primitive {
  return PRIMITIVES.includes(type as Primitive)
}

function fullName(name: string, namespace: string): string {
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
}

function logicalOf(
  { logicalType, scale = 0 }: Declared,
  type: Primitive | 'fixed',
  size?: number,
): Logical | undefined {
  switch (`${type} ${String(logicalType)}`) {
    case 'bytes decimal':
    case 'fixed decimal':
      return typeof scale === 'number' && Number.isInteger(scale) && scale >= 0 ? { kind: 'decimal', scale } : undefined
    case 'int date':
      return { kind: 'date' }
    case 'int time-millis':
      return { kind: 'time', digits: 3 }
    case 'long time-micros':
      return { kind: 'time', digits: 6 }
    case 'long timestamp-millis':
      return { kind: 'timestamp', digits: 3 }
    case 'long timestamp-micros':
      return { kind: 'timestamp', digits: 6 }
    case 'long timestamp-nanos':
      return { kind: 'timestamp', digits: 9 }
    case 'long local-timestamp-millis':
      return { kind: 'local-timestamp', digits: 3 }
    case 'long local-timestamp-micros':
      return { kind: 'local-timestamp', digits: 6 }
    case 'long local-timestamp-nanos':
      return { kind: 'local-timestamp', digits: 9 }
    case 'fixed uuid':
      return size === 16 ? { kind: 'uuid' } : undefined
    case 'fixed duration':
      return size === 12 ? { kind: 'duration' } : undefined
    default:
      return undefined
  }
}

import type { Clock } from '../../../base/clock.ts'
import { messageOf } from '../../../base/errors.ts'
import { avroToJson } from '../avro/decode.ts'
import { Unreadable } from '../avro/reader.ts'
import { parseAvroSchema } from '../avro/schema.ts'
import type { ValueReader } from '../decode.ts'
import { lineOf } from '../lines.ts'
import type { SchemaRegistry } from './client.ts'

/** Record header in which newer clients name the schema of a value; its bytes begin as a value's would. */
const BY_ID = 0
const BY_GUID = 1
const ID_BYTES = 5
const GUID_BYTES = 17

/** Schemas that are remembered. */
const SCHEMAS_MAX = 1000
/** After this time a schema that was not there, or could not be read, is asked for again. */
const FORGET_MS = 60_000

/** A schema that a value is written with: its path in the registry, and where the value begins. */
interface Framed {
  readonly path: string
  readonly start: number
}

type Schema =
  | { readonly kind: 'avro'; readonly read: (bytes: Buffer) => Buffer }
  | { readonly kind: 'json' }
  | { readonly kind: 'refused'; readonly why: string; readonly untilMs: number }

/**
 * Values that were written with schemas of a registry (https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format):
 * a zero byte, the schema's id in four, and the data; or the data alone, and a record header with that zero and id, or with a one
 * and the schema's GUID. Anything else is text. What cannot be read becomes a JSON string, which quarantine keeps.
 */
export class RegistryValues implements ValueReader {
  readonly #registry: SchemaRegistry
  readonly #clock: Clock
  readonly #schemas = new Map<string, Schema>()

  constructor(registry: SchemaRegistry, clock: Clock) {
    this.#registry = registry
    this.#clock = clock
  }

  text(value: Buffer, header: Buffer | undefined, missing: Set<string>): Buffer | undefined {
    const framed = (header && framedBy(header, 0)) ?? framedBy(value, undefined)
    if (framed === undefined) return undefined
    const schema = this.#schemas.get(framed.path)
    if (schema === undefined || (schema.kind === 'refused' && schema.untilMs <= this.#clock.monotonic())) {
      missing.add(framed.path)
      return undefined
    }
    const data = value.subarray(framed.start)
    switch (schema.kind) {
      case 'json':
        return lineOf(data)
      case 'refused':
        return refusal(`schema ${nameOf(framed)} ${schema.why}`, value)
      case 'avro':
        try {
          return schema.read(data)
        } catch (error) {
          if (!(error instanceof Unreadable)) throw error
          return refusal(`it does not fit schema ${nameOf(framed)}: ${error.message}`, value)
        }
    }
  }

  /** Errors: those of the registry; `unavailable` ones pass. */
  async load(missing: ReadonlySet<string>): Promise<void> {
    for (const path of this.#schemas.keys()) {
      if (this.#schemas.size + missing.size <= SCHEMAS_MAX) break
      if (!missing.has(path)) this.#schemas.delete(path)
    }
    for (const path of missing) this.#schemas.set(path, await this.#ask(path))
  }

  async #ask(path: string): Promise<Schema> {
    const untilMs = this.#clock.monotonic() + FORGET_MS
    const found = await this.#registry.schema(path)
    if (found === undefined) return { kind: 'refused', why: 'is not in the registry', untilMs }
    switch (found.type) {
      case 'JSON':
        return { kind: 'json' }
      case 'AVRO':
        try {
          return { kind: 'avro', read: avroToJson(parseAvroSchema(found.text, found.references)) }
        } catch (error) {
          // A schema may be within itself deeper than the stack is.
          if (!(error instanceof Unreadable || error instanceof RangeError)) throw error
          return { kind: 'refused', why: `cannot be read: ${messageOf(error)}`, untilMs }
        }
      default:
        return { kind: 'refused', why: `is of type ${found.type}, and Avro and JSON Schema are read`, untilMs }
    }
  }
}

/** The schema that bytes begin with; the value begins behind it unless it is elsewhere. */
function framedBy(bytes: Buffer, start: number | undefined): Framed | undefined {
  if (bytes[0] === BY_ID && bytes.length >= ID_BYTES) {
    return { path: `/schemas/ids/${bytes.readUInt32BE(1)}`, start: start ?? ID_BYTES }
  }
  if (bytes[0] !== BY_GUID || bytes.length < GUID_BYTES) return undefined
  const guid = bytes.toString('hex', 1, GUID_BYTES).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  return { path: `/schemas/guids/${guid}`, start: start ?? GUID_BYTES }
}

function nameOf({ path }: Framed): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function refusal(why: string, value: Buffer): Buffer {
  return Buffer.from(JSON.stringify(`${why}; in base64: ${value.toString('base64')}`))
}

import { isUtf8 } from 'node:buffer'
import { JsonText } from './json-text.ts'
import { writeDate, writeDecimal, writeDuration, writeTime, writeTimestamp, writeUuid } from './logical.ts'
import { AvroReader, Unreadable } from './reader.ts'
import type { AvroRecord, AvroType, Logical } from './schema.ts'

type Decode = (from: AvroReader, to: JsonText) => void

/** Records within records: a list that is linked by its type may go far. */
const DEPTH_MAX = 200

const COMMA = 0x2c
const BRACKETS = [0x5b, 0x5d] as const
const BRACES = [0x7b, 0x7d] as const
const COLON = 0x3a
const EMPTY = Buffer.from('{}')
const CLOSE = BRACES[1]

// A value is read and written before the next one begins.
const reader = new AvroReader()
const text = new JsonText()

/**
 * A function that turns a value in Avro's binary encoding into JSON, byte by byte, without objects in between: nothing is rounded. Forms of the
 * types are in docs/kafka.md. What it returns is there until the next call of any such function.
 *
 * Errors: `Unreadable` where the bytes are not such a value, or go on behind it.
 */
export function avroToJson(type: AvroType): (bytes: Buffer) => Buffer {
  const decode = new Compiler().decoder(type)
  return (bytes) => {
    reader.reset(bytes)
    text.reset()
    decode(reader, text)
    if (reader.left > 0) throw reader.wrong(`${reader.left} bytes are left`)
    const { written } = text
    if (!isUtf8(written)) throw new Unreadable('a string of it is not UTF-8')
    return written
  }
}

class Compiler {
  /** Decoders of records that are being made, or were: a record may be within itself. */
  readonly #records = new Map<AvroRecord, Decode>()

  decoder(type: AvroType): Decode {
    switch (type.kind) {
      case 'null':
        return (_from, to) => to.ascii('null')
      case 'boolean':
        return boolean
      case 'int':
      case 'long':
        return integer(type.logical)
      case 'float':
        return (from, to) => to.float(from.float())
      case 'double':
        return (from, to) => to.float(from.double())
      case 'string':
        return string
      case 'bytes':
        return binary((from) => from.take(from.count()), type.logical)
      case 'fixed':
        return binary((from) => from.take(type.size), type.logical)
      case 'enum':
        return oneOf(type.symbols)
      case 'array':
        return blocks(BRACKETS, this.decoder(type.items))
      case 'map':
        return blocks(BRACES, entry(this.decoder(type.values)))
      case 'union':
        return this.#union(type.branches)
      case 'record':
        return this.#record(type)
    }
  }

  #union(branches: readonly AvroType[]): Decode {
    const decoders = branches.map((branch) => this.decoder(branch))
    return (from, to) => decoders[choice(from, decoders.length)]!(from, to)
  }

  #record(record: AvroRecord): Decode {
    const known = this.#records.get(record)
    if (known) return known
    const fields: { readonly name: Buffer; readonly decode: Decode }[] = []
    const decode: Decode = (from, to) => {
      if (++from.depth > DEPTH_MAX) throw from.wrong(`there are more than ${DEPTH_MAX} records within each other`)
      for (let i = 0; i < fields.length; i++) {
        const { name, decode: decodeField } = fields[i]!
        to.raw(name)
        decodeField(from, to)
      }
      if (fields.length === 0) to.raw(EMPTY)
      else to.byte(CLOSE)
      from.depth--
    }
    this.#records.set(record, decode)
    for (const { name, type } of record.fields) {
      const before = fields.length === 0 ? '{' : ','
      fields.push({ name: Buffer.from(`${before}${JSON.stringify(name)}:`), decode: this.decoder(type) })
    }
    return decode
  }
}

const boolean: Decode = (from, to) => {
  const byte = from.byte()
  if (byte > 1) throw from.wrong(`${byte} is no boolean`)
  to.ascii(byte === 1 ? 'true' : 'false')
}

const string: Decode = (from, to) => {
  const at = from.skip(from.count())
  to.string(from.bytes, at, from.at)
}

function integer(logical: Logical | undefined): Decode {
  switch (logical?.kind) {
    case 'date':
      return (from, to) => writeDate(to, from.long())
    case 'time':
      return (from, to) => writeTime(to, from.long(), logical.digits)
    case 'timestamp':
      return (from, to) => writeTimestamp(to, from.long(), logical.digits, true)
    case 'local-timestamp':
      return (from, to) => writeTimestamp(to, from.long(), logical.digits, false)
    default:
      return (from, to) => to.integer(from.long())
  }
}

/** Bytes of no other meaning are base64. */
function binary(take: (from: AvroReader) => Buffer, logical: Logical | undefined): Decode {
  switch (logical?.kind) {
    case 'decimal':
      return (from, to) => writeDecimal(to, take(from), logical.scale)
    case 'uuid':
      return (from, to) => writeUuid(to, take(from))
    case 'duration':
      return (from, to) => writeDuration(to, take(from))
    default:
      return (from, to) => to.ascii(`"${take(from).toString('base64')}"`)
  }
}

function oneOf(symbols: readonly string[]): Decode {
  const texts = symbols.map((symbol) => Buffer.from(JSON.stringify(symbol)))
  return (from, to) => to.raw(texts[choice(from, texts.length)]!)
}

function choice(from: AvroReader, count: number): number {
  const index = from.long()
  if (index < 0 || index >= count) throw from.wrong(`${index} is none of ${count} choices`)
  return Number(index)
}

/** Items in blocks, each with its count; a negative one comes with the block's size, for readers that skip. */
function blocks([open, close]: readonly [number, number], item: Decode): Decode {
  return (from, to) => {
    to.byte(open)
    let isFirst = true
    for (let count = from.long(); count !== 0; count = from.long()) {
      if (count < 0) from.long()
      for (let left = from.count(count < 0 ? -count : count); left > 0; left--) {
        if (!isFirst) to.byte(COMMA)
        isFirst = false
        item(from, to)
      }
    }
    to.byte(close)
  }
}

function entry(value: Decode): Decode {
  return (from, to) => {
    string(from, to)
    to.byte(COLON)
    value(from, to)
  }
}

import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { avroToJson } from '../../src/log/kafka/avro/decode.ts'
import { Unreadable } from '../../src/log/kafka/avro/reader.ts'
import { parseAvroSchema } from '../../src/log/kafka/avro/schema.ts'

/** A type with a value of it, as avsc takes it, and the JSON that it becomes. */
interface Sample {
  readonly schema: unknown
  readonly value: unknown
  readonly json: string
}

// avsc has numbers for longs otherwise.
const bigLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer(value: bigint) {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

function encoded(schema: unknown, value: unknown): Buffer {
  const type = avsc.Type.forSchema(schema as avsc.Schema, {
    wrapUnions: 'always',
    typeHook: (part) =>
      part === 'long' || (typeof part === 'object' && 'type' in part && part.type === 'long') ? bigLong : undefined,
  })
  return type.toBuffer(value)
}

function decoded(schema: unknown, bytes: Buffer): string {
  return avroToJson(parseAvroSchema(JSON.stringify(schema)))(bytes).toString()
}

let names = 0
const named = (kind: string) => `${kind}${++names}`

const text = fc.string({ unit: 'binary', maxLength: 30 })
const int = fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31)))
const long = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(
    0n,
    -1n,
    2n ** 53n,
    2n ** 53n - 1n,
    -(2n ** 53n),
    2n ** 27n,
    -(2n ** 27n),
    2n ** 48n,
    2n ** 52n,
    2n ** 63n - 1n,
    -(2n ** 63n),
  ),
)
const numberJson = (value: number) =>
  Number.isFinite(value) ? (Object.is(value, -0) ? '-0.0' : String(value)) : `"${value}"`

/** Milliseconds of the years 1 to 9999. */
const instantMs = fc.integer({
  min: new Date('0001-01-01T00:00:00Z').getTime(),
  max: new Date('9999-12-31T23:59:59Z').getTime(),
})

function instant(logicalType: string, digits: 3 | 6 | 9, suffix: string): fc.Arbitrary<Sample> {
  const rest = 10 ** (digits - 3)
  return fc
    .tuple(digits === 9 ? fc.integer({ min: -(2 ** 43), max: 2 ** 42 }) : instantMs, fc.nat({ max: rest - 1 }))
    .map(([at, more]) => {
      const whole = new Date(at).toISOString()
      const fraction = (whole.slice(20, 23) + (digits > 3 ? String(more).padStart(digits - 3, '0') : '')).replace(
        digits === 9 ? /000$/ : /^$/,
        '',
      )
      const seconds = whole.slice(0, 19)
      return {
        schema: { type: 'long', logicalType },
        value: BigInt(at) * BigInt(rest) + BigInt(more),
        json: `"${seconds}${Number(fraction) === 0 ? '' : `.${fraction}`}${suffix}"`,
      }
    })
}

const decimal = fc
  .tuple(fc.bigInt({ min: -(10n ** 38n) + 1n, max: 10n ** 38n - 1n }), fc.nat({ max: 38 }), fc.boolean())
  .map(([unscaled, scale, isFixed]): Sample => {
    const bytes = Buffer.alloc(17)
    const twos = BigInt.asUintN(136, unscaled)
    bytes.write(twos.toString(16).padStart(34, '0'), 'hex')
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
    const point = digits.length - scale
    const logical = { logicalType: 'decimal', precision: 38, scale }
    return {
      schema: isFixed ? { type: 'fixed', name: named('Amount'), size: 17, ...logical } : { type: 'bytes', ...logical },
      value: bytes,
      json: `"${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale === 0 ? '' : `.${digits.slice(point)}`}"`,
    }
  })

const scalar: fc.Arbitrary<Sample> = fc.oneof(
  fc.constant({ schema: 'null', value: null, json: 'null' }),
  fc.boolean().map((value) => ({ schema: 'boolean', value, json: String(value) })),
  int.map((value) => ({ schema: 'int', value, json: String(value) })),
  long.map((value) => ({ schema: 'long', value, json: String(value) })),
  fc.float().map((value) => ({ schema: 'float', value, json: numberJson(value) })),
  fc.double().map((value) => ({ schema: 'double', value, json: numberJson(value) })),
  text.map((value) => ({ schema: 'string', value, json: JSON.stringify(value) })),
  fc.uint8Array().map((value) => ({
    schema: 'bytes',
    value: Buffer.from(value),
    json: `"${Buffer.from(value).toString('base64')}"`,
  })),
  fc.uint8Array({ minLength: 5, maxLength: 5 }).map((value) => ({
    schema: { type: 'fixed', name: named('Hash'), size: 5 },
    value: Buffer.from(value),
    json: `"${Buffer.from(value).toString('base64')}"`,
  })),
  fc.nat({ max: 2 }).map((i) => ({
    schema: { type: 'enum', name: named('Suit'), symbols: ['A', 'B', 'C'] },
    value: 'ABC'[i],
    json: `"${'ABC'[i]}"`,
  })),
  instantMs.map((at) => ({
    schema: { type: 'int', logicalType: 'date' },
    value: Math.floor(at / 86_400_000),
    json: `"${new Date(at).toISOString().slice(0, 10)}"`,
  })),
  instant('timestamp-millis', 3, 'Z'),
  instant('timestamp-micros', 6, 'Z'),
  instant('timestamp-nanos', 9, 'Z'),
  instant('local-timestamp-micros', 6, ''),
  fc.nat({ max: 86_399_999 }).map((at) => ({
    schema: { type: 'int', logicalType: 'time-millis' },
    value: at,
    json: `"${new Date(at).toISOString().slice(11, at % 1000 === 0 ? 19 : 23)}"`,
  })),
  decimal,
  fc.uuid().map((id) => ({
    schema: { type: 'fixed', name: named('Id'), size: 16, logicalType: 'uuid' },
    value: Buffer.from(id.replaceAll('-', ''), 'hex'),
    json: `"${id}"`,
  })),
  fc.uuid().map((id) => ({ schema: { type: 'string', logicalType: 'uuid' }, value: id, json: `"${id}"` })),
)

const { sample } = fc.letrec<{ sample: Sample; several: Sample[] }>((tie) => ({
  sample: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    // An array's items and a map's values have one schema: the sample's own, again and again.
    fc.tuple(tie('sample'), fc.nat({ max: 4 })).map(([one, wanted]) => {
      // Items without a byte are refused: a few bytes could be any number of them.
      const length = encoded(one.schema, one.value).length === 0 ? 0 : wanted
      return {
        schema: { type: 'array', items: one.schema },
        value: Array.from({ length }, () => one.value),
        json: `[${Array.from({ length }, () => one.json).join()}]`,
      }
    }),
    fc
      .tuple(
        tie('sample'),
        fc.uniqueArray(
          text.filter((key) => !/^(\d+|__proto__)$/.test(key)),
          { maxLength: 4 },
        ),
      )
      .map(([one, keys]) => ({
        schema: { type: 'map', values: one.schema },
        value: Object.fromEntries(keys.map((key) => [key, one.value])),
        json: `{${keys.map((key) => `${JSON.stringify(key)}:${one.json}`).join()}}`,
      })),
    tie('several').map((fields) => ({
      schema: {
        type: 'record',
        name: named('Row'),
        fields: fields.map(({ schema }, i) => ({ name: `f${i}`, type: schema })),
      },
      value: Object.fromEntries(fields.map(({ value }, i) => [`f${i}`, value])),
      json: `{${fields.map(({ json }, i) => `"f${i}":${json}`).join()}}`,
    })),
    fc.tuple(tie('sample'), fc.boolean()).map(([one, isNull]) => {
      if (one.schema === 'null' || Array.isArray(one.schema)) return one
      const schema = ['null', one.schema]
      if (isNull) return { schema, value: null, json: 'null' }
      const branch = avsc.Type.forSchema(one.schema as avsc.Schema)
      return {
        schema,
        value: { [branch.name ?? branch.typeName.replace(/^(abstract|logical):/, '')]: one.value },
        json: one.json,
      }
    }),
  ),
  several: fc.array(tie('sample'), { maxLength: 5 }),
}))

describe('Avro to JSON', () => {
  test('what another implementation writes comes out as the JSON of its values', () => {
    fc.assert(
      fc.property(sample, ({ schema, value, json }) => {
        expect(decoded(schema, encoded(schema, value))).toBe(json)
      }),
      { numRuns: 2000 },
    )
  })

  test('any part of a value, and any damage to it, is read or refused, never more', () => {
    fc.assert(
      fc.property(sample, fc.nat(), fc.nat({ max: 255 }), ({ schema, value }, at, byte) => {
        const read = avroToJson(parseAvroSchema(JSON.stringify(schema)))
        const bytes = encoded(schema, value)
        const cut = bytes.subarray(0, at % (bytes.length + 1))
        if (cut.length < bytes.length) expect(() => read(cut)).toThrow(Unreadable)
        expect(() => read(Buffer.concat([bytes, Buffer.from([byte])]))).toThrow(Unreadable)
        if (bytes.length === 0) return
        bytes[at % bytes.length] = byte
        try {
          JSON.parse(read(bytes).toString())
        } catch (error) {
          expect(error).toBeInstanceOf(Unreadable)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a record may hold itself, as deep as is sensible', () => {
    const list = {
      type: 'record',
      name: 'List',
      fields: [
        { name: 'head', type: 'int' },
        { name: 'tail', type: ['null', 'List'] },
      ],
    }
    const bytes = (length: number) => Buffer.from([...Array.from({ length }, () => [2, 2]).flat(), 2, 0])
    expect(decoded(list, bytes(1))).toBe('{"head":1,"tail":{"head":1,"tail":null}}')
    expect(() => decoded(list, bytes(100_000))).toThrow(/more than 200 records within each other/)
    expect(() => decoded({ type: 'record', name: 'R', fields: [{ name: 'r', type: 'R' }] }, bytes(1))).toThrow(
      Unreadable,
    )
  })

  test.each([
    ['blocks with their size', { type: 'array', items: 'int' }, [3, 4, 2, 4, 2, 6, 0], '[1,2,3]'],
    [
      'a duration',
      { type: 'fixed', name: 'D', size: 12, logicalType: 'duration' },
      [1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0],
      '"P1M2DT3.004S"',
    ],
    ['a date far away', { type: 'int', logicalType: 'date' }, [0xfe, 0xff, 0xff, 0xff, 0x0f], '2147483647'],
    [
      'an instant far away',
      { type: 'long', logicalType: 'timestamp-millis' },
      [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
      '9223372036854775807',
    ],
    ['no time of day', { type: 'int', logicalType: 'time-millis' }, [1], '-1'],
    ['a logical type that is unknown', { type: 'int', logicalType: 'temperature' }, [2], '1'],
    ['one that does not fit', { type: 'string', logicalType: 'date' }, [2, 0x61], '"a"'],
    ['a type within a type', { type: { type: 'int' } }, [2], '1'],
  ])('%s', (_, schema, bytes, json) => {
    expect(decoded(schema, Buffer.from(bytes))).toBe(json)
  })

  test.each([
    [
      'items without a byte',
      { type: 'array', items: 'null' },
      [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
      /cannot follow/,
    ],
    ['a string that is not UTF-8', 'string', [4, 0xc3, 0x28], /not UTF-8/],
    ['a boolean of another value', 'boolean', [2], /no boolean/],
    ['a choice that there is not', ['null', 'int'], [4], /none of 2 choices/],
    ['a number without end', 'long', Array.from({ length: 11 }, () => 0xff), /ten bytes/],
    ['a negative length', 'string', [1], /cannot follow/],
  ])('%s: refused', (_, schema, bytes, why) => {
    expect(() => decoded(schema, Buffer.from(bytes))).toThrow(why)
  })

  test.each([
    [{ type: 'record', name: 'R' }, /no fields/],
    [{ type: 'record', fields: [] }, /no name/],
    [{ type: 'enum', name: 'E' }, /no symbols/],
    [{ type: 'fixed', name: 'F', size: -1 }, /no size/],
    [{ type: 'array' }, /undefined is no type/],
    ['Missing', /no type 'Missing'/],
    [7, /7 is no type/],
  ])('schema %o: refused', (schema, why) => {
    expect(() => parseAvroSchema(JSON.stringify(schema))).toThrow(why)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stream, t } from '../../src/index.ts'
import { typeName } from '../../src/project/columns.ts'
import { gateHome } from './gated.ts'

const values = stream('values', {
  columns: {
    n: t.int(),
    s: t.string().nullable(),
    i: t.int().nullable(),
    l: t.long().nullable(),
    d: t.double().nullable(),
    b: t.boolean().nullable(),
    money: t.decimal(10, 2).nullable(),
    wide: t.decimal(38, 10).nullable(),
    day: t.date().nullable(),
    moment: t.timestamp().nullable(),
    j: t.json().nullable(),
    tags: t.list(t.string()).nullable(),
    holes: t.list(t.int().nullable()).nullable(),
    place: t
      .struct({ city: t.string(), zip: t.int().nullable(), past: t.list(t.struct({ at: t.date() })).nullable() })
      .nullable(),
  },
})

/** A value as it is sent, and as SQL shows it once it is in the lake. */
interface Sent {
  readonly json: string
  readonly stored: string | null
}

const NULL = fc.constant<Sent>({ json: 'null', stored: null })

function maybe(arbitrary: fc.Arbitrary<Sent>): fc.Arbitrary<Sent> {
  return fc.oneof({ arbitrary, weight: 9 }, { arbitrary: NULL, weight: 1 })
}

const text = fc.string({
  unit: fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1 }),
    fc.string({ unit: 'binary', minLength: 1 }),
    fc.constantFrom('\u0000', '"', '\\', '\u001f', '\u001e', '\u2028', '\r', '\t', '\ufeff'),
  ),
})

function scaled(unscaled: bigint, scale: number): string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  const sign = unscaled < 0n ? '-' : ''
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

function decimals(precision: number, scale: number, asNumber: boolean): fc.Arbitrary<Sent> {
  const max = 10n ** BigInt(precision) - 1n
  return fc.bigInt({ min: -max, max }).map((unscaled) => {
    const stored = scaled(unscaled, scale)
    return { json: asNumber ? stored : `"${stored}"`, stored: unscaled === 0n ? scaled(0n, scale) : stored }
  })
}

const DAY_MS = 86_400_000
const day = fc
  .integer({ min: Date.UTC(1, 0, 1) / DAY_MS + 693_961 - 693_961 - 25_567 * 20, max: Date.UTC(9999, 11, 31) / DAY_MS })
  .map((n) => new Date(n * DAY_MS).toISOString().slice(0, 10))
const micros = fc.tuple(
  fc.integer({ min: Date.UTC(1000, 0, 1), max: Date.UTC(9000, 0, 1) }),
  fc.integer({ min: 0, max: 999 }),
)

/** The instant as text with an offset of so many minutes. */
function instant([ms, us]: readonly [number, number], offset: number | undefined, digits: number): Sent {
  const fraction = (n: number) =>
    `${new Date(ms).toISOString().slice(20, 23)}${String(us).padStart(3, '0')}`.slice(0, n)
  const kept = fraction(digits).padEnd(6, '0')
  const clock = new Date(ms + (offset ?? 0) * 60_000).toISOString().slice(0, 19)
  const zone =
    offset === undefined
      ? 'Z'
      : `${offset < 0 ? '-' : '+'}${String(Math.floor(Math.abs(offset) / 60)).padStart(2, '0')}:${String(Math.abs(offset) % 60).padStart(2, '0')}`
  const stored = `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')}.${kept}`
  return { json: `"${clock}${digits === 0 ? '' : `.${fraction(digits)}`}${zone}"`, stored }
}

const json = fc
  .jsonValue({ noUnicodeString: false })
  .filter((value) => value !== null)
  .map((value) => ({ json: JSON.stringify(value), stored: JSON.stringify(value) }))

const columns: Record<string, fc.Arbitrary<Sent>> = {
  s: maybe(
    text.map((value) => ({ json: JSON.stringify(value), stored: Buffer.from(value).toString('hex').toUpperCase() })),
  ),
  i: maybe(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map((n) => ({ json: String(n), stored: String(n) }))),
  l: maybe(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n) => ({ json: String(n), stored: String(n) }))),
  d: maybe(
    fc
      .double({ noNaN: true, noDefaultInfinity: true })
      .map((n) => ({ json: JSON.stringify(n), stored: String(n === 0 ? 0 : n) })),
  ),
  b: maybe(fc.boolean().map((value) => ({ json: String(value), stored: String(value) }))),
  money: maybe(fc.oneof(decimals(10, 2, true), decimals(10, 2, false))),
  wide: maybe(fc.oneof(decimals(38, 10, false), decimals(15, 10, true))),
  day: maybe(day.map((value) => ({ json: `"${value}"`, stored: value }))),
  moment: maybe(
    fc
      .tuple(
        micros,
        fc.option(fc.integer({ min: -18 * 60 + 1, max: 18 * 60 - 1 }), { nil: undefined }),
        fc.constantFrom(0, 1, 2, 3, 6),
      )
      .map(([at, offset, digits]) => instant(at, offset, digits)),
  ),
  j: maybe(json),
  tags: maybe(fc.array(text).map((value) => ({ json: JSON.stringify(value), stored: JSON.stringify(value) }))),
  holes: maybe(
    fc
      .array(fc.option(fc.integer({ min: -9, max: 9 })))
      .map((value) => ({ json: JSON.stringify(value), stored: JSON.stringify(value) })),
  ),
  place: maybe(
    fc
      .record({ city: text, zip: fc.option(fc.nat(99_999)), past: fc.option(fc.array(day.map((at) => ({ at })))) })
      .map((value) => ({ json: JSON.stringify(value), stored: JSON.stringify(value) })),
  ),
}

// Through SQL, for the client reads neither a leading byte-order mark nor 64-bit numbers as they are.
const SELECT = `n, hex(s) AS s, i::VARCHAR AS i, l::VARCHAR AS l, d, b::VARCHAR AS b, money::VARCHAR AS money, wide::VARCHAR AS wide, day::VARCHAR AS day,
  strftime(moment, '%Y-%m-%d %H:%M:%S.%f') AS moment, j, to_json(tags)::VARCHAR AS tags, to_json(holes)::VARCHAR AS holes, to_json(place)::VARCHAR AS place`

function shown(column: string, value: unknown): string | null {
  if (value === null || value === undefined) return null
  if (['j', 'tags', 'holes', 'place'].includes(column)) return JSON.stringify(JSON.parse(value as string))
  return typeof value === 'string' ? value : JSON.stringify(value)
}

test('every value of every type is in the lake as it was sent', async () => {
  const { gate } = await gateHome(values)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record(columns), { minLength: 1, maxLength: 150, size: 'max' }), async (records) => {
      const lines = records.map(
        (record, n) =>
          `{"n":${n},${Object.entries(record)
            .map(([name, sent]) => `"${name}":${sent.json}`)
            .join(',')}}`,
      )
      const { rows, refused } = await gate(lines, SELECT)
      expect([...refused.values()]).toEqual([])
      records.forEach((record, n) => {
        const row = rows.get(n)!
        for (const [name, sent] of Object.entries(record))
          expect(shown(name, row[name]), `${name} from ${sent.json}`).toBe(sent.stored)
      })
    }),
    { numRuns: 25 },
  )
})

/** What is not of the type, or only nearly: column, the value as sent, and what the reason shows of it when it is not that. */
const ROUNDED = 'is a number of more than 15 digits, which JSON may have rounded: send it as a string'
const REFUSED: readonly (readonly [column: string, json: string, shown?: string, why?: string])[] = [
  ['i', '5.7'],
  ['i', '"5.7"', '5.7'],
  ['i', '"5.0000000000000000001e0"', '5.0000000000000000001e0'],
  ['i', '"5.0000000000000000001"', '5.0000000000000000001'],
  ['i', '2147483648'],
  ['i', '-2147483649'],
  ['i', '1e10', '10000000000.0'],
  ['i', '1e400'],
  ['i', '""', ''],
  ['i', '"five"', 'five'],
  ['i', '"5,0"', '5,0'],
  ['i', '"٣"', '٣'],
  ['i', 'true'],
  ['i', '{"n":5}', '{"n":5}'],
  ['i', '[5]', '[5]'],
  ['l', '9223372036854775808'],
  ['l', '123456789012345678901234567890'],
  ['l', '"9007199254740993.0"', '9007199254740993.0'],
  ['l', '9007199254740993.0', '9007199254740992.0'],
  ['l', '9.5'],
  ['d', '1e309'],
  ['d', '-1e400'],
  ['d', '"NaN"', 'NaN'],
  ['d', '"inf"', 'inf'],
  ['d', '"-Infinity"', '-Infinity'],
  ['d', '"1,5"', '1,5'],
  ['d', 'false'],
  ['b', '1'],
  ['b', '"yes"', 'yes'],
  ['b', '"t"', 't'],
  ['money', '1.255'],
  ['money', '"1.255"', '1.255'],
  ['money', '"1.2500000000000000001"', '1.2500000000000000001'],
  ['money', '1255e-3', '1.255'],
  ['money', '"1255e-3"', '1255e-3'],
  ['money', '"1e-50"', '1e-50'],
  ['money', '100000000'],
  ['money', '"100000000.00"', '100000000.00'],
  ['money', '99999999.995'],
  ['money', '"1.255,00"', '1.255,00'],
  ['money', '"£5"', '£5'],
  ['wide', '"1.00000000001"', '1.00000000001'],
  ['wide', '"10000000000000000000000000000"', '10000000000000000000000000000'],
  ['wide', '12345678901234567.8', '12345678901234568.0', ROUNDED],
  ['wide', '1.2345678901234567', '1.2345678901234567', ROUNDED],
  ['wide', '-12345678901234567e-5', '-123456789012.34567', ROUNDED],
  ['day', '"2026-02-29"', '2026-02-29'],
  ['day', '"2026-13-01"', '2026-13-01'],
  ['day', '"2026-00-10"', '2026-00-10'],
  ['day', '"31/01/2026"', '31/01/2026'],
  ['day', '"2026/01/31"', '2026/01/31'],
  ['day', '"2026-1-1"', '2026-1-1'],
  ['day', '"20260131"', '20260131'],
  ['day', '"2026-01-31T00:00:00Z"', '2026-01-31T00:00:00Z'],
  ['day', '"infinity"', 'infinity'],
  ['day', '"  infinity"', '  infinity'],
  ['day', '"epoch     "', 'epoch     '],
  ['day', '"today"', 'today'],
  ['day', '20260131'],
  ['moment', '"2026-02-30T00:00:00Z"', '2026-02-30T00:00:00Z'],
  ['moment', '"2026-01-31T25:00:00Z"', '2026-01-31T25:00:00Z'],
  ['moment', '"2026-01-31T12:60:00Z"', '2026-01-31T12:60:00Z'],
  ['moment', '"2026-01-31T12:00:00.1234567Z"', '2026-01-31T12:00:00.1234567Z'],
  ['moment', '"2026-1-1T1:0:0.12345678Z"', '2026-1-1T1:0:0.12345678Z'],
  ['moment', '"2026-01-31T12:00:00.123456789+00:00"', '2026-01-31T12:00:00.123456789+00:00'],
  ['moment', '"2026-01-31T12:00:00+99:00"', '2026-01-31T12:00:00+99:00'],
  ['moment', '"2026-01-31T12:00:00 Europe/Berlin"', '2026-01-31T12:00:00 Europe/Berlin'],
  ['moment', '"infinity"', 'infinity'],
  ['moment', '"  infinity"', '  infinity'],
  ['moment', '"-infinity  "', '-infinity  '],
  ['moment', '"epoch     "', 'epoch     '],
  ['moment', '"now"', 'now'],
  ['moment', '"31/01/2026 12:00"', '31/01/2026 12:00'],
  ['moment', '1769860800'],
  ['moment', '1769860800000'],
  ['tags', '"a"'],
  ['tags', '5'],
  ['tags', '{"0":"a"}'],
  ['tags', '["a",null]'],
  ['tags', 'true'],
  ['holes', '[1,2.5]'],
  ['holes', '[[1]]'],
  ['holes', '["x"]'],
  ['place', '5'],
  ['place', '"Paris"'],
  ['place', '[]'],
  ['place', '{}'],
  ['place', '{"zip":75000}'],
  ['place', '{"city":null}'],
  ['place', '{"city":"Paris","zip":"75 000"}'],
  ['place', '{"city":"Paris","past":[{}]}'],
  ['place', '{"city":"Paris","past":[{"at":"2026-02-29"}]}'],
  ['place', '{"city":"Paris","past":{"at":"2026-01-01"}}'],
  ['place', '{"city":"Paris","past":[null]}'],
]

test('what does not fit is refused alone, with rule, reason and the text as sent', async () => {
  const { gate } = await gateHome(values)
  const lines = REFUSED.map(([column, json], n) => `{"n":${n},"${column}":${json}}`)
  const { rows, refused, counts } = await gate(lines)
  expect([...rows.keys()].map((n) => lines[n])).toEqual([])
  expect(counts).toEqual({ received: lines.length, accepted: 0, duplicates: 0, quarantined: lines.length })
  REFUSED.forEach(([column, json, text = json, why], n) => {
    const { type } = values.fields.find((field) => field.name === column)!
    const kind = type.kind === 'decimal' ? typeName(type) : type.kind
    expect(refused.get(n), lines[n]).toMatchObject({
      rule: `type(${column})`,
      reason: `${column} '${text}' ${why ?? `is not a valid ${kind}`}`,
      raw: lines[n],
    })
  })
})

/** What may be written in more than one way: column, as sent, as stored. */
const ACCEPTED: readonly (readonly [column: string, json: string, stored: string])[] = [
  ['i', '"5"', '5'],
  ['i', '5.0', '5'],
  ['i', '"5.000"', '5'],
  ['i', '"007"', '7'],
  ['i', '5e2', '500'],
  ['i', '"-0"', '0'],
  ['l', '"9223372036854775807"', '9223372036854775807'],
  ['l', '9007199254740991.0', '9007199254740991'],
  ['d', '"1.5"', '1.5'],
  ['d', '1e308', '1e+308'],
  ['b', '"true"', 'true'],
  ['b', '"FALSE"', 'false'],
  ['money', '5', '5.00'],
  ['money', '1e2', '100.00'],
  ['money', '125e-2', '1.25'],
  ['money', '1.2500', '1.25'],
  ['money', '"1.25000000000000000000000000000000000000000"', '1.25'],
  ['money', '-0.00', '0.00'],
  ['wide', '"1234567890123456789012345678.10000000000000"', '1234567890123456789012345678.1000000000'],
  ['wide', '12345678901234567890', '12345678901234567890.0000000000'],
  ['wide', '0.00012345', '0.0001234500'],
  ['moment', '"2026-01-31T12:00:00"', '2026-01-31 12:00:00.000000'],
  ['moment', '"2026-01-31 12:00:00"', '2026-01-31 12:00:00.000000'],
  ['moment', '"2026-01-31 12:00:00 UTC"', '2026-01-31 12:00:00.000000'],
  ['moment', '"2026-01-31"', '2026-01-31 00:00:00.000000'],
  ['moment', '"2026-01-31T12:00:00+0530"', '2026-01-31 06:30:00.000000'],
  ['moment', '"2026-01-31T12:00:00-05"', '2026-01-31 17:00:00.000000'],
  ['moment', '"2026-01-01T00:30:00+01:00"', '2025-12-31 23:30:00.000000'],
  ['moment', '"2026-01-31T12:00:00.120000000Z"', '2026-01-31 12:00:00.120000'],
  ['moment', '"2026-01-31T24:00:00Z"', '2026-02-01 00:00:00.000000'],
  ['s', '5', Buffer.from('5').toString('hex').toUpperCase()],
  ['s', 'true', Buffer.from('true').toString('hex').toUpperCase()],
  ['s', '"\\u0000\\ud83d\\ude00"', '00F09F9880'],
  ['j', '"null"', '"null"'],
  ['j', '{ "a" : [ 1 , { "b" : null } ] }', '{"a":[1,{"b":null}]}'],
  ['tags', '[1,true]', '["1","true"]'],
  ['place', '{"city":"Paris","mayor":"?"}', '{"city":"Paris","zip":null,"past":null}'],
]

test('what fits in another way of writing is stored as its value', async () => {
  const { gate } = await gateHome(values)
  const lines = ACCEPTED.map(([column, json], n) => `{"n":${n},"${column}":${json}}`)
  const { rows, refused } = await gate(lines, SELECT)
  expect([...refused.values()]).toEqual([])
  ACCEPTED.forEach(([column, , stored], n) => expect(shown(column, rows.get(n)![column]), lines[n]).toBe(stored))
})

describe('missing values', () => {
  test('null and absence are the same; only a nullable column may lack its value', async () => {
    const { gate } = await gateHome(values)
    const { rows, refused } = await gate([
      '{"n":1}',
      '{"n":2,"s":null,"j":null,"tags":null,"place":null,"wide":null}',
      '{"s":"x"}',
      '{"n":null,"i":"y"}',
    ])
    const nothing = { s: null, i: null, j: null, tags: null, holes: null, place: null, wide: null }
    expect(rows.get(0)).toMatchObject({ n: 1, ...nothing })
    expect(rows.get(1)).toMatchObject({ n: 2, ...nothing })
    expect(refused.get(2)).toMatchObject({ rule: 'not_null(n)', reason: 'n is missing' })
    expect(refused.get(3)).toMatchObject({ rule: 'not_null(n)', reason: "n is missing; i 'y' is not a valid int" })
    expect(JSON.parse(String(refused.get(3)!['failures']))).toEqual([
      ['not_null(n)', 'n is missing'],
      ['type(i)', "i 'y' is not a valid int"],
    ])
  })

  test.each(['keep', 'quarantine', 'drop'] as const)(
    'null is null where unknown fields are to be told apart: %s',
    async (unknown) => {
      const { gate } = await gateHome(
        stream('s', {
          columns: {
            n: t.int(),
            j: t.json().nullable(),
            l: t.list(t.int()).nullable(),
            w: t.decimal(20, 2).nullable(),
          },
          unknown,
        }),
      )
      const { rows } = await gate(
        ['{"n":1,"j":null,"l":null,"w":null}', '{"n":2,"j":{"a":1},"l":[1],"w":"12345678901234567.89"}'],
        'n, j, to_json(l)::VARCHAR AS l, w::VARCHAR AS w',
      )
      expect(rows.get(0)).toMatchObject({ n: 1, j: null, l: null, w: null })
      expect(rows.get(1)).toMatchObject({ n: 2, j: '{"a":1}', l: '[1]', w: '12345678901234567.89' })
    },
  )
})

import type { DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { quoteLiteral } from '../../src/base/identifier.ts'
import { duckdbType } from '../../src/engine/duckdb/types.ts'
import { murmur3 } from '../../src/lake/murmur3.ts'
import type { PrimitiveType } from '../../src/lake/schema.ts'
import { parseTransform, resultType, transformName, transformSql, transformValue } from '../../src/lake/transform.ts'
import type { Transform } from '../../src/lake/transform.ts'
import { compareValues, parseValue } from '../../src/lake/value.ts'
import type { Value } from '../../src/lake/value.ts'
import { openDuckdb, query } from './support/duckdb.ts'

let duckdb: DuckDBConnection
beforeAll(async () => {
  duckdb = await openDuckdb()
})

const bucket = (count: number): Transform => ({ kind: 'bucket', count })
const truncate = (width: number): Transform => ({ kind: 'truncate', width })
const MAX: Transform = bucket(0x7fffffff)

describe('bucket', () => {
  // Iceberg spec, Appendix B: "32-bit Hash Requirements".
  const hashes: readonly (readonly [PrimitiveType, string, number])[] = [
    [{ kind: 'int' }, '34', 2017239379],
    [{ kind: 'long' }, '34', 2017239379],
    [{ kind: 'decimal', precision: 9, scale: 2 }, '14.20', -500754589],
    [{ kind: 'date' }, '2017-11-16', -653330422],
    [{ kind: 'timestamp' }, '2017-11-16T22:31:08', -2047944441],
    [{ kind: 'timestamp' }, '2017-11-16T22:31:08.000001', -1207196810],
    [{ kind: 'string' }, 'iceberg', 1210000089],
  ]
  test.each(hashes)('hashes %o %s as the spec does', (type, text, hash) => {
    expect(transformValue(MAX, type, parseValue(type, text)!)).toBe((hash & 0x7fffffff) % 0x7fffffff)
  })

  test('hashes tails of every length', () => {
    // From the reference implementation's test vectors.
    expect(murmur3(Buffer.from(''))).toBe(0)
    expect(murmur3(Buffer.from('test')) >>> 0).toBe(0xba6bd213)
    expect(murmur3(Buffer.from('Hello, world!')) >>> 0).toBe(0xc0363e43)
    expect(murmur3(Buffer.from([0x21])) >>> 0).toBe(0x72661cf4)
    expect(murmur3(Buffer.from([0x21, 0x43])) >>> 0).toBe(0xa0f7b07a)
    expect(murmur3(Buffer.from([0x21, 0x43, 0x65])) >>> 0).toBe(0x7e4a8634)
  })
})

test('truncate follows the examples of the spec', () => {
  const decimal = { kind: 'decimal', precision: 9, scale: 2 } as const
  expect(transformValue(truncate(10), { kind: 'int' }, 1)).toBe(0)
  expect(transformValue(truncate(10), { kind: 'int' }, -1)).toBe(-10)
  expect(transformValue(truncate(10), { kind: 'long' }, -1n)).toBe(-10n)
  expect(transformValue(truncate(50), decimal, 1065n)).toBe(1050n)
  expect(transformValue(truncate(3), { kind: 'string' }, 'iceberg')).toBe('ice')
  expect(transformValue(truncate(2), { kind: 'string' }, 'a😀b')).toBe('a😀')
})

const NUMBERS = [
  [{ kind: 'int' }, fc.oneof(fc.integer(), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1)).map(String)],
  [
    { kind: 'long' },
    fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n)).map(String),
  ],
  [{ kind: 'decimal', precision: 9, scale: 2 }, fc.integer({ min: -999999999, max: 999999999 }).map(asDecimal(2))],
  [
    { kind: 'decimal', precision: 38, scale: 10 },
    fc.oneof(fc.bigInt(1n - 10n ** 38n, 10n ** 38n - 1n), fc.constant(1n - 10n ** 38n)).map(asDecimal(10)),
  ],
  [{ kind: 'decimal', precision: 2, scale: 0 }, fc.integer({ min: -99, max: 99 }).map(String)],
] as const satisfies readonly (readonly [PrimitiveType, fc.Arbitrary<string>])[]

// Any time DuckDB and JavaScript both know, in microseconds.
const micros = fc.bigInt(-62_135_596_800_000_000n, 253_402_300_799_999_999n)
const TIMES = [
  [{ kind: 'timestamp' }, micros.map(timestampText)],
  [{ kind: 'date' }, micros.map((at) => timestampText(at).slice(0, 10))],
] as const satisfies readonly (readonly [PrimitiveType, fc.Arbitrary<string>])[]

const STRING = [
  { kind: 'string' } as PrimitiveType,
  fc.string({ unit: 'binary' }).filter((s) => !s.includes('\0')),
] as const

describe('DuckDB and TypeScript compute the same', () => {
  const cases: (readonly [Transform, PrimitiveType, fc.Arbitrary<string>])[] = [
    ...NUMBERS.flatMap(([type, values]) => [1, 7, 1000].map((width) => [truncate(width), type, values] as const)),
    ...NUMBERS.map(([type, values]) => [{ kind: 'identity' }, type, values] as const),
    [truncate(1), ...STRING],
    [truncate(5), ...STRING],
    ...TIMES.flatMap(([type, values]) =>
      (['year', 'month', 'day', 'hour', 'identity'] as const)
        .filter((kind) => kind !== 'hour' || type.kind === 'timestamp')
        .map((kind) => [{ kind }, type, values] as const),
    ),
  ]
  test.each(cases)('%o of %o', async (transform, type, values) => {
    const samples = fc.sample(values, { numRuns: 300, seed: 7 })
    const list = samples.map((sample) => `(${quoteLiteral(sample)})`).join(', ')
    const expression = transformSql(transform, 'v', type)
    const rows = await query(
      duckdb,
      `SELECT (${expression})::VARCHAR AS p FROM (SELECT x::${duckdbType(type)} AS v FROM (VALUES ${list}) s(x))`,
    )
    const result = resultType(transform, type, 'v')
    const actual = rows.map(({ p }) =>
      result.kind === 'date' && transform.kind === 'day' ? Number(p) : parseValue(result, String(p)),
    )
    expect(actual).toEqual(samples.map((sample) => transformValue(transform, type, parseValue(type, sample)!)))
  })
})

test('transforms that keep order do keep it', () => {
  const ordered: [Transform, PrimitiveType, fc.Arbitrary<string>][] = [
    ...NUMBERS.map(([type, values]): [Transform, PrimitiveType, fc.Arbitrary<string>] => [truncate(10), type, values]),
    [truncate(2), ...STRING],
    [{ kind: 'month' }, ...TIMES[0]],
    [{ kind: 'hour' }, ...TIMES[0]],
    [{ kind: 'year' }, ...TIMES[1]],
  ]
  for (const [transform, type, values] of ordered) {
    fc.assert(
      fc.property(values, values, (a, b) => {
        const [x, y] = [parseValue(type, a)!, parseValue(type, b)!].sort(compareValues) as [Value, Value]
        expect(
          compareValues(transformValue(transform, type, x)!, transformValue(transform, type, y)!),
        ).toBeLessThanOrEqual(0)
      }),
    )
  }
})

test('nulls stay null in SQL', async () => {
  const transforms: [Transform, PrimitiveType][] = [
    ...NUMBERS.map(([type]): [Transform, PrimitiveType] => [truncate(10), type]),
    [truncate(3), { kind: 'string' }],
    ...(['year', 'month', 'day', 'hour'] as const).map((kind): [Transform, PrimitiveType] => [
      { kind },
      { kind: 'timestamp' },
    ]),
  ]
  for (const [transform, type] of transforms) {
    const sql = `SELECT ${transformSql(transform, `NULL::${duckdbType(type)}`, type)} AS p`
    expect(await query(duckdb, sql), transformName(transform)).toEqual([{ p: null }])
  }
})

test('nulls stay null, and void forgets', () => {
  for (const kind of ['identity', 'year', 'void'] as const)
    expect(transformValue({ kind }, { kind: 'date' }, null)).toBeNull()
  expect(transformValue({ kind: 'void' }, { kind: 'int' }, 3)).toBeNull()
})

test('names are those of the spec', () => {
  for (const name of ['identity', 'year', 'month', 'day', 'hour', 'void', 'bucket[16]', 'truncate[4]']) {
    expect(transformName(parseTransform(name))).toBe(name)
  }
  expect(parseTransform('zorder[2]')).toEqual({ kind: 'void' })
})

test('a transform refuses what it cannot take, and says what it takes', () => {
  expect(() => resultType({ kind: 'hour' }, { kind: 'date' }, 'born')).toThrow(
    /Column 'born' \(date\) cannot be partitioned by hour/,
  )
  expect(() => resultType({ kind: 'identity' }, { kind: 'double' }, 'x')).toThrow(/double/)
  expect(() => resultType(bucket(0), { kind: 'int' }, 'x')).toThrow(/bucket\[0\]/)
})

function asDecimal(scale: number) {
  return (unscaled: number | bigint): string => {
    const digits = String(unscaled < 0 ? -unscaled : unscaled).padStart(scale + 1, '0')
    return `${unscaled < 0 ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
  }
}

function timestampText(at: bigint): string {
  const ms = at / 1000n - (at % 1000n < 0n ? 1n : 0n)
  const rest = String(at - ms * 1000n).padStart(3, '0')
  return new Date(Number(ms)).toISOString().replace('T', ' ').replace('Z', rest)
}

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PrimitiveType } from '../../src/lake/schema.ts'
import {
  compareValues,
  decimalSize,
  decodeValue,
  encodeValue,
  parseValue,
  twosComplement,
} from '../../src/lake/value.ts'
import type { Value } from '../../src/lake/value.ts'

const decimal = { kind: 'decimal', precision: 38, scale: 4 } as const
const long = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)
const VALUES: readonly (readonly [PrimitiveType, fc.Arbitrary<Value>])[] = [
  [{ kind: 'boolean' }, fc.boolean()],
  [{ kind: 'int' }, fc.integer()],
  [{ kind: 'date' }, fc.integer()],
  [{ kind: 'long' }, long],
  [{ kind: 'timestamp' }, long],
  [{ kind: 'double' }, fc.double()],
  [decimal, fc.bigInt(-(10n ** 38n), 10n ** 38n)],
  [{ kind: 'string' }, fc.string({ unit: 'binary' })],
]

describe('bounds', () => {
  test.each(VALUES)('%o come back as they were', (type, values) => {
    fc.assert(
      fc.property(values, (value) => {
        expect(decodeValue(type, encodeValue(type, value))).toBe(value)
      }),
    )
  })

  test('are the bytes of the Iceberg spec', () => {
    expect(encodeValue({ kind: 'boolean' }, true).toString('hex')).toBe('01')
    expect(encodeValue({ kind: 'int' }, 1).toString('hex')).toBe('01000000')
    expect(encodeValue({ kind: 'long' }, -1n).toString('hex')).toBe('ffffffffffffffff')
    expect(encodeValue(decimal, 0n).toString('hex')).toBe('00')
    expect(encodeValue(decimal, 128n).toString('hex')).toBe('0080')
    expect(encodeValue(decimal, -128n).toString('hex')).toBe('80')
    expect(encodeValue(decimal, -129n).toString('hex')).toBe('ff7f')
    expect(twosComplement(-1n, 4).toString('hex')).toBe('ffffffff')
  })

  test('of widened columns are read at the size they were written in', () => {
    expect(decodeValue({ kind: 'long' }, encodeValue({ kind: 'int' }, -7))).toBe(-7n)
    expect(decodeValue({ kind: 'long' }, Buffer.from('abc'))).toBeUndefined()
  })

  test('decimals fit the sizes of the spec', () => {
    // Required number of bytes: the least n with 10^P − 1 ≤ 2^(8n−1) − 1.
    expect([1, 2, 4, 9, 18, 38].map(decimalSize)).toEqual([1, 1, 2, 4, 8, 16])
  })
})

test('strings are ordered by their UTF-8 bytes', () => {
  const text = fc.string({ unit: 'binary' })
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareValues(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
  expect(compareValues('\uffff', '\u{10000}')).toBeLessThan(0)
})

describe('text becomes values', () => {
  const cases: readonly (readonly [PrimitiveType, string, Value | undefined])[] = [
    [{ kind: 'date' }, '1970-01-02', 1],
    [{ kind: 'date' }, '1969-12-31', -1],
    [{ kind: 'date' }, '0001-01-01', -719162],
    [{ kind: 'date' }, '10000-01-01', 2932897],
    [{ kind: 'date' }, '2026-02-30', undefined],
    [{ kind: 'date' }, 'infinity', undefined],
    [{ kind: 'date' }, '0044-03-15 (BC)', undefined],
    [{ kind: 'timestamp' }, '1970-01-01 00:00:00.000001', 1n],
    [{ kind: 'timestamp' }, '1969-12-31 23:59:59.9', -100000n],
    [{ kind: 'timestamp' }, '1970-01-01T01:00:00+01:00', 0n],
    [{ kind: 'timestamp' }, '1970-01-01 00:00:00+00', 0n],
    [{ kind: 'timestamp' }, '-infinity', undefined],
    [{ kind: 'decimal', precision: 5, scale: 2 }, '-0.05', -5n],
    [{ kind: 'decimal', precision: 5, scale: 2 }, '1.500', 150n],
    [{ kind: 'decimal', precision: 5, scale: 2 }, '1.501', undefined],
    [{ kind: 'decimal', precision: 5, scale: 0 }, '7', 7n],
    [{ kind: 'int' }, '2147483648', undefined],
    [{ kind: 'long' }, '9223372036854775808', undefined],
    [{ kind: 'long' }, '-9223372036854775808', -(2n ** 63n)],
    [{ kind: 'double' }, '-inf', -Infinity],
    [{ kind: 'double' }, '1e+300', 1e300],
    [{ kind: 'boolean' }, '1', true],
    [{ kind: 'boolean' }, 'yes', undefined],
  ]
  test.each(cases)('%o %s', (type, text, value) => expect(parseValue(type, text)).toBe(value))
})

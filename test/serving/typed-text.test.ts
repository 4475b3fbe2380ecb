import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ColumnType } from '../../src/project/columns.ts'
import { typedText } from '../../src/serving/typed-text.ts'

const read = (type: ColumnType, text: string) => {
  try {
    return typedText(type, text, 'x')
  } catch {
    return undefined
  }
}

test.each<[ColumnType, string, string | undefined]>([
  [{ kind: 'int' }, '2147483647', '2147483647'],
  [{ kind: 'int' }, '2147483648', undefined],
  [{ kind: 'int' }, '-2147483648', '-2147483648'],
  [{ kind: 'int' }, '+007', '7'],
  [{ kind: 'int' }, ' 7', undefined],
  [{ kind: 'int' }, '7.0', undefined],
  [{ kind: 'int' }, '', undefined],
  [{ kind: 'long' }, '9223372036854775807', '9223372036854775807'],
  [{ kind: 'long' }, '9223372036854775808', undefined],
  [{ kind: 'double' }, '.5', '0.5'],
  [{ kind: 'double' }, '1e400', 'Infinity'],
  [{ kind: 'double' }, '0x10', undefined],
  [{ kind: 'double' }, 'NaN', 'NaN'],
  [{ kind: 'decimal', precision: 5, scale: 2 }, '123.45', '123.45'],
  [{ kind: 'decimal', precision: 5, scale: 2 }, '-0123.400', '-123.4'],
  [{ kind: 'decimal', precision: 5, scale: 2 }, '1234', undefined],
  [{ kind: 'decimal', precision: 5, scale: 2 }, '1.234', undefined],
  [{ kind: 'decimal', precision: 5, scale: 2 }, '1e2', undefined],
  [{ kind: 'decimal', precision: 2, scale: 2 }, '0.12', '0.12'],
  [{ kind: 'decimal', precision: 2, scale: 2 }, '1.12', undefined],
  [{ kind: 'decimal', precision: 3, scale: 0 }, '12.000', '12'],
  [{ kind: 'boolean' }, 'TRUE', undefined],
  [{ kind: 'date' }, '2024-02-29', '2024-02-29'],
  [{ kind: 'date' }, '2023-02-29', undefined],
  [{ kind: 'date' }, '2024-1-1', undefined],
  [{ kind: 'timestamp' }, '2024-01-31', '2024-01-31T00:00:00Z'],
  [{ kind: 'timestamp' }, '2024-01-31T10:00', '2024-01-31T10:00:00Z'],
  [{ kind: 'timestamp' }, '2024-01-31 10:00:00.5', '2024-01-31T10:00:00.5Z'],
  [{ kind: 'timestamp' }, '2024-01-31T10:00:00.123456+05:30', '2024-01-31T04:30:00.123456Z'],
  [{ kind: 'timestamp' }, '2024-01-31T10:00:00-0800', '2024-01-31T18:00:00Z'],
  [{ kind: 'timestamp' }, '2024-01-31T25:00:00Z', undefined],
  [{ kind: 'timestamp' }, '2024-02-30T10:00:00Z', undefined],
  [{ kind: 'timestamp' }, '0000-01-01T00:00:00+01:00', undefined],
  [{ kind: 'timestamp' }, 'now', undefined],
  [{ kind: 'json' }, '{"a":1}', '{"a":1}'],
  [{ kind: 'json' }, '{a:1}', undefined],
])('%j %j', (type, text, canonical) => {
  expect(read(type, text)).toBe(canonical)
})

test('property: canonical text reads as itself', () => {
  const cases = fc.oneof(
    fc.record({ type: fc.constant<ColumnType>({ kind: 'int' }), text: fc.integer().map(String) }),
    fc.record({
      type: fc.constant<ColumnType>({ kind: 'long' }),
      text: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    }),
    fc.record({ type: fc.constant<ColumnType>({ kind: 'double' }), text: fc.double().map(String) }),
    fc.record({
      type: fc.constant<ColumnType>({ kind: 'timestamp' }),
      text: fc
        .date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true })
        .map((date) => date.toISOString()),
    }),
    fc.record({
      type: fc.constant<ColumnType>({ kind: 'decimal', precision: 10, scale: 3 }),
      text: fc
        .tuple(fc.integer({ min: -9_999_999, max: 9_999_999 }), fc.integer({ min: 0, max: 999 }))
        .map(([a, b]) => `${a}.${String(b).padStart(3, '0')}`),
    }),
  )
  fc.assert(
    fc.property(cases, ({ type, text }) => {
      const canonical = read(type, text)
      expect(canonical).toBeDefined()
      expect(read(type, canonical!)).toBe(canonical)
      if (type.kind !== 'timestamp') expect(Number(canonical)).toBe(Number(text))
      else expect(Date.parse(canonical!)).toBe(Date.parse(text))
    }),
  )
})

import { expect, describe, test } from 'vitest'
import type { PrimitiveType } from '../../src/lake/schema.ts'
import { lowerBound, upperBound } from '../../src/lake/stats.ts'
import { decodeValue } from '../../src/lake/value.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { openDuckdb, writeFiles } from './support/duckdb.ts'
import { openLake } from './support/lake.ts'

const STRING: PrimitiveType = { kind: 'string' }
const DOUBLE: PrimitiveType = { kind: 'double' }

describe('bounds of strings', () => {
  const lower = (min: string) => lowerBound(STRING, min)?.toString()
  const upper = (max: string) => upperBound(STRING, max)?.toString()

  test('are cut to 16 code points, the upper one raised', () => {
    expect(lower('0123456789abcdefXYZ')).toBe('0123456789abcdef')
    expect(upper('0123456789abcdefXYZ')).toBe('0123456789abcdeg')
    expect(upper('0123456789abcdef')).toBe('0123456789abcdef')
    expect(lower('😀'.repeat(20))).toBe('😀'.repeat(16))
    expect(upper('😀'.repeat(20))).toBe(`${'😀'.repeat(15)}😁`)
    expect(upper('')).toBe('')
  })

  test('pass over surrogates and what has no successor', () => {
    expect(upper(`${'a'.repeat(15)}\ud7ffz`)).toBe(`${'a'.repeat(15)}\ue000`)
    expect(upper(`${'a'.repeat(14)}\u{10ffff}\u{10ffff}z`)).toBe(`${'a'.repeat(13)}b`)
    expect(upper('\u{10ffff}'.repeat(17))).toBeUndefined()
  })
})

test('bounds of doubles hold for both zeros and leave infinities out', () => {
  const value = (bytes: Buffer | undefined) => bytes && decodeValue(DOUBLE, bytes)
  expect(value(lowerBound(DOUBLE, '0.0'))).toBe(-0)
  expect(value(lowerBound(DOUBLE, '-0.0'))).toBe(-0)
  expect(value(upperBound(DOUBLE, '-0.0'))).toBe(0)
  expect(lowerBound(DOUBLE, '-inf')).toBeUndefined()
  expect(upperBound(DOUBLE, 'inf')).toBeUndefined()
  expect(upperBound(DOUBLE, undefined)).toBeUndefined()
})

test('dates before Christ and infinite ones have no bound', () => {
  for (const text of ['0044-03-15 (BC)', 'infinity', '-infinity']) {
    expect(lowerBound({ kind: 'date' }, text)).toBeUndefined()
    expect(upperBound({ kind: 'timestamp' }, text)).toBeUndefined()
  }
})

test('statistics of a file DuckDB wrote go to the columns’ ids, nested ones too', async () => {
  const fields = fieldsOf({
    d: t.double().nullable(),
    clean: t.double(),
    point: t.struct({ x: t.int(), 'a "b"': t.string().nullable() }).nullable(),
    tags: t.list(t.string()),
    big: t.decimal(38, 2),
    long: t.string(),
  })
  const table = await (await openLake()).create({ namespace: 'a', name: 'b' }, { fields })
  const duckdb = await openDuckdb()
  const [file] = await writeFiles(
    duckdb,
    table,
    `SELECT unnest(['nan'::DOUBLE, 1, NULL]) AS d, unnest([0.0::DOUBLE, 1, 2]) AS clean,
       unnest([{'x': 1, 'a "b"': 'q'}, NULL, {'x': 3, 'a "b"': NULL}]) AS point, ['a', 'b'] AS tags,
       -123456789012345678901234567890.25::DECIMAL(38, 2) AS big, repeat('ab', 20000) AS long`,
  )
  const ids = Object.fromEntries(table.fields.map((field) => [field.name, field.id]))
  const stats = (name: string) => file!.columns[ids[name]!]!
  expect(file).toMatchObject({ records: 3, partition: [] })
  // With NaN in the file its count is unknown and no number is an upper bound.
  expect(stats('d')).toMatchObject({ values: 3, nulls: 1 })
  expect(stats('d')).not.toHaveProperty('nans')
  expect(stats('d')).not.toHaveProperty('upper')
  expect(stats('clean')).toMatchObject({ values: 3, nulls: 0, nans: 0 })
  expect(decodeValue({ kind: 'decimal', precision: 38, scale: 2 }, stats('big').lower!)).toBe(
    -12345678901234567890123456789025n,
  )
  expect(Buffer.from(stats('long').upper!).toString()).toBe('abababababababac')
  const struct = table.fields.find((field) => field.name === 'point')!.type
  const [x, ab] = struct.kind === 'struct' ? struct.fields.map((field) => field.id) : []
  expect(file!.columns[x!]).toMatchObject({ values: 3, nulls: 1 })
  expect(file!.columns[ab!]).toMatchObject({ values: 3, nulls: 2 })
  // Inside a list only the size is told.
  const list = table.fields.find((field) => field.name === 'tags')!.type
  expect(Object.keys(file!.columns[list.kind === 'list' ? list.elementId : -1]!)).toEqual(['bytes'])
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ndjsonLines } from '../../src/log/lines.ts'
import { partitionOf, routeLines } from '../../src/log/route.ts'

const batch = (lines: readonly string[]) => ndjsonLines(Buffer.from(lines.join('\n')))

describe('routeLines', () => {
  test('every line goes to one partition, in order, equal keys to the same', () => {
    const row = fc.record({ id: fc.oneof(fc.nat(20), fc.string({ maxLength: 3 })), n: fc.integer() })
    fc.assert(
      fc.property(fc.array(row), fc.integer({ min: 1, max: 7 }), (rows, partitions) => {
        const routed = routeLines(batch(rows.map((r) => JSON.stringify(r))), ['id'], partitions)
        const parts = routed.map((part) => ({
          ...part,
          rows: part.lines
            .toString()
            .split('\n')
            .slice(0, -1)
            .map((line) => JSON.parse(line) as { id: unknown; n: number }),
        }))
        for (const part of parts) {
          expect(part.records).toBe(part.rows.length)
          expect(part.rows).toEqual(rows.filter((r) => partitionOf([r.id], partitions) === part.partition))
        }
        expect(parts.reduce((sum, part) => sum + part.records, 0)).toBe(rows.length)
      }),
    )
  })

  test('lines that are no objects go to partition 0', () => {
    const [only, ...rest] = routeLines(batch(['oops', '[1]', 'null', '"x"', '{"id":']), ['id'], 8)
    expect(rest).toEqual([])
    expect([only!.partition, only!.records]).toEqual([0, 5])
  })

  test('one partition takes the bytes as they are', () => {
    const given = batch(['{"id":1}', 'oops', ''])
    expect(routeLines(given, ['id'], 1)[0]!.lines).toBe(given.lines[0])
  })

  test('no records, no parts', () => {
    for (const partitions of [1, 4]) expect(routeLines(batch([]), ['id'], partitions)).toEqual([])
  })
})

describe('partitionOf', () => {
  test('a value is the same key however it is written', () => {
    for (const same of [
      [7, '7', '7.0', ' 7 ', 7.0],
      ['1.50', 1.5],
      [true, 'true'],
      [null, undefined, ''],
    ]) {
      expect(new Set(same.map((value) => partitionOf([value], 1_000_003))).size).toBe(1)
    }
  })

  test('the hash never changes: what is stored was routed by it', () => {
    const known = [['a'], ['b'], [1], [2], ['ünï'], ['a', 'b'], ['ab', '']].map((values) => partitionOf(values, 1_000))
    expect(known).toMatchInlineSnapshot(`
      [
        715,
        274,
        71,
        135,
        949,
        316,
        696,
      ]
    `)
  })

  test('keys spread evenly', () => {
    for (const partitions of [2, 3, 4, 8, 16]) {
      const counts = Array.from({ length: partitions }, () => 0)
      for (let i = 0; i < 16_000; i++) counts[partitionOf([`customer-${i}`], partitions)]!++
      for (const count of counts)
        expect(Math.abs(count - 16_000 / partitions)).toBeLessThan(0.15 * (16_000 / partitions))
    }
  })
})

import { describe, expect, test } from 'vitest'
import { check, sql, stream, t } from '../../src/index.ts'
import type { Check } from '../../src/index.ts'
import { gateHome } from './gated.ts'

const columns = {
  s: t.string().nullable(),
  i: t.int().nullable(),
  m: t.decimal(10, 2).nullable(),
  day: t.date().nullable(),
  moment: t.timestamp().nullable(),
  b: t.boolean().nullable(),
  d: t.double().nullable(),
}

/** Name, check, records that pass, records that fail, and the reason of each that fails. */
const CASES: readonly (readonly [Check, readonly string[], Record<string, string>])[] = [
  [
    check.range('i', { min: 1, max: 3 }),
    ['{"i":1}', '{"i":3}', '{"s":"x"}'],
    { '{"i":0}': 'i is 0, outside 1 … 3', '{"i":4}': 'i is 4, outside 1 … 3' },
  ],
  [check.range('m', { max: 1.5 }), ['{"m":1.5}', '{"m":-9}'], { '{"m":1.51}': 'm is 1.51, outside -∞ … 1.5' }],
  [check.range('m', { min: '0.10' }), ['{"m":0.1}'], { '{"m":0.09}': 'm is 0.09, outside 0.10 … ∞' }],
  [check.range('d', { min: -1e-3 }), ['{"d":-0.001}'], { '{"d":-0.01}': 'd is -0.01, outside -0.001 … ∞' }],
  [
    check.range('day', { min: '2026-01-01' }),
    ['{"day":"2026-01-01"}'],
    { '{"day":"2025-12-31"}': 'day is 2025-12-31, outside 2026-01-01 … ∞' },
  ],
  [
    check.range('moment', { max: '2026-01-01T00:00:00+01:00' }),
    ['{"moment":"2025-12-31T23:00:00Z"}'],
    { '{"moment":"2025-12-31T23:00:01Z"}': 'moment is 2025-12-31 23:00:01, outside -∞ … 2026-01-01T00:00:00+01:00' },
  ],
  [check.range('s', { min: 'b' }), ['{"s":"b"}', '{"i":1}'], { '{"s":"a"}': 's is a, outside b … ∞' }],
  [
    check.oneOf('s', ["it's", 'b']),
    ['{"s":"it\'s"}', '{"i":1}'],
    { '{"s":"c"}': "s is 'c', not one of it's, b", '{"s":""}': "s is '', not one of it's, b" },
  ],
  [check.oneOf('i', [1, 2]), ['{"i":2}'], { '{"i":3}': "i is '3', not one of 1, 2" }],
  [check.oneOf('i', ['1.5', '2']), ['{"i":2}'], { '{"i":1}': "i is '1', not one of 1.5, 2" }],
  [
    check.oneOf('day', ['2026-01-01']),
    ['{"day":"2026-01-01"}'],
    { '{"day":"2026-01-02"}': "day is '2026-01-02', not one of 2026-01-01" },
  ],
  [check.oneOf('m', [1.5, 2]), ['{"m":1.50}', '{"m":2}'], { '{"m":1.51}': "m is '1.51', not one of 1.5, 2" }],
  [
    check.matches('s', /^[a-z]+$/),
    ['{"s":"abc"}', '{"i":1}'],
    { '{"s":"aBc"}': "s 'aBc' does not match /^[a-z]+$/", '{"s":"a\\nb"}': "s 'a\nb' does not match /^[a-z]+$/" },
  ],
  [
    check.matches('s', /O'Brien/i),
    ['{"s":"mr o\'brien"}'],
    { '{"s":"Smith"}': "s 'Smith' does not match /(?i)O'Brien/" },
  ],
  [
    check.predicate('even', sql`i % 2 = 0`),
    ['{"i":2}'],
    { '{"i":3}': 'even does not hold', '{"s":"x"}': 'even does not hold' },
  ],
  [
    check.predicate('number inside', sql`s::INTEGER > 5`),
    ['{"s":"6"}'],
    { '{"s":"5"}': 'number inside does not hold', '{"s":"x"}': 'number inside does not hold' },
  ],
  [
    check.predicate('choice', sql`coalesce(b, false) or i > ${3}`),
    ['{"b":true}', '{"i":4}'],
    { '{"b":false}': 'choice does not hold', '{"i":3}': 'choice does not hold' },
  ],
]

describe('row checks', () => {
  test.each(CASES)('%j', async (rule, passing, failing) => {
    const { gate } = await gateHome(stream('s', { columns, checks: [rule] }))
    const lines = [...passing, ...Object.keys(failing)]
    const { rows, refused } = await gate(lines)
    expect([...rows.keys()]).toEqual(passing.map((_, i) => i))
    expect(Object.fromEntries([...refused].map(([i, { reason }]) => [lines[i], reason]))).toEqual(failing)
  })

  test('a record is refused with everything that is wrong with it, the first rule first', async () => {
    const checks = [check.range('i', { min: 1 }), check.predicate('never', sql`false`)]
    const { gate } = await gateHome(stream('s', { columns, checks }))
    const { refused } = await gate(['{"i":0,"m":"x"}'])
    expect(refused.get(0)).toMatchObject({
      rule: 'type(m)',
      reason: "m 'x' is not a valid decimal(10, 2); i is 0, outside 1 … ∞; never does not hold",
    })
  })
})

test('a predicate that a column without a value leaves unanswered is not listed beside it', async () => {
  const orders = stream('orders', {
    columns: { quantity: t.int(), price: t.decimal(10, 2), note: t.string().nullable() },
    checks: [
      check.predicate('priced', sql`price > 0`),
      check.predicate('sign', sql`quantity > 0 OR note = 'return'`),
      check.predicate('worth', sql`quantity * price < 1000`),
    ],
  })
  const { gate } = await gateHome(orders)
  const { refused } = await gate([
    '{"quantity":"six","price":2}',
    '{"quantity":"six","price":-1}',
    '{"price":"x"}',
    '{"quantity":-1,"price":2}',
    '{"quantity":"six","price":-1,"note":"sale"}',
  ])
  const rules = [...refused.values()].map(({ failures }) =>
    (JSON.parse(String(failures)) as [string][]).map(([rule]) => rule),
  )
  expect(rules).toEqual([
    ['type(quantity)'],
    ['type(quantity)', 'priced'],
    ['not_null(quantity)', 'type(price)'],
    // The note is null, which is a value of its type: the predicate has no answer, and that is a failure.
    ['sign'],
    ['type(quantity)', 'priced'],
  ])
})

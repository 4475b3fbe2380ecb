import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check, stream, t } from '../../src/index.ts'
import { ndjsonLines } from '../../src/log/lines.ts'
import { type Gated, gateHome } from './gated.ts'

const columns = {
  id: t.string().nullable(),
  n: t.int().nullable(),
  at: t.timestamp().nullable(),
  tags: t.list(t.string()).nullable(),
  note: t.json().nullable(),
}

const good = fc.record(
  {
    id: fc.constantFrom('a', 'b', 'c', 'd', ''),
    n: fc.integer({ min: -5, max: 5 }),
    at: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-01T00:00:00.5+01:00'),
    tags: fc.array(fc.string({ unit: 'grapheme' })),
    note: fc.jsonValue(),
    other: fc.constantFrom(1, null),
  },
  { requiredKeys: [] },
)

/** JSON that nobody should send, and text that only looks like it. */
const odd = fc.constantFrom(
  '{}',
  '[]',
  '[{"id":"a"}]',
  'null',
  '5',
  '"{"',
  '{"id":"a"} {"id":"b"}',
  '{"id":"a"},',
  '{"id":"a","id":"b"}',
  '{"ID":"a","Id":"b"}',
  '{"id":"a",}',
  "{'id':'a'}",
  '{id:"a"}',
  '{"n":NaN}',
  '{"n":Infinity}',
  '{"n":01}',
  '{"n":1e999999}',
  `{"n":${'9'.repeat(5_000)}}`,
  `{"n":0.${'1'.repeat(5_000)}}`,
  '{"id":"\\u0000"}',
  '{"id":"\u0000"}',
  '{"id":"\\ud800"}',
  '{"id":"\\udfff\\ud800"}',
  '{"id":"\\x"}',
  '{"id":"tab\there"}',
  '{"id":\r"carriage\\rreturn"}',
  '{"id":"\u2028\u2029\u0085"}',
  '\ufeff{"id":"a"}',
  '\u00a0',
  '\u3000',
  '{"$millrace":1}',
  '{"$millrace":null,"id":"a"}',
  '{"$millrace":{"offset":0,"records":9,"bytes":1,"crc":0,"at":0},"id":"a"}',
  '{"\\u0024millrace":1}',
  '{"$offset":5,"_offset":7,"_partition":3,"$raw":"x","$reject":"x","id":"a"}',
  `{"note":${'['.repeat(3_000)}${']'.repeat(3_000)}}`,
  `{"note":${'{"a":'.repeat(3_000)}1${'}'.repeat(3_000)}}`,
  '['.repeat(10_000),
  `{"id":"${'x'.repeat(200_000)}"}`,
  '/* comment */ {"id":"a"}',
  '{"id":"a"} // comment',
)

/** A valid record with something cut out of it or put into it. */
const spoilt = fc
  .tuple(
    good,
    fc.nat(),
    fc.nat(8),
    fc.oneof(fc.string({ unit: 'binary', maxLength: 3 }), fc.constantFrom('"', '{', '}', '\\', ',')),
  )
  .map(([record, at, length, piece]) => {
    const text = JSON.stringify(record)
    const from = at % (text.length + 1)
    return text.slice(0, from) + piece + text.slice(from + length)
  })

const line = fc.oneof(
  { arbitrary: good.map((record) => JSON.stringify(record)), weight: 4 },
  { arbitrary: odd, weight: 3 },
  { arbitrary: spoilt, weight: 3 },
  { arbitrary: fc.string({ unit: 'binary' }), weight: 1 },
  { arbitrary: fc.string({ unit: fc.constantFrom(' ', '\t', '\r', '\u000b', '\f', 'x') }), weight: 1 },
  { arbitrary: fc.json(), weight: 1 },
)

/** Whatever a body holds, as the records it has for the log. */
function recordsOf(lines: readonly string[]): string[] {
  const body = Buffer.concat(ndjsonLines(Buffer.from(lines.map((text) => text.toWellFormed()).join('\n'))).lines)
  return body.toString('utf8').split('\n').slice(0, -1)
}

function expectConserved(records: readonly string[], { rows, refused, counts }: Gated): void {
  expect(counts.received).toBe(records.length)
  expect(counts.received).toBe(counts.accepted + counts.duplicates + counts.quarantined)
  expect([rows.size, refused.size]).toEqual([counts.accepted, counts.quarantined])
  for (const [position, { rule, reason, bytes, failures }] of refused) {
    expect(rows.has(position)).toBe(false)
    expect(bytes, records[position]).toBe(Buffer.from(records[position]!).toString('hex').toUpperCase())
    expect(String(reason).length).toBeGreaterThan(3)
    expect(rule, `${records[position]}: ${String(reason)}`).not.toBe('unknown')
    expect((JSON.parse(String(failures)) as [string][])[0]![0]).toBe(rule)
  }
}

const unique = ['id', 'n'] as const

describe('nothing disappears, whatever is sent', () => {
  test.each([
    ['unknown fields dropped', stream('s', { columns, unknown: 'drop' })],
    ['unknown fields kept', stream('s', { columns, unknown: 'keep' })],
    ['unknown fields refused', stream('s', { columns, unknown: 'quarantine' })],
    ['unique', stream('s', { columns, unique, checks: [check.oneOf('id', ['a', 'b', ''])] })],
    [
      'unique within a horizon',
      stream('s', {
        columns: { ...columns, at: t.timestamp() },
        time: 'at',
        unique: { columns: unique, horizon: '30 minutes' },
      }),
    ],
    [
      'partitioned, with a required column',
      stream('s', { columns: { ...columns, id: t.string() }, partitionBy: { column: 'id', by: 'bucket', count: 3 } }),
    ],
  ])('%s', async (_, declared) => {
    const { gate } = await gateHome(declared)
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 80, size: 'max' }), async (lines) => {
        const records = recordsOf(lines)
        if (records.length === 0) return
        expectConserved(records, await gate(records, '_offset AS o'))
      }),
      { numRuns: 15 },
    )
  })

  test('a record that is right is accepted, whatever stands beside it', async () => {
    const { gate } = await gateHome(stream('s', { columns }))
    const right = fc.record({
      id: fc.string({ unit: 'grapheme' }),
      n: fc.integer({ min: -5, max: 5 }),
      note: fc.jsonValue(),
    })
    const lines = fc.array(
      fc.oneof(
        right.map((record) => ({ text: JSON.stringify(record), right: true })),
        line.map((text) => ({ text, right: false })),
      ),
      { minLength: 1, maxLength: 60, size: 'max' },
    )
    await fc.assert(
      fc.asyncProperty(lines, async (all) => {
        // Line by line, so that what is sent as one line stays one.
        const kept = all.flatMap((each) => recordsOf([each.text]).map((text) => ({ text, right: each.right })))
        if (kept.length === 0) return
        const { rows } = await gate(
          kept.map(({ text }) => text),
          '_offset AS o',
        )
        kept.forEach(({ text, right }, position) => {
          if (right) expect(rows.has(position), text).toBe(true)
        })
      }),
      { numRuns: 10 },
    )
  })
})

const BROKEN_OFF = [
  '[',
  '{"a":',
  '{"a":[1,',
  '[[[[',
  '{"a":{"b":',
  '{"id":"a',
  '{',
  '{"id"',
  '{"id":1,',
  '{"id":tru',
  '-',
]

describe('a line that breaks off', () => {
  test('does not break the next one in two', async () => {
    const { gate } = await gateHome(stream('s', { columns: { id: t.string() } }))
    const { rows, refused } = await gate(['[', '{"id":"a\\nb","c\\n":1}', '{"id":"c"}'])
    expect([...rows].map(([position, { id }]) => [position, id])).toEqual([
      [1, 'a\nb'],
      [2, 'c'],
    ])
    expect([...refused.keys()]).toEqual([0])
  })

  test.each(BROKEN_OFF)('%s does not spoil the records after it', async (text) => {
    for (const unknown of ['drop', 'keep'] as const) {
      const { gate } = await gateHome(
        stream('s', { columns: { id: t.string(), n: t.int().nullable() }, unknown, unique: ['id'] }),
      )
      // The second "a" is the duplicate, not the first: reading again keeps the order.
      const lines = [
        '{"id":"x"}',
        text,
        text,
        '{"id":"a","n":1}',
        '{"id":"a","n":2}',
        text,
        '{"id":"b"}',
        '{"id":"c","n":"?"}',
      ]
      const { rows, refused, counts } = await gate(lines)
      expect(counts).toEqual({ received: 8, accepted: 3, duplicates: 1, quarantined: 4 })
      expect([...rows].map(([position, { id, n }]) => [position, id, n])).toEqual([
        [0, 'x', null],
        [3, 'a', 1],
        [6, 'b', null],
      ])
      expect([...refused].map(([position, { rule }]) => [position, rule])).toEqual([
        [1, 'malformed'],
        [2, 'malformed'],
        [5, 'malformed'],
        [7, 'type(n)'],
      ])
    }
  })
})

test('text in the place of a record is shown in the reason: it may say why it is there', async () => {
  const { gate } = await gateHome(stream('s', { columns: { id: t.string() } }))
  // With a single column, DuckDB would take any value for it, and whole objects too.
  const { refused, rows } = await gate(['{"id":"a"}', '"schema 9 is not in the registry; in base64: AAAA"', '7'])
  expect([...rows.values()].map(({ id }) => id)).toEqual(['a'])
  expect([...refused.values()].map(({ reason }) => reason)).toEqual([
    'a JSON string where an object is expected: schema 9 is not in the registry; in base64: AAAA',
    'a JSON number where an object is expected',
  ])
})

test('what a record becomes does not depend on whether unknown fields are told apart', async () => {
  const more = {
    d: t.double().nullable(),
    w: t.decimal(20, 3).nullable(),
    s: t.struct({ a: t.int().nullable() }).nullable(),
  }
  const gates = await Promise.all(
    (['drop', 'keep'] as const).map((unknown) => gateHome(stream('s', { columns: { ...columns, ...more }, unknown }))),
  )
  const value = fc.oneof(
    fc.jsonValue(),
    fc.bigInt().map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(1e21, 1e-7, 123456.789, '1.50', '1e3'),
  )
  const record = fc.record(
    {
      id: fc.oneof(fc.string(), fc.boolean(), fc.integer()),
      n: value,
      at: value,
      tags: value,
      note: value,
      d: value,
      w: value,
      s: value,
    },
    { requiredKeys: ['id'] },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 60, size: 'max' }), async (records) => {
      const lines = records.map((each) => JSON.stringify(each))
      const [dropped, kept] = await Promise.all(
        gates.map(({ gate }) =>
          gate(lines, 'id, n, "at", to_json(tags) AS tags, note, d, w::VARCHAR AS w, to_json(s) AS s'),
        ),
      )
      // Reasons show a number as it was read, which is with another exponent.
      const outcome = ({ rows, refused }: Gated) =>
        lines.map((text, i) => [text, refused.get(i)?.['rule'], { ...rows.get(i), position: i }])
      expect(outcome(kept!)).toEqual(outcome(dropped!))
    }),
    { numRuns: 15 },
  )
})

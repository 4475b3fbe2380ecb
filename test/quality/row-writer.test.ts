import { writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stream, t } from '../../src/index.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import { jsonColumns, rowJson, rowReader } from '../../src/engine/duckdb/json-row.ts'
import type { Field } from '../../src/project/columns.ts'
import { fieldsOf } from '../../src/project/columns.ts'
import { Misfit, rowWriter } from '../../src/quality/row-writer.ts'
import { compileGate } from '../../src/quality/gate.ts'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const columns = {
  s: t.string().nullable(),
  i: t.int().nullable(),
  l: t.long().nullable(),
  d: t.double().nullable(),
  p: t.decimal(12, 3).nullable(),
  b: t.boolean().nullable(),
  day: t.date().nullable(),
  at: t.timestamp().nullable(),
  j: t.json().nullable(),
  list: t.list(t.long().nullable()).nullable(),
  st: t.struct({ x: t.decimal(5, 1), at: t.timestamp().nullable() }).nullable(),
  always: t.int(),
}
const fields: readonly Field[] = fieldsOf(columns)
const file = join(tmpdir(), `millrace-row-writer-${process.pid}.ndjson`)

const two = (n: number) => String(n).padStart(2, '0')
const date = fc
  .tuple(fc.integer({ min: 1, max: 9999 }), fc.integer({ min: 0, max: 13 }), fc.integer({ min: 0, max: 32 }))
  .map(([y, m, d]) => `${String(y).padStart(4, '0')}-${two(m)}-${two(d)}`)
const time = fc
  .tuple(
    fc.integer({ min: 0, max: 24 }),
    fc.integer({ min: 0, max: 60 }),
    fc.constantFrom('', ':00', ':59', ':60', ':07.1', ':07.123456', ':07.1234560', ':07.1234567', ':000'),
    fc.constantFrom('', 'Z', '+02:00', '-1130', ' UTC', '+19:00', '+05', 'z'),
  )
  .map(([h, m, s, z]) => `${two(h)}:${two(m)}${s}${z}`)
const decimal = fc.oneof(
  fc
    .tuple(fc.bigInt({ min: -(10n ** 11n), max: 10n ** 11n }), fc.constantFrom('', '.5', '.123', '.1230', '.1234', '.'))
    .map(([n, f]) => `${n}${f}`),
  fc.double({ noDefaultInfinity: true }),
  fc.integer(),
  fc.constantFrom('', '-', '.5', '1e3', '+1', ' 1', '-0', '00012.5'),
)
/** Something near what a column takes, or not at all. */
const values: Record<keyof typeof columns, fc.Arbitrary<unknown>> = {
  s: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('\ud800', 'null', '')),
  i: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(2 ** 31, -(2 ** 31), -0, '5', 5n)),
  l: fc.oneof(fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }), fc.maxSafeInteger(), fc.double()),
  d: fc.double(),
  p: decimal,
  b: fc.oneof(fc.boolean(), fc.constantFrom('true', 1)),
  day: date,
  at: fc.oneof(
    date,
    fc.tuple(date, fc.constantFrom('T', ' '), time).map((parts) => parts.join('')),
  ),
  // The gate writes numbers of JSON anew: 1e+21 as 1e21.
  j: fc.dictionary(fc.string(), fc.oneof(fc.integer(), fc.boolean(), fc.string(), fc.constant(null))),
  list: fc.array(
    fc.oneof(fc.maxSafeInteger(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constant(null)),
  ),
  st: fc.record({ x: decimal, at: fc.option(fc.constantFrom('2026-01-31T12:00:00+01:00', 'never')) }),
  always: fc.constant(7),
}

function written(row: Record<string, unknown>): string | undefined {
  try {
    return `{${rowWriter(fields)(row)}}`
  } catch (error) {
    if (error instanceof Misfit) return undefined
    throw error
  }
}

/** As a client would send it. */
const sent = (row: Record<string, unknown>) =>
  JSON.stringify(row, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : Object.is(value, -0) ? '-0.0' : value,
  )

test('what a function may return is what the gate would take as JSON, and gives the same values', async () => {
  const database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: tmpdir() })
  const gate = compileGate(stream('x', { columns }), () => '')
  const names = fields.map(({ name }) => `"${name}"::VARCHAR AS "${name}"`).join(', ')
  const rowOf = fc
    .constantFrom(...(Object.keys(values) as (keyof typeof values)[]))
    .chain((name) => fc.record({ [name]: values[name] }).map((row): Record<string, unknown> => ({ always: 7, ...row })))
  await fc.assert(
    fc.asyncProperty(fc.array(rowOf, { minLength: 20, maxLength: 60 }), async (rows) => {
      const fitting = rows.flatMap((row) => {
        const text = written(row)
        return text === undefined ? [] : [{ row, text }]
      })
      if (fitting.length === 0) return
      await writeFile(
        file,
        fitting.map(({ text }) => `${text}\n`),
      )
      const read = await database.rows(`SELECT ${names} FROM read_ndjson('${file}', columns = ${jsonColumns(fields)})`)
      // And into JavaScript again.
      const reader = rowReader(fields)!
      const lines = await database.rows(
        `SELECT to_json(${rowJson(fields)})::VARCHAR AS line FROM read_ndjson('${file}', columns = ${jsonColumns(fields)})`,
      )
      const again = lines.map(
        ({ line }) => `{${rowWriter(fields)(reader(JSON.parse(String(line)) as Record<string, unknown>))}}`,
      )
      await writeFile(
        file,
        again.map((text) => `${text}\n`),
      )
      expect(
        await database.rows(`SELECT ${names} FROM read_ndjson('${file}', columns = ${jsonColumns(fields)})`),
      ).toEqual(read)
      await writeFile(
        file,
        fitting.map(({ row }) => `${sent(row)}\n`),
      )
      const gated = await database.rows(`SELECT ${names}, "$state" AS good FROM (${gate.prepare(file, true)})`)
      expect(gated).toEqual(read.map((row) => ({ ...row, good: 1 })))
    }),
    { numRuns: 60 },
  )
  await database.close()
})

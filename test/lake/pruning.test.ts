import type { DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { quoteIdentifier, quoteLiteral } from '../../src/base/identifier.ts'
import { parquetRelation } from '../../src/engine/duckdb/parquet.ts'
import { duckdbType } from '../../src/engine/duckdb/types.ts'
import type { ColumnFilter, FileFilter } from '../../src/lake/filter.ts'
import { partitionName } from '../../src/lake/partition.ts'
import type { PartitionField } from '../../src/lake/partition.ts'
import { transformValue } from '../../src/lake/transform.ts'
import { parseValue } from '../../src/lake/value.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { openDuckdb, query, writeFiles } from './support/duckdb.ts'
import { openLake } from './support/lake.ts'

let duckdb: DuckDBConnection
beforeAll(async () => {
  duckdb = await openDuckdb()
})

const FIELDS = fieldsOf({
  i: t.int().nullable(),
  l: t.long().nullable(),
  d: t.double().nullable(),
  n: t.decimal(12, 3).nullable(),
  b: t.boolean().nullable(),
  day: t.date().nullable(),
  at: t.timestamp().nullable(),
  s: t.string().nullable(),
})

/** Values that meet at edges: both zeros, NaN, infinities, long common prefixes, code points beyond the BMP, times before 1970. */
const VALUES: Record<string, fc.Arbitrary<string>> = {
  i: fc.oneof(fc.integer({ min: -30, max: 30 }), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1)).map(String),
  l: fc.oneof(fc.bigInt(-30n, 30n), fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n)).map(String),
  d: fc.constantFrom('0.0', '-0.0', 'nan', 'inf', '-inf', '1.5', '-1.5', '1e300', '5e-324', '0.1'),
  n: fc.integer({ min: -2000, max: 2000 }).map((x) => (x / 1000).toFixed(3)),
  b: fc.constantFrom('true', 'false'),
  day: fc.integer({ min: -40, max: 40 }).map((x) => new Date(x * 86_400_000).toISOString().slice(0, 10)),
  at: fc
    .integer({ min: -100, max: 100 })
    .map((x) => new Date(x * 1_800_000 + 1).toISOString().replace('T', ' ').replace('Z', '999')),
  s: fc
    .tuple(
      fc.constantFrom('', 'a', 'é😀', 'x'.repeat(15), '\u{10ffff}'.repeat(17), '\ud7ff'.repeat(16), 'z'.repeat(12_000)),
      fc.string({ unit: 'binary', maxLength: 4 }),
    )
    .map((parts) => parts.join('').replaceAll('\0', '')),
}

type RowText = Record<string, string | null>

const rowOf: fc.Arbitrary<RowText> = fc.record(
  Object.fromEntries(Object.entries(VALUES).map(([name, values]) => [name, fc.option(values, { freq: 5 })])),
)

const filterOf: fc.Arbitrary<ColumnFilter> = fc.constantFrom(...Object.keys(VALUES)).chain((column) =>
  fc.oneof(
    fc.record({
      column: fc.constant(column),
      op: fc.constantFrom('=' as const, '<' as const, '<=' as const, '>' as const, '>=' as const),
      value: VALUES[column]!,
    }),
    fc.record({
      column: fc.constant(column),
      op: fc.constant('in' as const),
      values: fc.array(VALUES[column]!, { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      column: fc.constant(column),
      op: fc.constantFrom('is null' as const, 'is not null' as const),
    }) as fc.Arbitrary<ColumnFilter>,
  ),
)

const PARTITIONS: readonly (readonly PartitionField[])[] = [
  [],
  [{ column: 'at', transform: { kind: 'day' } }],
  [
    { column: 'at', transform: { kind: 'hour' } },
    { column: 'b', transform: { kind: 'identity' } },
  ],
  [
    { column: 'day', transform: { kind: 'month' } },
    { column: 'n', transform: { kind: 'truncate', width: 500 } },
  ],
  [{ column: 's', transform: { kind: 'truncate', width: 2 } }],
  [
    { column: 'i', transform: { kind: 'truncate', width: 7 } },
    { column: 'day', transform: { kind: 'year' } },
  ],
  [{ column: 'l', transform: { kind: 'identity' } }],
  [
    { column: 's', transform: { kind: 'bucket', count: 3 } },
    { column: 'i', transform: { kind: 'bucket', count: 2 } },
  ],
]

/** Expressions that give each bucket, from the distinct values of the rows. */
function bucketSql(partition: readonly PartitionField[], rows: readonly RowText[]): Record<string, string> {
  const result: Record<string, string> = {}
  for (const { column, transform } of partition) {
    if (transform.kind !== 'bucket') continue
    const type = FIELDS.find((field) => field.name === column)!.type as { kind: 'int' | 'string' }
    const cases = [
      ...new Set(rows.map((row) => row[column]).filter((value) => value !== null && value !== undefined)),
    ].map((value) => `WHEN ${quoteLiteral(value)} THEN ${transformValue(transform, type, parseValue(type, value)!)}`)
    result[`${column}_bucket`] =
      cases.length === 0 ? 'NULL::INT' : `CASE ${quoteIdentifier(column)}::VARCHAR ${cases.join(' ')} END`
  }
  return result
}

function valuesSql(rows: readonly RowText[]): string {
  const names = FIELDS.map((field) => quoteIdentifier(field.name)).join(', ')
  const tuples = rows.map(
    (row, i) =>
      `(${i}, ${FIELDS.map(({ name }) => (row[name] === null || row[name] === undefined ? 'NULL' : quoteLiteral(row[name]))).join(', ')})`,
  )
  const select = FIELDS.map(
    ({ name, type }) => `${quoteIdentifier(name)}::${duckdbType(type)} AS ${quoteIdentifier(name)}`,
  ).join(', ')
  return `SELECT ${select} FROM (VALUES ${tuples.join(', ')}) v(row, ${names})`
}

function whereSql(filter: FileFilter): string {
  const conditions = filter.map((c) => {
    const type = duckdbType(FIELDS.find((field) => field.name === c.column)!.type)
    const literal = (value: unknown): string => `${quoteLiteral(String(value))}::${type}`
    if (c.op === 'in') return `${quoteIdentifier(c.column)} IN (${c.values.map(literal).join(', ')})`
    return `${quoteIdentifier(c.column)} ${c.op} ${'value' in c ? literal(c.value) : ''}`
  })
  return conditions.join(' AND ') || 'true'
}

describe('pruning never drops a row that matches', () => {
  test.each(PARTITIONS.map((partition) => ({ by: partition.map(partitionName).join(', ') || 'nothing', partition })))(
    'partitioned by $by',
    async ({ partition }) => {
      const lake = await openLake()
      let tables = 0
      let pruned = 0
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(rowOf, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 }),
          fc.array(fc.array(filterOf, { minLength: 1, maxLength: 2 }), { minLength: 8, maxLength: 8 }),
          async (commits, filters) => {
            const table = await lake.create({ namespace: 'p', name: `t${tables++}` }, { fields: FIELDS, partition })
            for (const rows of commits) {
              const add = await writeFiles(duckdb, table, valuesSql(rows), bucketSql(partition, rows))
              await table.commit({ operation: 'append', add, remove: [], summary: {} })
            }
            const snapshot = table.snapshot()!
            const all = await table.files(snapshot)
            for (const filter of filters) {
              const some = await table.files(snapshot, filter)
              pruned += all.length - some.length
              const count = async (files: typeof all) =>
                (
                  await query(
                    duckdb,
                    `SELECT count(*) AS n FROM ${parquetRelation(
                      files.map((f) => f.path),
                      table.fields,
                    )} WHERE ${whereSql(filter)}`,
                  )
                )[0]!['n']
              expect(await count(some), JSON.stringify(filter)).toBe(await count(all))
            }
          },
        ),
        { numRuns: 12 },
      )
      expect(pruned).toBeGreaterThan(0)
    },
  )
})

describe('pruning drops', () => {
  test('files of other partitions and outside the bounds, before reading their manifests', async () => {
    const table = await (
      await openLake()
    ).create({ namespace: 'p', name: 'days' }, { fields: FIELDS, partition: PARTITIONS[1]! })
    for (let day = 1; day <= 5; day++) {
      const sql = valuesSql([{ at: `2026-01-0${day} 12:00:00`, i: String(day), s: `name ${day}` }])
      await table.commit({ operation: 'append', add: await writeFiles(duckdb, table, sql), remove: [], summary: {} })
    }
    const count = async (...filter: ColumnFilter[]) => (await table.files(table.snapshot()!, filter)).length
    expect(await count()).toBe(5)
    expect(await count({ column: 'at', op: '>=', value: '2026-01-04T00:00:00Z' })).toBe(2)
    expect(await count({ column: 'at', op: '<', value: '2026-01-04T00:00:00Z' })).toBe(3)
    expect(await count({ column: 'i', op: 'in', values: [1, 5n] })).toBe(2)
    expect(await count({ column: 's', op: '=', value: 'name 3' })).toBe(1)
    expect(await count({ column: 'd', op: 'is not null' })).toBe(0)
    expect(await count({ column: 'at', op: '>', value: '2026-01-02' }, { column: 'i', op: '<', value: 3 })).toBe(1)
  })

  test('nothing by a filter that cannot be understood: it is refused', async () => {
    const table = await (await openLake()).create({ namespace: 'p', name: 'bad' }, { fields: FIELDS })
    await table.commit({ operation: 'append', add: [], remove: [], summary: {} })
    const files = (filter: ColumnFilter) => table.files(table.snapshot()!, [filter])
    await expect(files({ column: 'dayy', op: 'is null' })).rejects.toMatchObject({
      code: 'bad-filter',
      hint: "Did you mean 'day'?",
    })
    await expect(files({ column: 'i', op: '=', value: 'many' })).rejects.toMatchObject({
      code: 'bad-filter',
      context: { column: 'i' },
    })
  })
})

import type { DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { quoteIdentifier, quoteLiteral } from '../../src/base/identifier.ts'
import { planCompaction } from '../../src/lake/compact.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import type { FileFilter } from '../../src/lake/filter.ts'
import type { PartitionField } from '../../src/lake/partition.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { transformValue } from '../../src/lake/transform.ts'
import { parseValue } from '../../src/lake/value.ts'
import { parquetRelation } from '../../src/engine/duckdb/parquet.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { append, openDuckdb, query, relation, writeFiles } from '../lake/support/duckdb.ts'
import { openLake } from '../lake/support/lake.ts'
import { canonicalRows } from './canonical.ts'
import { ClickHouse, PyIceberg } from './readers/reader.ts'

let duckdb: DuckDBConnection
let pyiceberg: PyIceberg
let clickhouse: ClickHouse

beforeAll(async () => {
  duckdb = await openDuckdb()
  pyiceberg = new PyIceberg()
  clickhouse = new ClickHouse()
})
afterAll(() => {
  pyiceberg.close()
  clickhouse.close()
})

/** All readers see the same rows as DuckDB over the files we say are live. Returns how many. */
async function agree(table: LakeTable): Promise<number> {
  const rows = canonicalRows(await query(duckdb, `SELECT * FROM ${await relation(table)}`), table.fields)
  const python = await pyiceberg.read(table)
  expect(canonicalRows(python.rows, table.fields), 'PyIceberg').toEqual(rows)
  expect(canonicalRows(await clickhouse.read(table), table.fields), 'ClickHouse').toEqual(rows)
  return rows.length
}

/** They see the same rows through a filter, and PyIceberg plans the files that we give. */
async function agreeOn(table: LakeTable, filter: FileFilter): Promise<number> {
  const where = filter
    .map((c) => `${quoteIdentifier(c.column)} ${c.op} ${literal('value' in c ? c.value : '')}`)
    .join(' AND ')
  const ours = await table.files(table.snapshot()!, filter)
  const paths = ours.map((file) => file.path)
  const all = await query(duckdb, `SELECT * FROM ${await relation(table)} WHERE ${where}`)
  const kept = await query(duckdb, `SELECT * FROM ${parquetRelation(paths, table.fields)} WHERE ${where}`)
  const rows = canonicalRows(all, table.fields)
  expect(canonicalRows(kept, table.fields), where).toEqual(rows)
  const python = await pyiceberg.read(table, where.replaceAll('"', ''))
  expect(canonicalRows(python.rows, table.fields), `PyIceberg: ${where}`).toEqual(rows)
  expect(python.files.sort(), `PyIceberg plans: ${where}`).toEqual(paths.sort())
  const clickhouseRows = await clickhouse.read(table, where)
  expect(canonicalRows(clickhouseRows, table.fields), `ClickHouse: ${where}`).toEqual(rows)
  return paths.length
}

function literal(value: unknown): string {
  return typeof value === 'string' ? (value === '' ? '' : quoteLiteral(value)) : String(value)
}

const ALL = fieldsOf({
  id: t.long(),
  i: t.int().nullable(),
  d: t.double().nullable(),
  flag: t.boolean().nullable(),
  name: t.string().nullable(),
  day: t.date().nullable(),
  moment: t.timestamp().nullable(),
  small: t.decimal(9, 2).nullable(),
  big: t.decimal(38, 10).nullable(),
  extra: t.json().nullable(),
  tags: t.list(t.string().nullable()),
  point: t.struct({ x: t.double().nullable(), inner: t.struct({ y: t.int().nullable() }) }),
  path: t.list(t.struct({ at: t.timestamp().nullable(), n: t.decimal(5, 1).nullable() })),
})

const ALL_ROWS = `SELECT id, i, d, flag, name, day, moment, small, big, extra, tags, point, path FROM (VALUES
  (1::BIGINT, 7::INT, -0.0::DOUBLE, true, 'é😀 "q"', DATE '1969-12-31', TIMESTAMP '1969-12-31 23:59:59.999999', -0.05::DECIMAL(9, 2),
   1234567890123456789012345678.0123456789::DECIMAL(38, 10), '{"a": [1, 2]}', ['p', NULL, ''],
   {'x': 1.5::DOUBLE, 'inner': {'y': 3::INT}}, [{'at': TIMESTAMP '2026-01-02 03:04:05.000006', 'n': 1.5::DECIMAL(5, 1)}]),
  (9223372036854775807, -2147483648, 'nan'::DOUBLE, false, '', DATE '2196-02-29', TIMESTAMP '2200-01-01 00:00:00', 9999999.99, -1, 'null', [],
   {'x': NULL, 'inner': {'y': NULL}}, []),
  (-9223372036854775808, NULL, 'inf'::DOUBLE, NULL, repeat('long', 5000), NULL, NULL, NULL, NULL, NULL, ['x'],
   {'x': '-inf'::DOUBLE, 'inner': {'y': -1::INT}}, [{'at': NULL, 'n': NULL}])
) v(id, i, d, flag, name, day, moment, small, big, extra, tags, point, path)`

describe('all types', () => {
  test('have the same rows and types for every reader', async () => {
    const table = await (await openLake()).create({ namespace: 'interop', name: 'types' }, { fields: ALL })
    await append(duckdb, table, ALL_ROWS)
    expect(await agree(table)).toBe(3)
    expect((await pyiceberg.read(table)).columns).toEqual({
      id: 'long',
      i: 'int',
      d: 'double',
      flag: 'boolean',
      name: 'string',
      day: 'date',
      moment: 'timestamp',
      small: 'decimal(9, 2)',
      big: 'decimal(38, 10)',
      extra: 'string',
      tags: 'list<string>',
      point: expect.stringMatching(/^struct<.*x: optional double.*inner: required struct<.*y: optional int/),
      path: expect.stringMatching(/^list<struct<.*at: optional timestamp.*n: optional decimal\(5, 1\)/),
    })
  })

  test('an empty table, and one whose rows are all gone, are empty to everybody', async () => {
    const table = await (await openLake()).create({ namespace: 'interop', name: 'empty' }, { fields: ALL })
    expect((await pyiceberg.read(table)).rows).toEqual([])
    expect(await clickhouse.read(table)).toEqual([])
    const files = await append(duckdb, table, ALL_ROWS)
    await table.commit({ operation: 'delete', add: [], remove: files.map((file) => file.path), summary: {} })
    expect(await agree(table)).toBe(0)
  })
})

const FIELDS = fieldsOf({
  id: t.long().nullable(),
  n: t.int().nullable(),
  price: t.decimal(9, 2).nullable(),
  name: t.string().nullable(),
  flag: t.boolean().nullable(),
  day: t.date().nullable(),
  moment: t.timestamp().nullable(),
})

/** 60 rows on both sides of 1970 and zero, and one of nulls. */
const ROWS = `SELECT id::BIGINT AS id, (id * 3)::INT AS n, (id / 4)::DECIMAL(9, 2) AS price, 'name ' || (id % 7) AS name, id % 2 = 0 AS flag,
    DATE '1970-01-01' + (id * 20)::INT AS day, TIMESTAMP '1970-01-01' + to_minutes((id * 25)::BIGINT) AS moment
  FROM range(-30, 30) r(id) UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL`

const bucket = (column: string, count: number): PartitionField => ({ column, transform: { kind: 'bucket', count } })
const truncate = (column: string, width: number): PartitionField => ({ column, transform: { kind: 'truncate', width } })
const plain = (column: string, kind: 'identity' | 'year' | 'month' | 'day' | 'hour' | 'void'): PartitionField => ({
  column,
  transform: { kind },
})

const CASES: readonly (readonly [string, readonly PartitionField[], readonly FileFilter[]])[] = [
  ['nothing', [], [[{ column: 'id', op: '>', value: 5 }], [{ column: 'name', op: '=', value: 'nobody' }]]],
  [
    'identity of text',
    [plain('name', 'identity')],
    [[{ column: 'name', op: '=', value: 'name 3' }], [{ column: 'name', op: '>', value: 'name 4' }]],
  ],
  [
    'identity of booleans and dates',
    [plain('flag', 'identity'), plain('day', 'identity')],
    [[{ column: 'day', op: '<', value: '1969-12-01' }], [{ column: 'day', op: 'is null' }]],
  ],
  [
    'identity of decimals',
    [plain('price', 'identity')],
    [[{ column: 'price', op: '>=', value: '6.50' }], [{ column: 'price', op: '<', value: '-6.75' }]],
  ],
  [
    'identity of longs and timestamps',
    [plain('id', 'identity')],
    [[{ column: 'id', op: '<=', value: -28 }], [{ column: 'id', op: 'is not null' }]],
  ],
  [
    'year',
    [plain('day', 'year')],
    [[{ column: 'day', op: '<', value: '1969-01-01' }], [{ column: 'day', op: '>=', value: '1970-01-01' }]],
  ],
  [
    'month',
    [plain('day', 'month')],
    [[{ column: 'day', op: '>', value: '1971-03-31' }], [{ column: 'day', op: '=', value: '1970-01-01' }]],
  ],
  [
    'day',
    [plain('moment', 'day')],
    [
      [{ column: 'moment', op: '<', value: '1970-01-01T00:00:00' }],
      [{ column: 'moment', op: '>=', value: '1970-01-01T10:00:00' }],
    ],
  ],
  [
    'hour',
    [plain('moment', 'hour')],
    [
      [{ column: 'moment', op: '<=', value: '1969-12-31T20:00:00' }],
      [{ column: 'moment', op: '>', value: '1970-01-01T08:00:00' }],
    ],
  ],
  [
    'truncate of numbers',
    [truncate('n', 10), truncate('price', 250)],
    [[{ column: 'n', op: '<', value: -50 }], [{ column: 'price', op: '>', value: '5.00' }]],
  ],
  [
    'truncate of text and longs',
    [truncate('name', 6), truncate('id', 20)],
    [[{ column: 'name', op: '=', value: 'name 2' }], [{ column: 'id', op: '>=', value: 20 }]],
  ],
  [
    'buckets of numbers',
    [bucket('id', 4), bucket('price', 3)],
    [[{ column: 'id', op: '=', value: 7 }], [{ column: 'price', op: '=', value: '-1.25' }]],
  ],
  [
    'buckets of text and times',
    [bucket('name', 3), bucket('moment', 2), bucket('day', 2)],
    [[{ column: 'name', op: '=', value: 'name 5' }], [{ column: 'day', op: '=', value: '1970-01-01' }]],
  ],
  ['void', [plain('name', 'void'), plain('flag', 'identity')], [[{ column: 'name', op: '=', value: 'name 1' }]]],
]

/** Expressions for buckets, over the distinct values of a column. */
async function buckets(partition: readonly PartitionField[]): Promise<Record<string, string>> {
  const result: Record<string, string> = {}
  for (const { column, transform } of partition) {
    if (transform.kind !== 'bucket') continue
    const type = FIELDS.find((field) => field.name === column)!.type as { kind: 'int' }
    const values = await query(
      duckdb,
      `SELECT DISTINCT ${column}::VARCHAR AS v FROM (${ROWS}) WHERE ${column} IS NOT NULL`,
    )
    const cases = values.map(
      ({ v }) =>
        `WHEN ${quoteLiteral(String(v))} THEN ${transformValue(transform, type, parseValue(type, String(v))!)}`,
    )
    result[`${column}_bucket`] = `CASE ${column}::VARCHAR ${cases.join(' ')} END`
  }
  return result
}

describe('partitioned by', () => {
  test.each(CASES)('%s: the same rows, and the same files for a filter', async (_name, partition, filters) => {
    const table = await (
      await openLake()
    ).create({ namespace: 'interop', name: 'parts' }, { fields: FIELDS, partition })
    const add = await writeFiles(duckdb, table, ROWS, await buckets(partition))
    await table.commit({ operation: 'append', add, remove: [], summary: {} })
    expect(await agree(table)).toBe(61)
    for (const filter of filters) await agreeOn(table, filter)
  })
})

test('evolution, overwrites, compaction and expiry leave the same rows for everybody', async () => {
  const table = await (
    await openLake()
  ).create(
    { namespace: 'interop', name: 'life' },
    {
      fields: fieldsOf({
        id: t.int(),
        name: t.string(),
        price: t.decimal(9, 2),
        moment: t.timestamp(),
        point: t.struct({ x: t.int() }),
      }),
      partition: [plain('moment', 'day'), truncate('id', 10)],
    },
  )
  const rows = (from: number, to: number, columns: string) =>
    `SELECT id::INT AS id, ${columns}, (id / 4)::DECIMAL(9, 2) AS price, TIMESTAMP '2026-01-01' + to_hours(id::INT) AS moment FROM range(${from}, ${to}) r(id)`
  for (let i = 0; i < 12; i++)
    await append(duckdb, table, rows(i * 4, i * 4 + 4, `'n' || id AS name, {'x': id::INT} AS point`))
  expect(await agree(table)).toBe(48)

  await table.evolve(
    fieldsOf({
      moment: t.timestamp(),
      label: t.string().nullable().formerly('name'),
      id: t.long(),
      price: t.decimal(18, 2),
      point: t.struct({ x: t.long(), y: t.double().nullable() }),
      note: t.json().nullable(),
    }),
  )
  expect(await agree(table)).toBe(48)
  const wide = `SELECT 5000000000::BIGINT AS id, NULL::VARCHAR AS label, 1234567890123456.75::DECIMAL(18, 2) AS price, TIMESTAMP '2026-01-03 05:00:00' AS moment,
    {'x': 6000000000::BIGINT, 'y': 0.5::DOUBLE} AS point, '{}' AS note`
  await append(duckdb, table, wide)
  expect(await agree(table)).toBe(49)
  await agreeOn(table, [{ column: 'id', op: '>', value: 100 }])
  await agreeOn(table, [{ column: 'id', op: '<', value: 12 }])
  await agreeOn(table, [{ column: 'price', op: '<', value: '2.00' }])
  await agreeOn(table, [{ column: 'label', op: '=', value: 'n30' }])

  // One day recomputed.
  const day = await table.files(table.snapshot()!, [
    { column: 'moment', op: '>=', value: '2026-01-02' },
    { column: 'moment', op: '<', value: '2026-01-03' },
  ])
  const add = await writeFiles(
    duckdb,
    table,
    `SELECT * REPLACE ('again' AS label) FROM ${parquetRelation(
      day.map((f) => f.path),
      table.fields,
    )} WHERE id % 2 = 0`,
  )
  await table.commit({ operation: 'overwrite', add, remove: day.map((file) => file.path), summary: {} })
  expect(await agree(table)).toBe(37)

  const groups = planCompaction(await table.files(table.snapshot()!), { targetBytes: 1e6, minFiles: 2 })
  expect(groups.length).toBeGreaterThan(0)
  for (const group of groups) {
    const paths = group.files.map((file) => file.path)
    const merged = await writeFiles(duckdb, table, `SELECT * FROM ${parquetRelation(paths, table.fields)}`)
    await table.commit({ operation: 'replace', add: merged, remove: paths, summary: {} })
  }
  expect(await agree(table)).toBe(37)
  await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
  expect(await agree(table)).toBe(37)
  await agreeOn(table, [{ column: 'id', op: '>', value: 100 }])
  await agreeOn(table, [{ column: 'moment', op: '<', value: '2026-01-02T00:00:00' }])
})

test('a branch is not seen before it is published', async () => {
  const table = await (await openLake()).create({ namespace: 'interop', name: 'branch' }, { fields: FIELDS })
  await append(duckdb, table, ROWS)
  const add = await writeFiles(duckdb, table, ROWS)
  const candidate = await table.commit({ operation: 'append', add, remove: [], summary: {}, ref: 'candidate' })
  expect(await agree(table)).toBe(61)
  await table.setRef('main', candidate.id)
  expect(await agree(table)).toBe(122)
})

import { readFile } from 'node:fs/promises'
import { icebergMetadata, icebergRead } from 'icebird'
import { afterEach, expect, test, vi } from 'vitest'
import { carryTable } from '../../src/lake/carry-table.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { append, openDuckdb, query, relation, writeFiles } from './support/duckdb.ts'
import { openLake } from './support/lake.ts'

// icebird reads by fetch only: here fetch reads the disk, with the byte ranges it asks for.
vi.stubGlobal('fetch', async (path: string, init?: { headers?: Record<string, string> }) => {
  const bytes = await readFile(path).catch(() => undefined)
  if (!bytes) return new Response(null, { status: 404 })
  const range = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get('range') ?? '')
  return range
    ? new Response(bytes.subarray(Number(range[1]), Number(range[2]) + 1), { status: 206 })
    : new Response(bytes)
})
vi.spyOn(console, 'warn').mockImplementation(() => undefined)
afterEach(() =>
  expect(vi.mocked(console.warn).mock.calls.filter(([text]) => !/logical type/.test(String(text)))).toEqual([]),
)

async function readByIcebird(table: LakeTable): Promise<Record<string, unknown>[]> {
  const metadata = await icebergMetadata({ tableUrl: table.location })
  return icebergRead({ tableUrl: table.location, metadata })
}

const ALL_TYPES = fieldsOf({
  id: t.long(),
  i: t.int().nullable(),
  d: t.double().nullable(),
  b: t.boolean().nullable(),
  s: t.string().nullable(),
  day: t.date().nullable(),
  at: t.timestamp().nullable(),
  n: t.decimal(12, 2).nullable(),
  j: t.json().nullable(),
  tags: t.list(t.string()).nullable(),
  point: t.struct({ x: t.double(), label: t.string().nullable() }).nullable(),
})

const ALL_ROWS = `SELECT * FROM (VALUES
  (1::BIGINT, 7::INT, -0.5::DOUBLE, true, 'é😀', DATE '1969-12-31', TIMESTAMP '2026-01-02 03:04:05.678', 12.50::DECIMAL(12, 2), '{"a": 1}', ['p', 'q'], {'x': 1.5::DOUBLE, 'label': 'l'}),
  (9007199254740993::BIGINT, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
) v(id, i, d, b, s, day, "at", n, j, tags, point)`

test('icebird reads all types', async () => {
  const table = await (await openLake()).create({ namespace: 'a', name: 'types' }, { fields: ALL_TYPES })
  await append(await openDuckdb(), table, ALL_ROWS)
  const [first, second] = await readByIcebird(table)
  expect(first).toEqual({
    id: 1n,
    i: 7,
    d: -0.5,
    b: true,
    s: 'é😀',
    day: new Date('1969-12-31'),
    at: new Date('2026-01-02T03:04:05.678Z'),
    n: 12.5,
    j: '{"a": 1}',
    tags: ['p', 'q'],
    point: { x: 1.5, label: 'l' },
  })
  expect(second).toMatchObject({ id: 9007199254740993n, s: null })
})

test('icebird reads a table that was carried to another lake, and older snapshots of it', async () => {
  const duckdb = await openDuckdb()
  const table = await (
    await openLake()
  ).create(
    { namespace: 'a', name: 'types' },
    { fields: ALL_TYPES, partition: [{ column: 'day', transform: { kind: 'month' } }] },
  )
  await append(duckdb, table, ALL_ROWS)
  const first = table.snapshot()!
  const [gone] = await table.files(first)
  await table.commit({ operation: 'delete', add: [], remove: [gone!.path], summary: {} })
  const target = await openLake()
  await carryTable(table, target, systemDisk)
  const carried = (await target.load(table.id))!
  expect(carried.location).not.toBe(table.location)
  expect(carried.history()).toEqual(table.history())
  const rows = await readByIcebird(table)
  expect(rows).toHaveLength(1)
  expect(await readByIcebird(carried)).toEqual(rows)
  const older = (await carried.files(first)).map(({ path: _path, ...file }) => ({
    ...file,
    columns: { ...file.columns },
  }))
  expect(older).toEqual(
    (await table.files(first)).map(({ path: _path, ...file }) => ({ ...file, columns: { ...file.columns } })),
  )
})

test('icebird sees the present rows, after overwrites, merged manifests, evolution and expiry', async () => {
  const duckdb = await openDuckdb()
  const table = await (
    await openLake()
  ).create(
    { namespace: 'a', name: 'days' },
    { fields: fieldsOf({ id: t.int(), at: t.timestamp() }), partition: [{ column: 'at', transform: { kind: 'day' } }] },
  )
  const rows = (from: number, to: number) =>
    `SELECT i::INT AS id, TIMESTAMP '2026-01-01' + to_hours(i::INT) AS "at" FROM range(${from}, ${to}) r(i)`
  const agree = async () => {
    const expected = await query(duckdb, `SELECT id::INT AS id FROM ${await relation(table)} ORDER BY id`)
    const actual = await readByIcebird(table)
    expect(actual.map((row) => Number(row['id'])).sort((a, b) => a - b)).toEqual(expected.map((row) => row['id']))
  }
  for (let i = 0; i < 12; i++) await append(duckdb, table, rows(i * 5, i * 5 + 5))
  await agree()
  const filter = [{ column: 'at', op: '<', value: '2026-01-02' }] as const
  const firstDay = await table.files(table.snapshot()!, filter)
  const add = await writeFiles(duckdb, table, rows(0, 3))
  await table.commit({ operation: 'overwrite', add, remove: firstDay.map((file) => file.path), summary: {} })
  await agree()
  await table.evolve(fieldsOf({ id: t.long(), at: t.timestamp(), note: t.string().nullable() }))
  await append(duckdb, table, `SELECT 99::BIGINT AS id, TIMESTAMP '2026-02-01' AS "at", 'new' AS note`)
  await agree()
  await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
  await agree()
})

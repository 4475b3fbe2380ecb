import { stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lake } from '../../src/lake/lake.ts'
import {
  SCRATCH,
  adopt,
  keepAlive,
  scratchInput,
  scratchOutput,
  scratchPlace,
  sweepScratch,
  writingSince,
} from '../../src/lake/scratch.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { removeOrphans } from '../../src/lake/orphans.ts'
import { encodeValue } from '../../src/lake/value.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { append, openDuckdb, query, relation, writeFiles } from './support/duckdb.ts'
import { imaginaryFile, livePaths, openLake, steppedClock } from './support/lake.ts'

const DAY = 86_400_000
const COLUMNS = { id: t.int(), at: t.timestamp(), x: t.double().nullable() }

async function days(lake: Lake, name = 'days'): Promise<LakeTable> {
  return lake.create(
    { namespace: 'curated', name },
    { fields: fieldsOf(COLUMNS), partition: [{ column: 'at', transform: { kind: 'day' } }] },
  )
}

const rows = (from: number, to: number): string =>
  `SELECT i::INT AS id, TIMESTAMP '2026-01-01' + to_hours(i::INT) AS "at", i + 0.5 AS x FROM range(${from}, ${to}) r(i)`

test('an input has exactly the files it is given, under the ids of their table', async () => {
  const [lake, duckdb] = [await openLake(), await openDuckdb()]
  const table = await days(lake)
  await append(duckdb, table, rows(0, 72))
  await table.evolve(
    fieldsOf({
      key: t.long().formerly('id'),
      at: t.timestamp(),
      x: t.double().nullable(),
      note: t.string().nullable(),
    }),
  )
  await append(duckdb, table, `SELECT id::BIGINT AS key, "at", x, 'new' AS note FROM (${rows(72, 96)})`)
  const files = await table.files(table.snapshot()!)
  const given = [files[0]!, files.at(-1)!]
  const input = await scratchInput(lake, table, given)

  expect(input.id.namespace).toBe(SCRATCH)
  expect(input.fields).toEqual(table.fields)
  expect(input.partition).toEqual(table.partition)
  const found = await input.files(input.snapshot()!)
  const told = (file: (typeof files)[0]) => ({ ...file, columns: file.columns })
  expect(found.map(told).sort(byPath)).toEqual(given.map(told).sort(byPath))
  const [counted] = await query(duckdb, `SELECT count(*)::INT AS n FROM ${await relation(input)}`)
  expect(counted).toEqual({ n: given[0]!.records + given[1]!.records })
})

test('columns whose names Iceberg reserves have others in scratch tables, under their ids', async () => {
  const [lake, duckdb] = [await openLake(), await openDuckdb()]
  const table = await lake.create(
    { namespace: 'processed', name: 's' },
    { fields: fieldsOf({ a: t.int(), _partition: t.int() }) },
  )
  const output = await scratchOutput(lake, table, join(table.location, 'data'))
  expect(output.fields).toMatchObject([
    { id: 1, name: 'a' },
    { id: 2, name: '$_partition' },
  ])
  await append(duckdb, output, `SELECT 1::INT AS a, 2::INT AS "$_partition"`)
  const add = await adopt(output, table)
  await table.commit({ operation: 'append', add, remove: [], summary: {} })
  expect(await query(duckdb, `SELECT * FROM ${await relation(table)}`)).toEqual([{ a: 1, _partition: 2 }])
})

test('an input of no files has no rows', async () => {
  const lake = await openLake()
  const input = await scratchInput(lake, await days(lake), [])
  expect(input.snapshot()).toBeUndefined()
})

test('files keep the partition spec they were written under', async () => {
  const lake = await openLake()
  const table = await days(lake)
  await table.transact(async ({ metadata }) => ({
    metadata: {
      ...metadata,
      'partition-specs': [...metadata['partition-specs'], { 'spec-id': 1, fields: [] }],
      'default-spec-id': 1,
    },
  }))
  const files = [{ ...imaginaryFile(table, 3, [20_000]), specId: 0 }, imaginaryFile(table)]
  const input = await scratchInput(lake, table, files)
  const found = await input.files(input.snapshot()!)
  expect(found.map(({ specId, partition }) => [specId, partition]).sort(([a], [b]) => Number(a) - Number(b))).toEqual([
    [0, [20_000]],
    [1, []],
  ])
})

test('nothing that happens to an input touches the files of its table', async () => {
  const [lake, duckdb] = [await openLake(), await openDuckdb()]
  const table = await days(lake)
  await append(duckdb, table, rows(0, 48))
  const files = await table.files(table.snapshot()!)
  const input = await scratchInput(lake, table, files)
  await input.commit({ operation: 'delete', add: [], remove: files.map((file) => file.path), summary: {} })
  await expireSnapshots(input, { keepLast: 1, maxAgeMs: 0 })
  await lake.drop(input.id)
  for (const { path } of files) expect((await stat(path)).isFile()).toBe(true)
  expect(await livePaths(table)).toEqual(files.map((file) => file.path).sort())
})

test('what was written to an output is adopted, and stays when the output goes', async () => {
  const [lake, duckdb] = [await openLake(), await openDuckdb()]
  const table = await days(lake)
  const output = await scratchOutput(lake, table, join(table.location, 'data'))
  expect(await adopt(output, table)).toEqual([])
  const written = await writeFiles(duckdb, table, rows(0, 48))
  await output.commit({ operation: 'append', add: written, remove: [], summary: {} })

  const adopted = await adopt(output, table)
  expect(adopted.map((file) => file.path).sort()).toEqual(written.map((file) => file.path).sort())
  expect(adopted.every((file) => file.synced === undefined)).toBe(true)
  await lake.drop(output.id)
  await table.commit({ operation: 'append', add: adopted, remove: [], summary: {} })
  expect(await query(duckdb, `SELECT count(*)::INT AS n, sum(id)::INT AS s FROM ${await relation(table)}`)).toEqual([
    { n: 48, s: 1128 },
  ])
})

test('statistics of another writer become ours', async () => {
  const lake = await openLake()
  const table = await lake.create(
    { namespace: 'curated', name: 'stats' },
    { fields: fieldsOf({ x: t.double(), y: t.double(), z: t.double(), tags: t.list(t.string()) }) },
  )
  const double = (value: number) => encodeValue({ kind: 'double' }, value)
  const output = await scratchOutput(lake, table, join(table.location, 'data'))
  const file = {
    ...imaginaryFile(table),
    columns: {
      1: { values: 1, nulls: 0, nans: 0, lower: double(0), upper: double(-0) },
      2: { values: 1, nulls: 0, nans: 1, lower: double(-1), upper: double(1) },
      3: { values: 1, nulls: 0, nans: 0, lower: double(-Infinity), upper: double(Infinity) },
      4: { values: 1 },
      5: { bytes: 9, values: 3, nulls: 0, lower: Buffer.from('a') },
    },
  }
  await output.commit({ operation: 'append', add: [file], remove: [], summary: {} })
  const [adopted] = await adopt(output, table)
  expect(adopted!.columns).toEqual({
    1: { values: 1, nulls: 0, nans: 0, lower: double(-0), upper: double(0) },
    2: { values: 1, nulls: 0, nans: 1, lower: double(-1) },
    3: { values: 1, nulls: 0, nans: 0 },
    5: { bytes: 9 },
  })
})

test.each([
  ['columns', (output: LakeTable) => output.evolve(fieldsOf({ ...COLUMNS, more: t.int().nullable() }))],
  [
    'partitions',
    (output: LakeTable) =>
      output.transact(async ({ metadata }) => ({
        metadata: {
          ...metadata,
          'partition-specs': [...metadata['partition-specs'], { 'spec-id': 1, fields: [] }],
          'default-spec-id': 1,
        },
      })),
  ],
])('an output whose %s were changed is refused', async (what, change) => {
  const lake = await openLake()
  const table = await days(lake)
  const output = await scratchOutput(lake, table, join(table.location, 'data'))
  await change(output)
  const partition = output.partition.length === 0 ? [] : [20_000]
  await output.commit({ operation: 'append', add: [imaginaryFile(table, 1, partition)], remove: [], summary: {} })
  await expect(adopt(output, table)).rejects.toMatchObject({
    code: 'bad-scratch',
    message: expect.stringContaining(what),
  })
})

test('what steps that were killed left is swept', async () => {
  const clock = steppedClock()
  const lake = await openLake({ clock })
  const table = await days(lake)
  await scratchInput(lake, table, [])
  clock.step(3_600_000)
  const young = await scratchOutput(lake, table, join(table.location, 'data'))
  expect(await sweepScratch(lake, 1_800_000)).toBe(1)
  expect((await lake.list()).map(({ name }) => name).sort()).toEqual(['days', young.id.name].sort())
})

test('what a step has written and nobody adopted yet is no orphan, however long the step takes', async () => {
  const clock = steppedClock(Date.now())
  const [lake, duckdb] = [await openLake({ clock }), await openDuckdb()]
  const [table, other] = [await days(lake), await days(lake, 'other')]
  const left = join(table.location, 'data', 'left.parquet')
  await writeFile(left, 'x')
  await utimes(left, 0, 0)
  const output = await scratchOutput(lake, table, join(table.location, 'data'))
  const began = clock.now()
  const written = await writeFiles(duckdb, table, rows(0, 24))
  await output.commit({ operation: 'append', add: written, remove: [], summary: {} })
  for (let day = 0; day < 3; day++) {
    clock.step(DAY - 1_000)
    await keepAlive(lake, [output])
    expect(await sweepScratch(lake, DAY)).toBe(0)
  }
  expect(await writingSince(lake, table)).toBe(began)
  expect(await writingSince(lake, other)).toBeUndefined()
  // What was there before it began is one.
  expect(await removeOrphans(table, DAY, began - 1_000)).toEqual([left])
  const add = await adopt(output, table)
  expect(add).toHaveLength(1)
  for (const { path } of add) expect(await stat(path)).toBeDefined()
  // Its step was killed: it is swept, and then they are.
  clock.step(DAY + 1_000)
  expect(await sweepScratch(lake, DAY)).toBe(1)
  expect(await writingSince(lake, table)).toBeUndefined()
  expect(await removeOrphans(table, DAY)).toEqual(add.map(({ path }) => path))
})

test('a place for rows that are only compared is swept when its process was killed', async () => {
  const clock = steppedClock(Date.now())
  const lake = await openLake({ clock })
  const [kept, gone] = [await scratchPlace(lake), await scratchPlace(lake)]
  for (const { directory } of [kept, gone]) await writeFile(join(directory, 'a.parquet'), 'x')
  await gone.remove()
  expect(await sweepScratch(lake, DAY)).toBe(0)
  clock.step(DAY + 60_000)
  expect(await sweepScratch(lake, DAY)).toBe(1)
  await expect(stat(kept.directory)).rejects.toMatchObject({ code: 'ENOENT' })
})

function byPath(a: { path: string }, b: { path: string }): number {
  return a.path < b.path ? -1 : 1
}

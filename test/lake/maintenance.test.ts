import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { planCompaction } from '../../src/lake/compact.ts'
import type { DataFile } from '../../src/lake/data-file.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { removeOrphans } from '../../src/lake/orphans.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { collected } from './support/home.ts'
import { append, openDuckdb, query, relation, writeFiles } from './support/duckdb.ts'
import {
  appendImaginary,
  imaginaryFile,
  livePaths,
  openLake,
  steppedClock,
  newRoot,
  writeStored,
} from './support/lake.ts'

const ID = { namespace: 'a', name: 'b' }
const FIELDS = fieldsOf({ id: t.long() })
const DAY = 86_400_000

async function filesIn(table: LakeTable, part: string): Promise<string[]> {
  const found = await collected(table.context.store.files(`${table.location}/${part}`))
  return found.map(({ location }) => location)
}

describe('expiry', () => {
  test('keeps the newest, the young and every ref, and deletes what only the others needed', async () => {
    const clock = steppedClock()
    const table = await (await openLake({ clock })).create(ID, { fields: FIELDS })
    const duckdb = await openDuckdb()
    const [first] = await append(duckdb, table, 'SELECT 1::BIGINT AS id')
    const branched = await table.commit({
      operation: 'append',
      add: await writeFiles(duckdb, table, 'SELECT 9::BIGINT AS id'),
      remove: [],
      summary: {},
      ref: 'old-branch',
    })
    const [second] = await append(duckdb, table, 'SELECT 2::BIGINT AS id')
    clock.step(DAY)
    const [merged] = await writeFiles(duckdb, table, 'SELECT unnest([1, 2])::BIGINT AS id')
    await table.commit({ operation: 'replace', add: [merged!], remove: [first!.path, second!.path], summary: {} })
    const [dropped] = await writeFiles(duckdb, table, 'SELECT 7::BIGINT AS id')
    await table.commit({ operation: 'append', add: [dropped!], remove: [], summary: {}, ref: 'failed' })
    await table.setRef('failed', undefined)
    clock.step(DAY)
    await append(duckdb, table, 'SELECT 3::BIGINT AS id')

    const expired = await expireSnapshots(table, { keepLast: 1, maxAgeMs: DAY / 2 })
    // The branch needs the first file, nobody the second and the failed candidate's.
    expect(expired.snapshots).toBe(4)
    expect(table.history().map((snapshot) => snapshot.operation)).toEqual(['append'])
    expect(table.history('old-branch').map((snapshot) => snapshot.id)).toEqual([branched.id])
    const left = await filesIn(table, 'data')
    expect(left).not.toContain(second!.path)
    expect(left).not.toContain(dropped!.path)
    expect(left.sort()).toEqual(
      [...new Set([...(await livePaths(table)), ...(await livePaths(table, 'old-branch'))])].sort(),
    )
    expect(await query(duckdb, `SELECT * FROM ${await relation(table)} ORDER BY id`)).toEqual(
      ['1', '2', '3'].map((id) => ({ id })),
    )
    expect(
      table.view.metadata['snapshot-log']!.every((entry) => table.snapshot(entry['snapshot-id']) !== undefined),
    ).toBe(true)
    expect(await expireSnapshots(table, { keepLast: 1, maxAgeMs: DAY / 2 })).toEqual({ snapshots: 0, files: 0 })

    await table.setRef('old-branch', undefined)
    await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
    expect((await filesIn(table, 'data')).sort()).toEqual(await livePaths(table))
    // What is left of the metadata is what the last snapshot and the kept versions need.
    const manifests = await table.context.manifests.list(table.view.metadata.snapshots![0]!)
    expect((await filesIn(table, 'metadata')).filter((path) => path.endsWith('.avro')).sort()).toEqual(
      [...manifests.map((m) => m.path), table.view.metadata.snapshots![0]!['manifest-list']].sort(),
    )
  })

  test('keeps the newest record of a step, and everything since', async () => {
    const clock = steppedClock()
    const table = await (await openLake({ clock })).create(ID, { fields: FIELDS })
    for (const summary of [{ 'millrace.run': '1' }, { 'millrace.run': '2' }, {}, {}, {}]) {
      await appendImaginary(table, 1, summary)
      clock.step(DAY)
    }
    await expireSnapshots(table, { keepLast: 2, maxAgeMs: 0 })
    expect(table.history().map((snapshot) => snapshot.summary['millrace.run'])).toEqual([
      '2',
      undefined,
      undefined,
      undefined,
    ])
    expect(await livePaths(table)).toHaveLength(5)
  })

  test('makes changes since an expired snapshot untellable, not wrong', async () => {
    const clock = steppedClock()
    const table = await (await openLake({ clock })).create(ID, { fields: FIELDS })
    const first = await appendImaginary(table)
    const second = await appendImaginary(table)
    const third = await appendImaginary(table)
    clock.step(DAY)
    await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
    expect(await table.changes(first, third)).toBeUndefined()
    expect(await table.changes(undefined, third)).toBeUndefined()
    expect((await table.changes(second, third))!.added).toHaveLength(1)
  })
})

test('a commit goes on when another process compacted and expired what it was reading', async () => {
  const clock = steppedClock()
  const root = await newRoot()
  const table = await (await openLake({ root, clock })).create(ID, { fields: FIELDS })
  const file = imaginaryFile(table)
  await table.commit({ operation: 'append', add: [file], remove: [], summary: {} })
  const behind = (await (await openLake({ root, clock })).load(ID))!
  await table.commit({ operation: 'replace', add: [imaginaryFile(table)], remove: [file.path], summary: {} })
  clock.step(DAY)
  await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
  await appendImaginary(behind)
  expect(await livePaths(behind)).toHaveLength(2)
  const gone = behind.commit({ operation: 'delete', add: [], remove: [file.path], summary: {} })
  await expect(gone).rejects.toMatchObject({ code: 'file-not-live' })
})

test('orphans are files that nothing refers to and that are old', async () => {
  const clock = steppedClock(Date.now())
  const table = await (await openLake({ clock })).create(ID, { fields: FIELDS })
  const duckdb = await openDuckdb()
  await append(duckdb, table, 'SELECT 1::BIGINT AS id')
  const orphans = [
    'data/left.parquet',
    'data/p=1/left.parquet',
    'metadata/abc-m0.avro',
    'metadata/abc.metadata.json.tmp',
  ].map((name) => `${table.location}/${name}`)
  for (const path of orphans) await writeStored(path, 'x')
  // Some stores tell the time in whole seconds.
  await systemClock.sleep(2100)
  clock.step(Date.now() - 1000 + DAY - clock.now())
  await writeFiles(duckdb, table, 'SELECT 2::BIGINT AS id')
  const before = new Set([...(await filesIn(table, 'data')), ...(await filesIn(table, 'metadata'))])
  const deleted = await removeOrphans(table, DAY)
  expect(deleted.sort()).toEqual(orphans.sort())
  // The file of an open commit is young. In two days it is an orphan; what the table needs is not.
  clock.step(2 * DAY)
  expect(await removeOrphans(table, DAY)).toHaveLength(1)
  expect((await filesIn(table, 'data')).sort()).toEqual(await livePaths(table))
  expect((await filesIn(table, 'metadata')).every((path) => before.has(path))).toBe(true)
  expect(await query(duckdb, `SELECT * FROM ${await relation(table)}`)).toEqual([{ id: '1' }])
  await expect(removeOrphans(table, 1000)).rejects.toMatchObject({ code: 'bad-age' })
})

describe('compaction', () => {
  const file = (path: string, bytes: number, partition: DataFile['partition'] = []): DataFile => ({
    path,
    bytes,
    records: bytes,
    partition,
    columns: {},
  })

  test('groups small files by partition up to the target', () => {
    const files = [
      ...Array.from({ length: 10 }, (_, i) => file(`a${i}`, 10, ['x'])),
      file('big', 90, ['x']),
      file('lone', 5, ['y']),
      file('null', 5, [null]),
      file('text', 5, ['null']),
    ]
    const groups = planCompaction(files, { targetBytes: 50, minFiles: 2 })
    expect(groups.map((group) => [group.partition, group.files.length, group.bytes, group.records])).toEqual([
      [['x'], 5, 50, 50],
      [['x'], 5, 50, 50],
    ])
  })

  test('rewrites a row a bounded number of times, however many files arrive', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 100, maxLength: 400 }), (sizes) => {
        let live: DataFile[] = []
        let rewritten = 0
        for (const [i, bytes] of sizes.entries()) {
          live.push(file(`n${i}`, bytes))
          for (const group of planCompaction(live, { targetBytes: 1000, minFiles: 4 })) {
            rewritten += group.bytes
            live = [...live.filter((f) => !group.files.includes(f)), file(`c${i}`, group.bytes)]
          }
        }
        const total = sizes.reduce((a, b) => a + b, 0)
        expect(live.reduce((sum, f) => sum + f.bytes, 0)).toBe(total)
        expect(rewritten / total).toBeLessThan(Math.log2(1000) + 1)
        expect(live.length).toBeLessThan(total / 375 + 30)
      }),
      { numRuns: 30 },
    )
  })

  test('of a table keeps its rows, and leaves changes as they were', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const duckdb = await openDuckdb()
    for (let i = 0; i < 8; i++) await append(duckdb, table, `SELECT ${i}::BIGINT AS id`)
    const before = table.snapshot()!
    const [group] = planCompaction(await table.files(before), { targetBytes: 1e6, minFiles: 2 })
    const rows = `SELECT * FROM ${await relation(table)}`
    const add = await writeFiles(duckdb, table, rows)
    await table.commit({ operation: 'replace', add, remove: group!.files.map((f) => f.path), summary: {} })
    expect(await livePaths(table)).toEqual(add.map((f) => f.path))
    expect(await query(duckdb, `SELECT count(*) AS n FROM ${await relation(table)}`)).toEqual([{ n: '8' }])
    expect(await table.changes(before, table.snapshot()!)).toEqual({ added: [], removed: [] })
  })
})

test('manifests of removed files go with them', async () => {
  const table = await (await openLake()).create(ID, { fields: FIELDS })
  const files = Array.from({ length: 25 }, () => imaginaryFile(table))
  for (const add of files) await table.commit({ operation: 'append', add: [add], remove: [], summary: {} })
  await table.commit({ operation: 'delete', add: [], remove: files.map((f) => f.path), summary: {} })
  expect(await livePaths(table)).toEqual([])
  expect((await table.changes(table.history()[24], table.snapshot()!))!.removed).toHaveLength(25)
  await appendImaginary(table)
  expect(await table.context.manifests.list(table.view.metadata.snapshots!.at(-1)!)).toHaveLength(1)
})

import { describe, expect, test } from 'vitest'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { appendImaginary, imaginaryFile, livePaths, openLake, steppedClock, newRoot } from './support/lake.ts'

const ID = { namespace: 'curated', name: 'sales' }
const FIELDS = fieldsOf({ id: t.long(), name: t.string().nullable(), extra: t.json().nullable() })

describe('a lake', () => {
  test('creates, lists, loads and drops tables', async () => {
    const root = await newRoot()
    const lake = await openLake({ root })
    const table = await lake.create(ID, { fields: FIELDS, properties: { comment: 'ours' } })
    expect(table.location).toBe(`${root}/curated/sales`)
    expect(table.fields.map(({ id, name, type }) => [id, name, type.kind])).toEqual([
      [1, 'id', 'long'],
      [2, 'name', 'string'],
      [3, 'extra', 'json'],
    ])
    expect(table.properties['comment']).toBe('ours')
    expect(table.snapshot()).toBeUndefined()
    expect(await lake.load(ID)).toBe(table)
    expect(await lake.list()).toEqual([ID])
    expect(await (await openLake({ root })).load(ID)).toMatchObject({
      fields: table.fields,
      properties: table.properties,
    })

    await lake.drop(ID)
    expect(await lake.list()).toEqual([])
    expect(await lake.load(ID)).toBeUndefined()
    await expect(appendImaginary(table)).rejects.toMatchObject({ code: 'no-such-table' })
    await expect(lake.drop(ID)).rejects.toMatchObject({ code: 'no-such-table' })
    expect(await lake.create(ID, { fields: FIELDS })).not.toBe(table)
  })

  test('refuses a second table of a name, and names that are no names', async () => {
    const lake = await openLake()
    await lake.create(ID, { fields: FIELDS })
    await expect(lake.create(ID, { fields: FIELDS })).rejects.toMatchObject({ kind: 'conflict', code: 'table-exists' })
    for (const name of ['', '..', 'a/b', '.hidden', 'x'.repeat(201)]) {
      await expect(lake.create({ namespace: 'a', name }, { fields: FIELDS })).rejects.toMatchObject({
        code: 'bad-name',
      })
    }
  })

  test('loads a table once, however many ask at the same time', async () => {
    const root = await newRoot()
    await (await openLake({ root })).create(ID, { fields: FIELDS })
    const lake = await openLake({ root })
    const loaded = await Promise.all([lake.load(ID), lake.load(ID), lake.load(ID)])
    expect(new Set(loaded).size).toBe(1)
  })

  test('notices that another process dropped a table, or made it anew', async () => {
    const root = await newRoot()
    const ours = await openLake({ root })
    const theirs = await openLake({ root })
    const table = await ours.create(ID, { fields: FIELDS })
    await appendImaginary(table)
    await theirs.drop(ID)
    await expect(table.refresh()).rejects.toMatchObject({ code: 'no-such-table' })
    expect(await ours.load(ID)).toBeUndefined()

    const again = await theirs.create(ID, { fields: FIELDS })
    const seen = (await ours.load(ID))!
    expect(seen.snapshot()).toBeUndefined()
    await theirs.drop(ID)
    const third = await theirs.create(ID, { fields: FIELDS })
    for (let i = 0; i < 3; i++) await appendImaginary(third)
    await expect(appendImaginary(seen)).rejects.toMatchObject({ code: 'no-such-table' })
    await expect(appendImaginary(again)).rejects.toMatchObject({ code: 'no-such-table' })
    expect(await livePaths((await ours.load(ID))!)).toHaveLength(3)
  })
})

describe('commits', () => {
  test('append, overwrite, delete and replace, and keep Iceberg’s totals', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const [a, b, c, d] = [2, 3, 5, 5].map((records) => imaginaryFile(table, records)) as [File, File, File, File]
    const first = await table.commit({
      operation: 'append',
      add: [a, b],
      remove: [],
      summary: { 'millrace.run': 'r1' },
    })
    expect(first).toMatchObject({ sequenceNumber: 1n, operation: 'append', schemaId: 0 })
    expect(first.summary).toEqual({
      'millrace.run': 'r1',
      'added-data-files': '2',
      'added-records': '5',
      'added-files-size': '500',
      'changed-partition-count': '1',
      'total-records': '5',
      'total-data-files': '2',
      'total-files-size': '500',
      'total-delete-files': '0',
      'total-position-deletes': '0',
      'total-equality-deletes': '0',
    })
    const second = await table.commit({ operation: 'overwrite', add: [c], remove: [a.path], summary: {} })
    expect(second.parentId).toBe(first.id)
    expect(second.summary).toMatchObject({
      'deleted-data-files': '1',
      'removed-files-size': '200',
      'total-records': '8',
      'total-files-size': '800',
    })
    await table.commit({ operation: 'replace', add: [d], remove: [c.path], summary: {} })
    const last = await table.commit({ operation: 'delete', add: [], remove: [b.path], summary: {} })
    expect(last.summary).toMatchObject({ 'total-records': '5', 'total-data-files': '1', 'total-files-size': '500' })
    expect(await livePaths(table)).toEqual([d.path])
    expect(await livePaths(table, first.id)).toEqual([a.path, b.path].sort())
    expect(table.history().map((snapshot) => snapshot.operation)).toEqual(['append', 'overwrite', 'replace', 'delete'])
  })

  test('refuse to remove what is not live, so that compaction brings no row back', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const file = imaginaryFile(table)
    await table.commit({ operation: 'append', add: [file], remove: [], summary: {} })
    await table.commit({ operation: 'delete', add: [], remove: [file.path], summary: {} })
    const stale = table.commit({ operation: 'replace', add: [imaginaryFile(table)], remove: [file.path], summary: {} })
    await expect(stale).rejects.toMatchObject({ kind: 'conflict', code: 'file-not-live' })
    expect(await livePaths(table)).toEqual([])
  })

  test('check the expected parent', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const add = [imaginaryFile(table)]
    const change = { operation: 'append', add, remove: [], summary: {} } as const
    await expect(table.commit({ ...change, parent: 7n })).rejects.toMatchObject({ kind: 'conflict', code: 'moved' })
    const first = await table.commit({ ...change, parent: null })
    await expect(table.commit({ ...change, parent: null })).rejects.toMatchObject({ code: 'moved' })
    await table.commit({ ...change, add: [imaginaryFile(table)], parent: first.id })
  })

  test('refuse a compaction that changes the number of rows', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const file = imaginaryFile(table, 3)
    await table.commit({ operation: 'append', add: [file], remove: [], summary: {} })
    const lossy = table.commit({
      operation: 'replace',
      add: [imaginaryFile(table, 2)],
      remove: [file.path],
      summary: {},
    })
    await expect(lossy).rejects.toMatchObject({ kind: 'internal' })
  })

  test('fsync data files and refuse those that are not there', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const missing = { ...imaginaryFile(table), path: `${table.location}/data/none.parquet`, synced: false }
    await expect(table.commit({ operation: 'append', add: [missing], remove: [], summary: {} })).rejects.toMatchObject({
      code: 'not-found',
    })
    expect(table.snapshot()).toBeUndefined()
  })

  test('never go back in time, even when the clock does', async () => {
    const clock = steppedClock()
    const table = await (await openLake({ clock })).create(ID, { fields: FIELDS })
    const first = await appendImaginary(table)
    clock.step(-60_000)
    expect((await appendImaginary(table)).timestampMs).toBeGreaterThanOrEqual(first.timestampMs)
  })
})

describe('branches', () => {
  test('hold a snapshot back from readers until it is published', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const main = await appendImaginary(table)
    const add = [imaginaryFile(table)]
    const candidate = await table.commit({ operation: 'append', add, remove: [], summary: {}, ref: 'candidate' })
    expect(candidate.parentId).toBe(main.id)
    expect(table.snapshot()!.id).toBe(main.id)
    expect(table.snapshot('candidate')!.id).toBe(candidate.id)
    expect(await livePaths(table)).toHaveLength(1)
    expect(await livePaths(table, 'candidate')).toHaveLength(2)

    await expect(table.setRef('main', candidate.id, candidate.id)).rejects.toMatchObject({ code: 'moved' })
    await table.setRef('main', candidate.id, main.id)
    await table.setRef('candidate', undefined)
    expect(table.snapshot()!.id).toBe(candidate.id)
    expect(table.refs).toEqual({ main: candidate.id })
    await expect(table.setRef('main', 12345n)).rejects.toMatchObject({ code: 'no-such-snapshot' })
  })

  test('may come before main has a snapshot', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const add = [imaginaryFile(table)]
    const candidate = await table.commit({ operation: 'append', add, remove: [], summary: {}, ref: 'candidate' })
    expect(table.snapshot()).toBeUndefined()
    await table.setRef('main', candidate.id)
    expect(await livePaths(table)).toEqual(add.map((file) => file.path))
    await table.setRef('main', undefined)
    expect(table.snapshot()).toBeUndefined()
  })
})

describe('changes', () => {
  test('tell what came and went, whatever was compacted in between', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    const [a, b, c, merged, d] = [1, 1, 1, 2, 4].map((records) => imaginaryFile(table, records)) as [
      File,
      File,
      File,
      File,
      File,
    ]
    const commit = (operation: 'append' | 'overwrite' | 'replace', add: File[], remove: File[]) =>
      table.commit({ operation, add, remove: remove.map((file) => file.path), summary: {} })
    const first = await commit('append', [a], [])
    const second = await commit('append', [b, c], [])
    const third = await commit('replace', [merged], [a, b])
    const fourth = await commit('overwrite', [d], [c])

    const paths = async (from: typeof first | undefined, to: typeof first) => {
      const changes = await table.changes(from, to)
      return changes && [changes.added.map((f) => f.path), changes.removed.map((f) => f.path)]
    }
    expect(await paths(first, first)).toEqual([[], []])
    expect(await paths(first, second)).toEqual([[b.path, c.path], []])
    expect(await paths(second, third)).toEqual([[], []])
    expect(await paths(first, fourth)).toEqual([[b.path, d.path], []])
    expect(await paths(second, fourth)).toEqual([[d.path], [c.path]])
    expect(await paths(undefined, fourth)).toEqual([[a.path, b.path, d.path], []])
    // Not an ancestor: it cannot be told.
    expect(await paths(fourth, second)).toBeUndefined()
  })
})

describe('metadata', () => {
  test('stays small over thousands of commits', async () => {
    const table = await (await openLake()).create(ID, { fields: FIELDS })
    for (let i = 0; i < 300; i++) await appendImaginary(table)
    const manifests = await table.context.manifests.list(table.view.metadata.snapshots!.at(-1)!)
    expect(manifests.length).toBeLessThan(30)
    expect(await livePaths(table)).toHaveLength(300)
    const names = await table.context.store.names(`${table.location}/metadata`)
    expect(names.filter((name) => /^v\d+\.metadata\.json$/.test(name)).length).toBeLessThanOrEqual(22)
    expect(table.view.metadata['metadata-log']!.length).toBeLessThanOrEqual(20)
    expect(names.filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('of a process that fell asleep does not take the place of a deleted version', async () => {
    const root = await newRoot()
    const awake = await (await openLake({ root })).create(ID, { fields: FIELDS })
    const asleep = (await (await openLake({ root })).load(ID))!
    // Long enough for version 2, which `asleep` would write next, to be deleted.
    for (let i = 0; i < 40; i++) await appendImaginary(awake)
    await appendImaginary(asleep)
    expect(await livePaths(asleep)).toHaveLength(41)
    await awake.refresh()
    expect(await livePaths(awake)).toHaveLength(41)
  })
})

test('a snapshot without a record of its own has that of the newest step below it', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: FIELDS })
  await appendImaginary(table, 1, { 'millrace.offsets': '[1]', other: 'x' })
  await appendImaginary(table, 1, { 'millrace.offsets': '[2]' })
  const elsewhere = (await (await openLake({ root })).load(ID))!
  await appendImaginary(elsewhere, 1)
  await table.refresh()
  expect(table.snapshot()!.summary).toMatchObject({ 'millrace.offsets': '[2]', 'total-records': '3' })
  expect(table.snapshot()!.summary).not.toHaveProperty('other')
})

test('properties are set and removed', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: FIELDS })
  await table.setProperties({ a: '1', b: '2' })
  const { metadataPath } = table
  await table.setProperties({ a: '1' })
  expect(table.metadataPath).toBe(metadataPath)
  await table.setProperties({ a: undefined })
  expect((await (await openLake({ root })).load(ID))!.properties).toMatchObject({ b: '2' })
  expect(table.properties).not.toHaveProperty('a')
})

type File = ReturnType<typeof imaginaryFile>

// Metadata as files that are their own catalog: docs/formats/lake.md.
import { expect, test } from 'vitest'
import { parseJson } from '../../src/lake/json.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { appendImaginary, livePaths, newRoot, openLake, readStored, removeStored, writeStored } from './support/lake.ts'

const ID = { namespace: 'curated', name: 'sales' }
const FIELDS = fieldsOf({ id: t.long(), name: t.string().nullable(), extra: t.json().nullable() })

test('says when a table was moved', async () => {
  const root = await newRoot()
  const lake = await openLake({ root })
  const table = await lake.create(ID, { fields: FIELDS })
  const text = (await readStored(table.metadataPath)).toString()
  await writeStored(table.metadataPath, text.replaceAll(root, '/elsewhere'))
  await expect((await openLake({ root })).load(ID)).rejects.toMatchObject({
    code: 'table-moved',
    hint: expect.stringContaining('/elsewhere'),
  })
})

test('keeps 64-bit ids of other writers exact', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: FIELDS })
  await appendImaginary(table)
  const id = 9007199254740993n
  const text = (await readStored(table.metadataPath)).toString()
  await writeStored(table.metadataPath, text.replaceAll(`:${table.snapshot()!.id}`, `:${id}`))
  const other = (await (await openLake({ root })).load(ID))!
  expect(other.snapshot()!.id).toBe(id)
  await appendImaginary(other)
  expect(other.snapshot()!.parentId).toBe(id)
  expect((await readStored(other.metadataPath)).toString()).toContain(`"parent-snapshot-id":${id}`)
  expect(parseJson('{"n": 12345678901234567890, "snapshot-id": 5, "x": 1e3}')).toEqual({
    n: 12345678901234567890n,
    'snapshot-id': 5n,
    x: 1000,
  })
})

test('is found without its hint, and behind a lagging one', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: FIELDS })
  for (let i = 0; i < 30; i++) await appendImaginary(table)
  const hint = `${table.location}/metadata/version-hint.text`
  expect((await readStored(hint)).toString()).toBe('31')
  const seen = async () => (await (await openLake({ root })).load(ID))!.snapshot()!.id
  for (const text of ['25', '3', 'garbage', '']) {
    await writeStored(hint, text)
    expect(await seen()).toBe(table.snapshot()!.id)
  }
  await removeStored(hint)
  expect(await seen()).toBe(table.snapshot()!.id)
})

test('that is damaged is reported with its path', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: FIELDS })
  await appendImaginary(table)
  const [manifest] = await table.context.manifests.list(table.view.metadata.snapshots![0]!)
  const bytes = await readStored(manifest!.path)
  await writeStored(manifest!.path, bytes.subarray(0, bytes.length - 20))
  const other = (await (await openLake({ root })).load(ID))!
  await expect(livePaths(other)).rejects.toMatchObject({
    kind: 'corrupt',
    code: 'bad-avro',
    context: { path: manifest!.path },
  })
  await removeStored(manifest!.path)
  await expect(livePaths(other)).rejects.toMatchObject({ kind: 'corrupt', code: 'file-missing' })
  await writeStored(table.metadataPath, '{"format-version": 2')
  await expect((await openLake({ root })).load(ID)).rejects.toMatchObject({ kind: 'corrupt', code: 'bad-metadata' })
})

// What a commit of unknown outcome came to, told from the metadata that is there afterwards.
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { type TableMetadata, parseMetadata } from '../../src/lake/metadata.ts'
import { isDone } from '../../src/lake/remote/difference.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { appendImaginary, openLake } from './support/lake.ts'

test('a snapshot is there, or another has its number; once both may have been expired nobody can tell', async () => {
  const table = await (
    await openLake()
  ).create({ namespace: 'curated', name: 'sales' }, { fields: fieldsOf({ id: t.long() }) })
  const versions: TableMetadata[] = []
  const keep = async () => {
    const path = `${table.location}/metadata/v${versions.length + 1}.metadata.json`
    versions.push(parseMetadata(await readFile(path, 'utf8'), path))
    return versions.at(-1)!
  }
  const base = await keep()
  await appendImaginary(table, 1)
  const ours = await keep()
  await appendImaginary(table, 1)
  const later = await keep()
  expect(isDone(base, ours, base)).toBe(false)
  expect(isDone(base, ours, ours)).toBe(true)
  expect(isDone(base, ours, later)).toBe(true)
  // Somebody else was quicker.
  const others = ours.snapshots!.map((snapshot) => ({ ...snapshot, 'snapshot-id': snapshot['snapshot-id'] + 1n }))
  expect(isDone(base, { ...ours, snapshots: others }, later)).toBe(false)
  await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
  const expired = await keep()
  expect(expired.snapshots).toHaveLength(1)
  expect(isDone(base, ours, expired)).toBeUndefined()
})

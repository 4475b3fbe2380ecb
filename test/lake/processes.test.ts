import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { livePaths, openLake, newRoot } from './support/lake.ts'

const ID = { namespace: 'a', name: 'b' }

test('processes that commit to one table lose nothing of each other', async () => {
  const root = await newRoot()
  const table = await (await openLake({ root })).create(ID, { fields: fieldsOf({ id: t.long() }) })
  const run = async (name: string): Promise<string[]> => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(import.meta.dirname, 'committer.ts'),
      root,
      name,
      '60',
    ])
    return stdout.trim().split('\n')
  }
  const committed = (await Promise.all(['left', 'right'].map(run))).flat()
  await table.refresh()
  expect(await livePaths(table)).toEqual(committed.sort())
  expect(table.history()).toHaveLength(120)
  expect(table.snapshot()!.sequenceNumber).toBe(120n)
  expect(table.snapshot()!.summary['total-data-files']).toBe('120')
})

test('two creators of one table: one wins', async () => {
  const root = await newRoot()
  const create = async () => (await openLake({ root })).create(ID, { fields: fieldsOf({ id: t.long() }) })
  const results = await Promise.allSettled([create(), create(), create()])
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
})

import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MillraceError } from '../../../src/base/errors.ts'
import { expireSnapshots } from '../../../src/lake/expire.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { S3Store } from '../../../src/lake/s3-store.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import { fieldsOf, t } from '../../../src/project/columns.ts'
import { s3Config, s3Home, storeOptions } from '../../lake/support/home.ts'
import { livePaths, newRoot, useHome } from '../../lake/support/lake.ts'
import { bucket } from './bucket.ts'
import { FaultyProxy } from './faulty-proxy.ts'
import type { Fault } from './faulty-proxy.ts'

const name = await bucket()
const home = await s3Home(name)
useHome(home)
const ID = { namespace: 'a', name: 'b' }
const FAULTS: readonly Fault[] = ['refused', '500 after', 'cut', 'cut within', 'slow']

/** A generator of its own for each seed: the same faults for the same requests in the same order. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

async function openThrough(proxy: FaultyProxy, root: string, patienceMs: number): Promise<Lake> {
  const { config, ...options } = await storeOptions(root)
  return new Lake({
    store: await S3Store.open({ ...options, config: { ...config, endpoint: proxy.url }, patienceMs, requestMs: 700 }),
  })
}

/** Appends a file with content of its own; through the local copy, as an engine does. */
async function appendFile(table: LakeTable, file: string): Promise<void> {
  const path = `${table.location}/data/${file}.parquet`
  await writeFile(table.local.pathOf(path), randomBytes(1000))
  const add = [{ path, records: 1, bytes: 1000, partition: [], columns: {} }]
  await table.commit({ operation: 'append', add, remove: [], summary: {} })
}

test.each([1, 2, 3])(
  'a store that fails a third of all requests loses nothing and doubles nothing (seed %i)',
  async (seed) => {
    const proxy = await FaultyProxy.open(s3Config(name).endpoint)
    try {
      proxy.slowMs = 1000
      const root = await newRoot()
      const table = await (await home.open(root)).create(ID, { fields: fieldsOf({ id: t.long() }) })
      const lakes = [await openThrough(proxy, root, 60_000), await openThrough(proxy, root, 60_000)]
      const random = chance(seed)
      proxy.fault = () => (random() < 0.33 ? FAULTS[Math.floor(random() * FAULTS.length)]! : 'none')
      await Promise.all(
        lakes.map(async (lake, k) => {
          const own = (await lake.load(ID))!
          for (let i = 0; i < 8; i++) await appendFile(own, `${k}-${i}`)
          await expireSnapshots(own, { keepLast: 4, maxAgeMs: 0 })
        }),
      )
      proxy.fault = () => 'none'
      await table.refresh()
      const expected = [0, 1].flatMap((k) =>
        Array.from({ length: 8 }, (_, i) => `${table.location}/data/${k}-${i}.parquet`),
      )
      expect(await livePaths(table)).toEqual(expected.sort())
      expect(table.snapshot()!.summary['total-records']).toBe('16')
      expect(table.snapshot()!.sequenceNumber).toBe(16n)
      for (const path of expected) expect((await home.read(path)).length).toBe(1000)
      expect([...proxy.seen.keys()].sort()).toEqual(['none', ...FAULTS].sort())
    } finally {
      await proxy.close()
    }
  },
)

test('a store that goes away in any request of a commit: what was acknowledged is there, and an error that does not say otherwise means that nothing was', async () => {
  for (let at = 1; ; at++) {
    const proxy = await FaultyProxy.open(s3Config(name).endpoint)
    const root = await newRoot()
    const table = await (await home.open(root)).create(ID, { fields: fieldsOf({ id: t.long() }) })
    const own = (await (await openThrough(proxy, root, 200)).load(ID))!
    let count = 0
    proxy.fault = () => (++count < at ? 'none' : count === at ? '500 after' : 'refused')
    const error = await appendFile(own, 'one').then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    await table.refresh()
    const found = await livePaths(table)
    if (error === undefined) expect(found, String(at)).toHaveLength(1)
    else if (!(error instanceof MillraceError && error.code === 'commit-unknown')) expect(found, String(at)).toEqual([])
    await proxy.close()
    if (count < at) break
  }
})

test('files read at once stay, others go when the cache is full, and too many are refused', async () => {
  const root = await newRoot()
  const options = await storeOptions(root)
  const store = await S3Store.open({ ...options, config: { ...options.config, cacheBytes: 3500 } })
  const table = await new Lake({ store }).create(ID, { fields: fieldsOf({ id: t.long() }) })
  for (let i = 0; i < 5; i++) await appendFile(table, String(i))
  const files = await table.files(table.snapshot()!)
  const here = async () =>
    (await Promise.all(files.map(({ path }) => options.disk.stat(table.local.pathOf(path))))).filter(Boolean).length
  expect(await here()).toBe(3)
  const hold = table.local.hold()
  await hold.add(files.slice(0, 3))
  await hold.add(files.slice(0, 2))
  expect(await here()).toBe(3)
  await expect(table.local.hold().add(files.slice(3))).rejects.toMatchObject({
    kind: 'unavailable',
    code: 'cache-full',
    hint: expect.stringContaining('cacheBytes'),
  })
  hold.release()
  const other = table.local.hold()
  await Promise.all([other.add(files.slice(2)), other.add(files.slice(3))])
  for (const { path } of files.slice(2)) expect(await options.disk.stat(table.local.pathOf(path))).toBeDefined()
  other.release()
  // What is not uploaded is never removed to make room.
  const open = `${table.location}/data/open.parquet`
  await writeFile(table.local.pathOf(open), randomBytes(5000))
  const reads = table.local.hold()
  await reads.add([{ path: open }, ...files.slice(0, 3)])
  reads.release()
  expect(await options.disk.stat(table.local.pathOf(open))).toBeDefined()
  expect(await here()).toBeLessThanOrEqual(3)
  await options.disk.removeTree(join(options.cacheDirectory))
})

// A catalog whose answers are lost: what was acknowledged is there, once, and nothing else is.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { MillraceError } from '../../../src/base/errors.ts'
import { expireSnapshots } from '../../../src/lake/expire.ts'
import type { Lake } from '../../../src/lake/lake.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import { fieldsOf, t } from '../../../src/project/columns.ts'
import { folder } from '../../cli/support.ts'
import { namespaceOf, openRemote } from '../../lake/support/catalog-home.ts'
import { diskHome } from '../../lake/support/home.ts'
import { livePaths, newRoot, useHome } from '../../lake/support/lake.ts'
import { FaultyProxy } from '../s3/faulty-proxy.ts'
import type { Fault } from '../s3/faulty-proxy.ts'
import { startJavaCatalog } from './java-catalog.ts'

const place = folder()
const server = await startJavaCatalog(place, join(place, 'warehouse'))
afterAll(() => server.stop())
useHome(diskHome)

const ID = { namespace: 'a', name: 'b' }
const FIELDS = fieldsOf({ id: t.long() })
const FAULTS: readonly Fault[] = ['refused', '500 after', 'cut', 'cut within', 'slow']

let root: string
let proxy: FaultyProxy

beforeEach(async () => {
  root = await newRoot()
  proxy = await FaultyProxy.open(server.uri)
  proxy.slowMs = 500
  onTestFinished(() => proxy.close())
})

const direct = (): Promise<Lake> => openRemote(root, { uri: server.uri, namespace: namespaceOf(root) })
const through = (patienceMs = 60_000): Promise<Lake> =>
  openRemote(root, { uri: proxy.url, namespace: namespaceOf(root) }, { patienceMs, requestMs: 400 })

async function appendFile(table: LakeTable, file: string, ref = 'main'): Promise<void> {
  const path = `${table.location}/data/${file}.parquet`
  await writeFile(path, file)
  const add = [{ path, records: 1, bytes: file.length, partition: [], columns: {} }]
  await table.commit({ operation: 'append', add, remove: [], summary: {}, ref })
}

/** As one has to whose commit may be there or not, because its snapshot has been expired by the other since: looks for what it is about. */
async function appendOnce(table: LakeTable, file: string): Promise<void> {
  try {
    await appendFile(table, file)
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'commit-unknown') throw error
    await table.refresh()
    const isThere = (await livePaths(table)).includes(`${table.location}/data/${file}.parquet`)
    if (!isThere) await appendOnce(table, file)
  }
}

/** A generator of its own for each seed: the same faults for the same requests in the same order. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

test.each([1, 2])(
  'two writers and a third of all answers lost: nothing lost, nothing twice (seed %i)',
  async (seed) => {
    const table = await (await direct()).create(ID, { fields: FIELDS })
    const lakes = [await through(), await through()]
    const random = chance(seed)
    proxy.fault = () => (random() < 0.33 ? FAULTS[Math.floor(random() * FAULTS.length)]! : 'none')
    await Promise.all(
      lakes.map(async (lake, k) => {
        const own = (await lake.load(ID))!
        for (let i = 0; i < 8; i++) await appendOnce(own, `${k}-${i}`)
        await expireSnapshots(own, { keepLast: 4, maxAgeMs: 0 })
      }),
    )
    proxy.fault = () => 'none'
    await table.refresh()
    const names = [0, 1].flatMap((k) => Array.from({ length: 8 }, (_, i) => `${k}-${i}`))
    expect(await livePaths(table)).toEqual(names.map((name) => `${table.location}/data/${name}.parquet`).sort())
    expect(table.snapshot()!.summary['total-records']).toBe('16')
    expect(table.snapshot()!.sequenceNumber).toBe(16n)
    expect([...proxy.seen.keys()].sort()).toEqual(['none', ...FAULTS].sort())
  },
)

test.each(['500 after', 'cut', 'cut within', 'refused', 'slow'] as const)(
  'a catalog that goes away in any request of a commit (%s)',
  async (fault) => {
    const table = await (await direct()).create(ID, { fields: FIELDS })
    for (let at = 1; ; at++) {
      const own = (await (await through(300)).load(ID))!
      const before = await livePaths(own)
      let count = 0
      proxy.fault = () => (++count < at ? 'none' : count === at ? fault : 'refused')
      const error: unknown = await appendFile(own, `${fault.replace(' ', '-')}-${at}`)
        .then(() => undefined)
        .catch((thrown: unknown) => thrown)
      proxy.fault = () => 'none'
      await table.refresh()
      const added = (await livePaths(table)).length - before.length
      if (error === undefined) expect(added, String(at)).toBe(1)
      else if (error instanceof MillraceError && error.code === 'commit-unknown') expect([0, 1]).toContain(added)
      else expect([added, (error as MillraceError).code], String(at)).toEqual([0, 'catalog-unavailable'])
      if (count < at) break
    }
  },
)

test.each(['500 after', 'cut', 'cut within', 'slow'] as const)(
  'whatever a table is told to do, an answer that is lost (%s) changes nothing of it',
  async (fault) => {
    const lake = await through()
    // Every second request that changes something.
    let changes = 0
    proxy.fault = ({ method }) => (method !== 'GET' && ++changes % 2 === 1 ? fault : 'none')
    const table = await lake.create(ID, { fields: FIELDS, properties: { a: '1' } })
    await appendFile(table, 'one')
    await appendFile(table, 'two', 'candidate')
    await table.setRef('main', table.snapshot('candidate')!.id, table.snapshot()!.id)
    await table.setRef('candidate', undefined)
    await table.setProperties({ a: undefined, b: '2' })
    await table.evolve(fieldsOf({ id: t.long(), more: t.string().nullable() }))
    await appendFile(table, 'three')
    expect(await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })).toMatchObject({ snapshots: 2 })
    const seen = (await (await direct()).load(ID))!
    expect(await livePaths(seen)).toHaveLength(3)
    expect(seen.history()).toHaveLength(1)
    expect(Object.keys(seen.refs)).toEqual(['main'])
    expect(seen.fields.map(({ id, name }) => [id, name])).toEqual([
      [1, 'id'],
      [2, 'more'],
    ])
    expect(seen.properties).toMatchObject({ b: '2' })
    expect(seen.properties).not.toHaveProperty('a')
    await lake.drop(ID)
    expect(await (await direct()).list()).toEqual([])
    expect(await diskHome.read(table.metadataPath).catch(() => 'gone')).toBe('gone')
  },
)

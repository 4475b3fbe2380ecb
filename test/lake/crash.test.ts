import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import type { DataFile } from '../../src/lake/data-file.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { Lake } from '../../src/lake/lake.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import type { Loss } from '../support/faulty-disk.ts'
import { LateFaultDisk } from './support/late-fault-disk.ts'
import { temporaryDirectory } from './support/lake.ts'

const ID = { namespace: 'a', name: 'b' }
const CONTENT = Buffer.from('the content of a data file')

/** What the client of a lake knows: the states it was told are durable, and the one it was not told about. */
interface Ledger {
  created: boolean
  /** Names of the live files after the last acknowledged step. */
  acknowledged: string[]
  /** Names after the step under way; as before when its error said that nothing was committed. */
  possible: string[]
  error?: unknown
}

type Step = (table: LakeTable, write: (name: string) => Promise<DataFile>) => Promise<unknown>

/** Steps, each with the files it leaves live. */
const STEPS: readonly (readonly [string[], Step])[] = [
  [
    ['one', 'two'],
    async (table, write) =>
      table.commit({ operation: 'append', add: [await write('one'), await write('two')], remove: [], summary: {} }),
  ],
  [
    ['three', 'two'],
    async (table, write) =>
      table.commit({ operation: 'overwrite', add: [await write('three')], remove: [path(table, 'one')], summary: {} }),
  ],
  [
    ['both'],
    async (table, write) =>
      table.commit({
        operation: 'replace',
        add: [{ ...(await write('both')), records: 2 }],
        remove: [path(table, 'three'), path(table, 'two')],
        summary: {},
      }),
  ],
  [['both'], (table) => expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })],
]

/** Creates a table and takes the steps, to the end or to the first error; `retry` goes on with the next step after one. */
async function scenario(root: string, disk: Disk, retry = false): Promise<Ledger> {
  const ledger: Ledger = { created: false, acknowledged: [], possible: [] }
  try {
    const table = await new Lake({ root, disk }).create(ID, {
      fields: fieldsOf({ id: t.long() }),
      properties: { 'write.metadata.previous-versions-max': '2' },
    })
    ledger.created = true
    for (const [names, step] of STEPS) {
      ledger.possible = names
      await step(table, (name) => writeData(disk, table, name)).catch(async (error: unknown) => {
        ledger.error = error
        if (!retry) throw error
        // The step before is known by looking; this one is taken once more if it is not there.
        await table.refresh()
        const isThere =
          table.snapshot()?.operation ===
          (['append', 'overwrite', 'replace'] as const)[STEPS.findIndex(([n]) => n === names)]
        if (!isThere) await step(table, (name) => writeData(disk, table, `${name}`))
      })
      ledger.acknowledged = names
    }
  } catch (error) {
    ledger.error ??= error
    if (!isUnknown(error) && ledger.created) ledger.possible = ledger.acknowledged
  }
  return ledger
}

function isUnknown(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'commit-unknown'
}

function path(table: LakeTable, name: string): string {
  return join(table.location, 'data', `${name}.parquet`)
}

/** Writes a file as DuckDB's COPY does: without fsync. */
async function writeData(disk: Disk, table: LakeTable, name: string): Promise<DataFile> {
  await disk.remove(path(table, name))
  const file = await disk.open(path(table, name), 'create')
  try {
    await file.write(CONTENT)
  } finally {
    await file.close()
  }
  return { path: path(table, name), records: 1, bytes: CONTENT.length, partition: [], columns: {} }
}

/** Opens the lake as a new process would, and says which files are live; each must be whole. */
async function look(root: string): Promise<string[] | undefined> {
  const lake = new Lake({ root })
  const table = await lake.load(ID)
  if (!table) return undefined
  for (const snapshot of table.history()) {
    for (const file of await table.files(snapshot))
      expect((await readFile(file.path)).equals(CONTENT), file.path).toBe(true)
  }
  const snapshot = table.snapshot()
  const files = snapshot ? await table.files(snapshot) : []
  // A table that can be read can also be written.
  await table.setProperties({ looked: 'yes' })
  return files.map((file) => file.path.slice(join(table.location, 'data/').length, -'.parquet'.length)).sort()
}

async function check(root: string, ledger: Ledger, where: string): Promise<void> {
  const found = await look(root)
  if (!ledger.created) {
    // Creation was under way: the table is there and empty, or not there.
    expect([undefined, []], where).toContainEqual(found)
    return
  }
  expect([ledger.acknowledged, ledger.possible], where).toContainEqual(found)
}

const LOSSES: readonly Loss[] = [
  { names: 0, bytes: 0 },
  { names: 1, bytes: 0 },
  { names: 0.5, lastNames: true, bytes: 0 },
  { names: 0.5, bytes: 0.5, zeros: 1 },
]

describe('whatever operation fails, the table keeps what was acknowledged and nothing by half', () => {
  test.each(LOSSES)('power is lost: %o', async (loss) => {
    let acknowledged = false
    for (let at = 1; !acknowledged; at++) {
      const root = join(await temporaryDirectory(), 'lake')
      const disk = new FaultyDisk(`${root}-limbo`, { at, error: 'EIO', torn: 0.5, lasting: true })
      const ledger = await scenario(root, disk)
      // What is in flight when the process dies may be committed.
      const inFlight = disk.crashed && ledger.created ? { ...ledger, possible: possibleAfter(ledger) } : ledger
      await disk.losePower(loss)
      await check(root, inFlight, `${disk.operations.length}: ${disk.operations.at(-1)}`)
      acknowledged = ledger.error === undefined
    }
  })

  test('the disk fails once: an error that does not say otherwise means that nothing was committed', async () => {
    for (let at = 1; ; at++) {
      const root = join(await temporaryDirectory(), 'lake')
      const disk = new FaultyDisk(`${root}-limbo`, { at, error: 'ENOSPC', torn: 0.5, lasting: false })
      const ledger = await scenario(root, disk)
      await check(root, ledger, `${at}: ${disk.operations[at - 1]}`)
      if (disk.operations.length < at) break
    }
  })

  test('the disk reports a failure of what it did: likewise', async () => {
    for (let at = 1; ; at++) {
      const root = join(await temporaryDirectory(), 'lake')
      const disk = new LateFaultDisk(systemDisk, at)
      const ledger = await scenario(root, disk)
      await check(root, ledger, String(at))
      if (disk.changes < at) break
    }
  })

  test('a client that looks before it tries again ends where it would have without the fault', async () => {
    for (let at = 1; ; at++) {
      const root = join(await temporaryDirectory(), 'lake')
      const disk = new LateFaultDisk(systemDisk, at)
      const ledger = await scenario(root, disk, true)
      if (ledger.created) expect(await look(root), String(at)).toEqual(['both'])
      if (disk.changes < at) break
    }
  })
})

function possibleAfter({ acknowledged }: Ledger): string[] {
  const states = [[], ...STEPS.map(([names]) => names)]
  return states[states.findIndex((names) => names.join() === acknowledged.join()) + 1] ?? acknowledged
}

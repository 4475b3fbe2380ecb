import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send, snapshots, statusOf } from './home.ts'

const changes = stream('changes', {
  columns: {
    id: t.string().nullable(),
    sub: t.int().nullable(),
    version: t.int().nullable(),
    value: t.string().nullable(),
    gone: t.boolean().nullable(),
  },
})

/** Merged change by change: the query looks at each row by itself. */
const merged = table('merged', {
  key: ['id', 'sub'],
  version: 'version',
  sql: sql`select id, sub, version, upper(value) as value from ${changes} where value is distinct from 'skip'`,
})
/** As `merged`, with deletes: a version that deletes must not let an older one back. */
const alive = table('alive', {
  key: ['id', 'sub'],
  version: 'version',
  deleted: 'gone',
  sql: sql`select id, sub, version, value, gone from ${changes}`,
})
/** Rows come from groups: always computed whole. */
const counted = table('counted', {
  key: 'id',
  sql: sql`select id, count(*) as n, max(version) as newest from ${changes} group by id`,
})
const TABLES = [changes, merged, alive, counted]

interface Change {
  id: string | null
  sub: number | null
  version: number | null
  value: string | null
  gone: boolean | null
}

const change: fc.Arbitrary<Change> = fc.record({
  id: fc.constantFrom('a', 'b', 'c', null),
  sub: fc.constantFrom(1, 2, null),
  version: fc.option(fc.integer({ min: 0, max: 9 })),
  value: fc.constantFrom('x', 'y', 'z', 'skip', null),
  gone: fc.constantFrom(true, false, null),
})

/** The winner of each key in plain words: the newest version; of equal ones the greatest row; a version beats none. */
function winners(all: readonly Change[], order: readonly (keyof Change)[]): Change[] {
  const rank = (value: string | number | boolean | null) => (value === null ? [0, ''] : [1, value])
  const isGreater = (a: Change, b: Change): boolean => {
    for (const column of order) {
      const [x, y] = [rank(a[column]), rank(b[column])]
      if (x[0] !== y[0]) return x[0]! > y[0]!
      if (x[1] !== y[1]) return x[1]! > y[1]!
    }
    return false
  }
  const best = new Map<string, Change>()
  for (const each of all) {
    const key = JSON.stringify([each.id, each.sub])
    const before = best.get(key)
    if (before === undefined || isGreater(each, before)) best.set(key, each)
  }
  return [...best.values()]
}

const sorted = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).sort()

async function expectModel(runtime: Runtime, all: readonly Change[]): Promise<void> {
  const upper = all
    .filter(({ value }) => value !== 'skip')
    .map((each) => ({ ...each, value: each.value?.toUpperCase() ?? null }))
  expect(sorted(await query(runtime, 'SELECT id, sub, version, value FROM {merged}'))).toEqual(
    sorted(
      winners(upper, ['version', 'id', 'sub', 'value']).map(({ id, sub, version, value }) => ({
        id,
        sub,
        version,
        value,
      })),
    ),
  )
  expect(sorted(await query(runtime, 'SELECT id, sub, version, value, gone FROM {alive}'))).toEqual(
    sorted(winners(all, ['version', 'id', 'sub', 'value', 'gone']).filter(({ gone }) => gone !== true)),
  )
  for (const name of ['merged', 'alive', 'counted'])
    expect(await verify(runtime, name), name).toMatchObject({ equal: true })
}

describe('key tables', () => {
  test('however changes arrive, each key has its newest version: merged, recomputed and in plain words alike', async () => {
    const home = await Home.make()
    const runtime = await home.open(TABLES)
    const all: Change[] = []
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8, size: 'max' }), async (more) => {
        // A record without any value would be refused.
        const sent = more.filter((each) => Object.values(each).some((value) => value !== null))
        if (sent.length === 0) return
        await send(runtime, 'changes', sent)
        await runtime.settle()
        all.push(...sent)
        await expectModel(runtime, all)
      }),
      // No shrinking: what fails depends on all that came before.
      { numRuns: 25, endOnFailure: true },
    )
  })

  test('only the files that hold a changed key are written anew', async () => {
    const home = await Home.make()
    const bucketed = table('merged', {
      key: 'id',
      version: 'version',
      partitionBy: { column: 'id', by: 'identity' },
      sql: sql`select id, version, value from ${changes}`,
    })
    const runtime = await home.open([changes, bucketed])
    const files = async () =>
      (await runtime.lakeTable('merged').files(runtime.lakeTable('merged').snapshot()!)).map(({ path }) => path).sort()
    await send(
      runtime,
      'changes',
      ['a', 'b', 'c'].map((id) => ({ id, version: 1, value: id })),
    )
    await runtime.settle()
    const before = await files()
    expect(before).toHaveLength(3)
    await send(runtime, 'changes', [{ id: 'b', version: 2, value: 'new' }])
    await runtime.settle()
    const after = await files()
    expect(after.filter((path) => before.includes(path))).toHaveLength(2)
    // An older version changes no row, and a new key touches no file.
    await send(runtime, 'changes', [{ id: 'd', version: 1, value: 'd' }])
    await runtime.settle()
    expect((await files()).filter((path) => after.includes(path))).toEqual(after)
    expect(await query(runtime, 'SELECT id, version, value FROM {merged} ORDER BY id')).toEqual([
      { id: 'a', version: 1, value: 'a' },
      { id: 'b', version: 2, value: 'new' },
      { id: 'c', version: 1, value: 'c' },
      { id: 'd', version: 1, value: 'd' },
    ])
  })

  test('replays, compaction and restarts leave the rows as they are', async () => {
    const home = await Home.make()
    let runtime = await home.open(TABLES)
    const all = fc
      .sample(change, { numRuns: 60, seed: 7 })
      .filter((each) => Object.values(each).some((value) => value !== null))
    for (let at = 0; at < all.length; at += 15) {
      await send(runtime, 'changes', all.slice(at, at + 15))
      await runtime.settle()
    }
    await expectModel(runtime, all)
    await maintain(runtime, { minFiles: 2, rewriteBytesMax: 1e9 })
    await runtime.settle()
    await expectModel(runtime, all)
    await replayStream(runtime.stream('changes'), { database: runtime.database, from: [20], superseded: [] })
    await runtime.settle()
    await expectModel(runtime, all)
    const before = snapshots(runtime)
    await home.stop(runtime)
    runtime = await home.open(TABLES)
    await runtime.settle()
    expect(snapshots(runtime)).toEqual(before)
    await home.crash(runtime)
    runtime = await home.open(TABLES)
    await send(runtime, 'changes', [{ id: 'a', sub: 1, version: 99, value: 'last', gone: true }])
    await runtime.settle()
    await expectModel(runtime, [...all, { id: 'a', sub: 1, version: 99, value: 'last', gone: true }])
  })

  test('without a version the query has to give one row for each key; a check says when it does not', async () => {
    const declared = table('t', { key: 'id', sql: sql`select id, value from ${changes}`, checks: [check.unique('id')] })
    const home = await Home.make()
    const runtime = await home.open([changes, declared])
    await send(runtime, 'changes', [
      { id: 'a', value: 'x' },
      { id: 'b', value: 'y' },
    ])
    await runtime.settle()
    expect(statusOf(runtime, 't')).toMatchObject({ state: 'ok', rows: 2 })
  })
})

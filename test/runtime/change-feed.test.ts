import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { jsonObjects } from '../../src/engine/duckdb/json-text.ts'
import { rowValues } from '../../src/engine/duckdb/row-values.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { check, sql, stream, t, table } from '../../src/index.ts'
import { type ChangePosition, readPosition } from '../../src/runtime/changes/change-position.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { Home, query, send } from './home.ts'

const events = stream('events', {
  columns: { id: t.string(), kind: t.string(), amount: t.decimal(10, 2) },
  unique: ['id'],
})
const totals = table('totals', {
  sql: sql`select kind, count(*) as n, sum(amount)::decimal(38, 2) as amount from ${events} group by kind`,
})
/** Rows that are often alike. */
const amounts = table('amounts', { sql: sql`select amount from ${events} where kind <> 'c' order by amount` })
const BEGINNING: ChangePosition = { done: 0n }
const ROWS = { form: jsonObjects, rowsMax: 1000, bytesMax: 1 << 20 }

/** All pages after a position, each with the text of its rows. */
async function follow(runtime: Runtime, name: string, from: ChangePosition, question: Partial<typeof ROWS> = {}) {
  const pages: { removed: boolean; row: string; after: string }[][] = []
  let position = from
  for (;;) {
    const page = await runtime.changes.page(name, position, { ...ROWS, ...question })
    if (page === 'lost') return { pages, position, lost: true }
    if (page === undefined) return { pages, position, lost: false }
    pages.push([...page.rows])
    position = page.next
  }
}

/** What is left when changes are taken one after the other: rows removed must be there. */
class Copy {
  readonly rows = new Map<string, number>()

  take({ removed, row }: { removed: boolean; row: string }): void {
    const count = (this.rows.get(row) ?? 0) + (removed ? -1 : 1)
    expect(count, row).toBeGreaterThanOrEqual(0)
    if (count === 0) this.rows.delete(row)
    else this.rows.set(row, count)
  }
}

async function published(runtime: Runtime, name: string): Promise<Copy> {
  const copy = new Copy()
  const { pages } = await follow(runtime, name, BEGINNING)
  for (const row of pages.flat()) copy.take(row)
  return copy
}

const event = (id: number, kind = 'a', amount = '1.00') => ({ id: String(id), kind, amount })

test('a stream tells its new rows once, from any position', async () => {
  const home = await Home.make()
  const runtime = await home.open([events])
  expect(runtime.changes.present('events')).toEqual(BEGINNING)
  await send(runtime, 'events', [event(1), event(2)])
  await runtime.settle()
  const after = runtime.changes.present('events')
  await send(runtime, 'events', [event(2), event(3), event(4, 'b')])
  await runtime.settle()

  const all = await follow(runtime, 'events', BEGINNING)
  expect(all.pages.flat().map(({ row }) => JSON.parse(row).id)).toEqual(['1', '2', '3', '4'])
  const newer = await follow(runtime, 'events', after)
  expect(newer.pages.flat().map(({ row, removed }) => [JSON.parse(row), removed])).toEqual([
    [{ id: '3', kind: 'a', amount: 1, _partition: 0, _offset: 3 }, false],
    [{ id: '4', kind: 'b', amount: 1, _partition: 0, _offset: 4 }, false],
  ])
  expect(newer.position).toEqual(runtime.changes.present('events'))
})

test('a table that is written anew tells the rows that differ, removed ones first', async () => {
  const home = await Home.make()
  const runtime = await home.open([events, totals])
  await send(runtime, 'events', [event(1), event(2, 'b', '5.50'), event(3, 'c')])
  await runtime.settle()
  const after = runtime.changes.present('totals')
  await send(runtime, 'events', [event(4), event(5, 'd')])
  await runtime.settle()
  const { pages } = await follow(runtime, 'totals', after)
  expect(pages.flat().map(({ row, removed }) => [removed ? '-' : '+', row])).toEqual([
    ['-', '{"kind":"a","n":1,"amount":1.00}'],
    ['+', '{"kind":"a","n":2,"amount":2.00}'],
    ['+', '{"kind":"d","n":1,"amount":1.00}'],
  ])
})

test('a change without rows is passed over, and compaction is none', async () => {
  const home = await Home.make()
  const runtime = await home.open([events, totals])
  for (let id = 0; id < 4; id++) {
    await send(runtime, 'events', [event(id)])
    await runtime.settle()
  }
  const after = runtime.changes.present('events')
  await maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity })
  expect(runtime.changes.present('events')).not.toEqual(after)
  expect((await follow(runtime, 'events', after)).pages.flat()).toEqual([])
  await send(runtime, 'events', [event(2), event(9)])
  await runtime.settle()
  const { pages } = await follow(runtime, 'events', after)
  expect(pages.flat().map(({ row }) => JSON.parse(row).id)).toEqual(['9'])
})

test('law: pages of any size, stopped and resumed anywhere and across restarts, add up to what is published', async () => {
  const row = fc.record({
    id: fc.integer({ min: 0, max: 40 }),
    kind: fc.constantFrom('a', 'b', 'c'),
    amount: fc.constantFrom('1.00', '2.50'),
  })
  const history = fc.array(
    fc.record({
      rows: fc.array(row, { minLength: 1, maxLength: 12 }),
      restart: fc.boolean(),
      compact: fc.boolean(),
      reads: fc.nat(3),
    }),
    { minLength: 1, maxLength: 5 },
  )
  await fc.assert(
    fc.asyncProperty(history, fc.integer({ min: 1, max: 5 }), async (steps, rowsMax) => {
      const home = await Home.make()
      let runtime = await home.open([events, totals, amounts])
      const copies = new Map([events, totals, amounts].map(({ name }) => [name, { copy: new Copy(), at: '0' }]))
      const read = async (name: string, pages: number) => {
        const copied = copies.get(name)!
        for (let i = 0; i < pages; i++) {
          const page = await runtime.changes.page(name, readPosition(copied.at), { ...ROWS, rowsMax })
          if (page === undefined) return
          if (page === 'lost') throw new Error('lost')
          for (const changed of page.rows) {
            copied.copy.take(changed)
            copied.at = changed.after
          }
          // As a client does that has seen the last row of a page, and no more.
          if (page.rows.length === 0 || page.next.into === undefined)
            copied.at = page.next.into
              ? `${page.next.done}.${page.next.into.to}.${page.next.into.row}`
              : String(page.next.done)
        }
      }
      for (const { rows, restart, compact, reads } of steps) {
        await send(
          runtime,
          'events',
          rows.map(({ id, kind, amount }) => event(id, kind, amount)),
        )
        await runtime.settle()
        if (compact) await maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity })
        for (const name of copies.keys()) await read(name, reads)
        if (!restart) continue
        await home.stop(runtime)
        runtime = await home.open([events, totals, amounts])
      }
      for (const [name, { copy }] of copies) {
        await read(name, 1_000)
        expect(copy.rows).toEqual((await published(runtime, name)).rows)
      }
      await home.remove()
    }),
    { numRuns: 12 },
  )
}, 120_000)

describe('what cannot be told any more', () => {
  test('snapshots that expired, and ids of no snapshot', async () => {
    const home = await Home.make()
    const runtime = await home.open([events])
    for (let id = 0; id < 105; id++) {
      await send(runtime, 'events', [event(id)])
      await runtime.stream('events').drain()
    }
    const [first] = runtime.lakeTable('events').published()
    home.aheadMs = 8 * 86_400_000
    await maintain(runtime, { minFiles: 1_000, rewriteBytesMax: Infinity })
    expect(runtime.lakeTable('events').published()).not.toContain(first)
    const question = ROWS
    expect(await runtime.changes.page('events', { done: first! }, question)).toBe('lost')
    expect(await runtime.changes.page('events', { done: 0n, into: { to: first!, row: 0 } }, question)).toBe('lost')
    expect(await runtime.changes.page('events', { done: 12_345n }, question)).toBe('lost')
  }, 60_000)

  test('rows that went with a snapshot that expired', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, totals])
    for (let id = 0; id < 4; id++) {
      await send(runtime, 'events', [event(id)])
      await runtime.settle()
    }
    const lakeTable = runtime.lakeTable('totals')
    const [second, third] = lakeTable.published().slice(-3) as [bigint, bigint]
    expect((await follow(runtime, 'totals', { done: second })).lost).toBe(false)
    home.aheadMs = 1_000
    await expireSnapshots(lakeTable, { keepLast: 2, maxAgeMs: 0 })
    // The third is there, and the files it took out of the second are not.
    expect([second, third].map((id) => lakeTable.snapshot(id) !== undefined)).toEqual([false, true])
    expect(await lakeTable.changes({ id: second }, lakeTable.snapshot(third)!)).toBeDefined()
    // A comparison made before would still be there for this process.
    await home.stop(runtime)
    const again = await home.open([events, totals])
    expect(await again.changes.page('totals', { done: second }, ROWS)).toBe('lost')
  })

  test('a snapshot that its audit holds back is not shown, nor what it went through', async () => {
    const home = await Home.make()
    const strict = stream('strict', { columns: { id: t.string() }, checks: [check.rowCount({ min: 3 })] })
    const runtime = await home.open([strict])
    await send(runtime, 'strict', [{ id: '1' }])
    await runtime.settle()
    const candidate = runtime.lakeTable('strict').snapshot('candidate')!
    expect(await runtime.changes.page('strict', BEGINNING, ROWS)).toBeUndefined()
    expect(await runtime.changes.page('strict', { done: 0n, into: { to: candidate.id, row: 0 } }, ROWS)).toBe('lost')
    await send(runtime, 'strict', [{ id: '2' }, { id: '3' }])
    await runtime.settle()
    expect(await runtime.changes.page('strict', { done: 0n, into: { to: candidate.id, row: 0 } }, ROWS)).toBe('lost')
    expect((await follow(runtime, 'strict', BEGINNING)).pages.flat()).toHaveLength(3)
  })
})

test('values in TypeScript are what the row type of the stream promises', async () => {
  const home = await Home.make()
  const all = stream('all', {
    columns: {
      text: t.string(),
      int: t.int(),
      long: t.long(),
      double: t.double(),
      decimal: t.decimal(10, 2),
      flag: t.boolean(),
      day: t.date(),
      at: t.timestamp(),
      json: t.json(),
      list: t.list(t.decimal(4, 1)),
      part: t.struct({ a: t.long(), b: t.timestamp().nullable() }),
      none: t.string().nullable(),
    },
  })
  const runtime = await home.open([all])
  const record =
    '{"text":"é\\n","int":-1,"long":9007199254740993,"double":1.5,"decimal":"12.30","flag":true,"day":"2026-01-31","at":"2026-01-31T08:30:00.5Z","json":{"a":[1]},"list":[1.5],"part":{"a":7,"b":null},"none":null}'
  await send(runtime, 'all', [record])
  await runtime.settle()
  const page = await runtime.changes.page('all', BEGINNING, { ...ROWS, form: rowValues })
  expect(page === undefined || page === 'lost' ? page : page.rows.map(({ row }) => row)).toEqual([
    {
      text: 'é\n',
      int: -1,
      long: 9007199254740993n,
      double: 1.5,
      decimal: '12.30',
      flag: true,
      day: '2026-01-31',
      at: '2026-01-31T08:30:00.500Z',
      json: { a: [1] },
      list: ['1.5'],
      part: { a: 7, b: null },
      none: null,
      _partition: 0,
      _offset: 0,
    },
  ])
  expect(await query(runtime, 'select count(*)::int as n from {all}')).toEqual([{ n: 1 }])
})

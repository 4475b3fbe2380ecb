import { describe, expect, test } from 'vitest'
import { type SqlTemplate, sql, stream, t, table } from '../../src/index.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send } from './home.ts'

const sales = stream('sales', { columns: { id: t.int(), item: t.int(), n: t.int() } })
const items = stream('items', { columns: { item: t.int(), name: t.string(), tags: t.list(t.string()) } })

/** Tables by whether new rows of their inputs alone tell what they gain. */
const extended: Record<string, SqlTemplate> = {
  kept: sql`select id, n * 2 as twice from ${sales} where n > 1`,
  tagged: sql`select item, unnest(tags) as tag from ${items}`,
  both: sql`select item from ${sales} union all select item from ${items}`,
  named: sql`select id, name, n from ${sales} join ${items} using (item)`,
  crossed: sql`select s.id, i.name from ${sales} s, ${items} i where s.item < i.item`,
}
const recomputed: Record<string, SqlTemplate> = {
  counted: sql`select count(*) as n from ${sales}`,
  highest: sql`select max(n) as n from ${sales}`,
  grouped: sql`select item, count(*) as n from ${sales} group by item`,
  distinct_items: sql`select distinct item from ${sales}`,
  first_five: sql`select id from ${sales} order by id limit 5`,
  ranked: sql`select id, row_number() over (partition by item order by n, id) as r from ${sales}`,
  left_named: sql`select id, name from ${sales} left join ${items} using (item)`,
  unnamed: sql`select id from ${sales} where item not in (select item from ${items})`,
  known: sql`select id from ${sales} where item in (select item from ${items})`,
  paired: sql`select a.id, b.id as other from ${sales} a join ${sales} b on a.item = b.item and a.id < b.id`,
  mixed: sql`select id from ${sales} join ${items} using (item) union all select item from ${items}`,
  against: sql`select id, n - (select max(n) from ${sales}) as behind from ${sales}`,
}

const tables = Object.entries({ ...extended, ...recomputed }).map(([name, query]) => table(name, { sql: query }))

async function lastOperation(runtime: Runtime, name: string): Promise<string> {
  return runtime.lakeTable(name).snapshot('main')!.operation
}

async function expectVerified(runtime: Runtime): Promise<void> {
  for (const { name } of tables)
    expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
}

describe('a whole table', () => {
  test('is extended by the rows new input gives, when these alone tell, and is right in any case', async () => {
    const home = await Home.make()
    const runtime = await home.open([sales, items, ...tables])
    let next = 0
    const someSales = (n: number) => Array.from({ length: n }, () => ({ id: next, item: next % 7, n: next++ % 5 }))
    const item = (i: number) => ({ item: i, name: `item ${i}`, tags: ['a', `t${i}`] })
    const rounds = [
      [someSales(10), [item(1), item(2)]],
      [someSales(5), []],
      [[], [item(3), item(0)]],
      [someSales(7), [item(4), item(1)]],
    ] as const
    for (const [i, [newSales, newItems]] of rounds.entries()) {
      if (newSales.length > 0) await send(runtime, 'sales', newSales)
      if (newItems.length > 0) await send(runtime, 'items', newItems)
      await runtime.settle()
      await expectVerified(runtime)
      if (i === 0) continue
      for (const name of Object.keys(extended)) expect(await lastOperation(runtime, name), name).toBe('append')
    }
    expect(await lastOperation(runtime, 'paired')).toBe('overwrite')
    expect(await query(runtime, 'select count(*)::int as n from {named}')).toEqual([
      { n: (await query(runtime, 'select count(*)::int as n from {sales} join {items} using (item)'))[0]!['n'] },
    ])
  })

  test('is computed anew when input loses rows, and stays as it is when files are only brought together', async () => {
    const home = await Home.make()
    const runtime = await home.open([sales, items, ...tables])
    for (let i = 0; i < 4; i++) {
      await send(runtime, 'sales', [{ id: i, item: 1, n: 3 }])
      await send(runtime, 'items', [{ item: i, name: 'x', tags: [] }])
      await runtime.settle()
    }
    await maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity })
    await runtime.settle()
    // Its own files were brought together as well, and nothing else came after.
    expect(await lastOperation(runtime, 'named')).toBe('replace')
    await send(runtime, 'sales', [{ id: 9, item: 2, n: 3 }])
    await runtime.settle()
    await expectVerified(runtime)
    await replayStream(runtime.stream('sales'), { database: runtime.database, from: [2], superseded: [] })
    await runtime.settle()
    await expectVerified(runtime)
  })
})

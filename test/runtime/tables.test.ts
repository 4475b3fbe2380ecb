import { describe, expect, test } from 'vitest'
import { sql, stream, t, table } from '../../src/index.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send, snapshots, statusOf } from './home.ts'

const events = stream('events', {
  columns: { id: t.string(), at: t.timestamp(), kind: t.string(), amount: t.decimal(10, 2) },
  time: 'at',
  unique: ['id'],
})
const rates = stream('rates', { columns: { kind: t.string(), factor: t.int() } })

const daily = table('daily', {
  interval: 'day',
  partitionBy: 'day',
  sql: sql`select kind, count(*) as n, sum(amount) as amount from ${events} group by kind`,
})
const weekly = table('weekly', { interval: 'week', sql: sql`select sum(n) as n, sum(amount) as amount from ${daily}` })
const total = table('total', { sql: sql`select count(*) as n, sum(amount) as amount from ${events}` })
const weighted = table('weighted', {
  interval: 'day',
  partitionBy: 'day',
  sql: sql`select kind, sum(amount * factor) as amount from ${events} join ${rates} using (kind) group by kind`,
})

let ids = 0
function event(day: number, kind = 'a', amount = '1.00', id = `e${ids++}`) {
  return { id, at: `2026-03-${String(day).padStart(2, '0')}T12:00:00Z`, kind, amount }
}

/** Paths of a table's live files by the day they hold. */
async function filesByDay(runtime: Runtime, name: string): Promise<Record<string, string>> {
  const lakeTable = runtime.lakeTable(name)
  const files = await lakeTable.files(lakeTable.snapshot()!)
  const rows = await Promise.all(
    files.map(async ({ path }) => {
      const [row, ...more] = await query(runtime, `SELECT DISTINCT day::VARCHAR AS day FROM read_parquet('${path}')`)
      expect(more).toEqual([])
      return [String(row!['day']), path] as const
    }),
  )
  return Object.fromEntries(rows)
}

async function expectVerified(runtime: Runtime): Promise<void> {
  for (const { name } of runtime.project.order)
    expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
}

describe('interval tables', () => {
  test('only the intervals that new, late and corrected input touches are written anew', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, daily, weekly, total])
    await send(runtime, 'events', [event(2), event(3), event(4), event(5, 'b')])
    await runtime.settle()
    const first = await filesByDay(runtime, 'daily')
    expect(Object.keys(first).sort()).toEqual(['2026-03-02', '2026-03-03', '2026-03-04', '2026-03-05'])

    await send(runtime, 'events', [event(6)])
    await runtime.settle()
    const second = await filesByDay(runtime, 'daily')
    expect(second).toEqual({ ...first, '2026-03-06': second['2026-03-06'] })

    // Late: a day long closed is computed again, alone, as one commit.
    const history = runtime.lakeTable('daily').history().length
    await send(runtime, 'events', [event(3, 'b', '5.00'), event(3, 'b', '6.50')])
    await runtime.settle()
    const third = await filesByDay(runtime, 'daily')
    expect(third['2026-03-03']).not.toBe(second['2026-03-03'])
    expect({ ...third, '2026-03-03': '' }).toEqual({ ...second, '2026-03-03': '' })
    expect(runtime.lakeTable('daily').history().length).toBe(history + 1)
    expect(
      await query(
        runtime,
        `SELECT kind, n::INT AS n, amount::VARCHAR AS amount FROM {daily} WHERE day = '2026-03-03' ORDER BY kind`,
      ),
    ).toEqual([
      { kind: 'a', n: 1, amount: '1.00' },
      { kind: 'b', n: 2, amount: '11.50' },
    ])
    expect(
      await query(runtime, 'SELECT week::VARCHAR AS week, n::INT AS n, amount::VARCHAR AS amount FROM {weekly}'),
    ).toEqual([{ week: '2026-03-02', n: 7, amount: '16.50' }])
    expect(await query(runtime, 'SELECT n::INT AS n, amount::VARCHAR AS amount FROM {total}')).toEqual([
      { n: 7, amount: '16.50' },
    ])

    // A duplicate changes no row: nothing downstream is due.
    const before = snapshots(runtime)
    await send(runtime, 'events', [event(4, 'a', '1.00', 'e0')])
    await runtime.settle()
    expect({ ...snapshots(runtime), events: [] }).toEqual({ ...before, events: [] })
    await expectVerified(runtime)
  })

  test.each(['minute', 'hour', 'day', 'week', 'month', 'year'] as const)(
    '%s: every event is in the interval it lies in, and in no other',
    async (unit) => {
      const per = table('per', {
        interval: unit,
        sql: sql`select count(*) as n, min("at") as first, max("at") as last from ${events}`,
      })
      const home = await Home.make()
      const runtime = await home.open([events, per])
      const times = [
        '2024-02-29T23:59:59.999999Z',
        '2024-03-01T00:00:00Z',
        '2025-12-31T23:59:59Z',
        '2026-01-01T00:00:00Z',
        '2026-01-04T23:59:59Z',
        '2026-01-05T00:00:00Z',
        '2026-01-05T00:59:59Z',
        '2026-01-05T01:00:00Z',
        '1969-12-31T23:59:59Z',
      ]
      await send(
        runtime,
        'events',
        times.map((at, i) => ({ id: `x${i}`, at, kind: 'a', amount: 1 })),
      )
      await runtime.settle()
      const type = unit === 'minute' || unit === 'hour' ? 'TIMESTAMP' : 'DATE'
      const texts = (rows: string) =>
        query(runtime, `SELECT ${unit}::VARCHAR AS start, n::INT AS n, first, last FROM (${rows}) ORDER BY 1`)
      expect(await texts('SELECT * FROM {per}')).toEqual(
        await texts(
          `SELECT date_trunc('${unit}', "at")::${type} AS ${unit}, count(*) AS n, min("at") AS first, max("at") AS last FROM {events} GROUP BY ALL`,
        ),
      )
      await expectVerified(runtime)
    },
  )

  test.each(['hour', 'day', 'month'] as const)('%s: a date lies in the interval of its midnight', async (unit) => {
    const visits = stream('visits', { columns: { id: t.string(), day: t.date() }, time: 'day' })
    const perDay = table('per_day', { interval: 'day', sql: sql`select count(*) as n from ${visits}` })
    const per = table('per', { interval: unit, sql: sql`select count(*) as visits from ${visits}` })
    const again = table('again', { interval: unit, sql: sql`select sum(n) as visits from ${perDay}` })
    const home = await Home.make()
    const runtime = await home.open([visits, perDay, per, again])
    await send(
      runtime,
      'visits',
      ['2026-01-31', '2026-01-31', '2026-02-01', '1969-12-31'].map((day, i) => ({ id: `v${i}`, day })),
    )
    await runtime.settle()
    const type = unit === 'hour' ? 'TIMESTAMP' : 'DATE'
    const expected = await query(
      runtime,
      `SELECT date_trunc('${unit}', day)::${type} AS start, count(*)::INT AS visits FROM {visits} GROUP BY 1 ORDER BY 1`,
    )
    for (const name of ['per', 'again']) {
      expect(
        await query(runtime, `SELECT ${unit} AS start, visits::INT AS visits FROM {${name}} ORDER BY 1`),
        name,
      ).toEqual(expected)
    }
    await expectVerified(runtime)
  })

  test('what is read whole, without a time, makes all intervals due', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, rates, weighted])
    await send(runtime, 'rates', [{ kind: 'a', factor: 2 }])
    await send(runtime, 'events', [event(2), event(3), event(3, 'b')])
    await runtime.settle()
    const first = await filesByDay(runtime, 'weighted')
    await send(runtime, 'events', [event(3)])
    await runtime.settle()
    const second = await filesByDay(runtime, 'weighted')
    expect(second['2026-03-02']).toBe(first['2026-03-02'])
    await send(runtime, 'rates', [{ kind: 'b', factor: 10 }])
    await runtime.settle()
    const third = await filesByDay(runtime, 'weighted')
    expect(third['2026-03-02']).not.toBe(first['2026-03-02'])
    expect(
      await query(runtime, 'SELECT day::VARCHAR AS day, kind, amount::VARCHAR AS amount FROM {weighted} ORDER BY ALL'),
    ).toEqual([
      { day: '2026-03-02', kind: 'a', amount: '2.00' },
      { day: '2026-03-03', kind: 'a', amount: '4.00' },
      { day: '2026-03-03', kind: 'b', amount: '10.00' },
    ])
    await expectVerified(runtime)
  })

  test('an interval whose rows are all gone is empty', async () => {
    const busy = table('busy', {
      interval: 'day',
      partitionBy: 'day',
      sql: sql`select count(*) as n from ${events} having count(*) < 3`,
    })
    const home = await Home.make()
    const runtime = await home.open([events, busy])
    await send(runtime, 'events', [event(2), event(3), event(3)])
    await runtime.settle()
    expect(await query(runtime, 'SELECT day::VARCHAR AS day, n::INT AS n FROM {busy} ORDER BY day')).toHaveLength(2)
    await send(runtime, 'events', [event(3)])
    await runtime.settle()
    expect(await query(runtime, 'SELECT day::VARCHAR AS day, n::INT AS n FROM {busy} ORDER BY day')).toEqual([
      { day: '2026-03-02', n: 1 },
    ])
    await expectVerified(runtime)
  })

  test('a backfill computes the intervals asked for, and what is due stays due', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, daily], { start: false })
    runtime.scheduler.pause()
    runtime.stream('events').start()
    await send(runtime, 'events', [event(2), event(3), event(4)])
    await runtime.stream('events').drain()
    const runner = runtime.tables.get('daily')!
    const days = async () => Object.keys(await filesByDay(runtime, 'daily')).sort()
    const day = (n: number) => Date.UTC(2026, 2, n)
    expect(await runner.refresh({ fromMs: day(3), toMs: day(4) })).toMatchObject({ outcome: 'published', intervals: 1 })
    expect(await days()).toEqual(['2026-03-03'])
    expect(await runner.refresh()).toMatchObject({ outcome: 'published' })
    expect(await days()).toEqual(['2026-03-02', '2026-03-03', '2026-03-04'])
    const before = await filesByDay(runtime, 'daily')
    expect(await runner.refresh({ fromMs: day(3) })).toMatchObject({ outcome: 'published', intervals: 2 })
    const after = await filesByDay(runtime, 'daily')
    expect(after['2026-03-02']).toBe(before['2026-03-02'])
    expect(after['2026-03-04']).not.toBe(before['2026-03-04'])
    expect(await runner.refresh()).toMatchObject({ outcome: 'unchanged' })
    await expectVerified(runtime)
  })
})

describe('full tables', () => {
  test('follow their input, and only it', async () => {
    const twice = table('twice', { sql: sql`select n * 2 as n from ${total}` })
    const other = table('other', { sql: sql`select count(*) as n from ${rates}` })
    const home = await Home.make()
    const runtime = await home.open([events, rates, total, twice, other])
    await send(runtime, 'events', [event(2), event(3)])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n::INT AS n FROM {twice}')).toEqual([{ n: 4 }])
    const before = snapshots(runtime)
    await send(runtime, 'rates', [{ kind: 'a', factor: 1 }])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n::INT AS n FROM {other}')).toEqual([{ n: 1 }])
    for (const name of ['events', 'total', 'twice']) expect(snapshots(runtime)[name]).toEqual(before[name])
  })

  test('a table of nothing is empty, not missing', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, rates, daily, weekly, total, weighted])
    await runtime.settle()
    expect(await query(runtime, 'SELECT * FROM {daily}')).toEqual([])
    expect(await query(runtime, 'SELECT n::INT AS n, amount FROM {total}')).toEqual([{ n: 0, amount: null }])
    await expectVerified(runtime)
  })
})

describe('a table that changes', () => {
  test('other SQL: recomputed at once from what is there; the same SQL: not', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, daily, weekly])
    await send(runtime, 'events', [event(2, 'a', '3.00'), event(3)])
    await runtime.settle()
    const before = snapshots(runtime)
    await home.stop(runtime)
    const again = table('daily', {
      interval: 'day',
      partitionBy: 'day',
      sql: sql`select kind, count(*) as n, max(amount) as amount, min(amount) as least from ${events} group by kind`,
    })
    const after = table('weekly', {
      interval: 'week',
      sql: sql`select sum(n) as n, sum(amount) as amount from ${again}`,
    })
    const next = await home.open([events, again, after])
    await next.settle()
    expect(snapshots(next)['events']).toEqual(before['events'])
    expect(await query(next, 'SELECT day::VARCHAR AS day, least::VARCHAR AS least FROM {daily} ORDER BY day')).toEqual([
      { day: '2026-03-02', least: '3.00' },
      { day: '2026-03-03', least: '1.00' },
    ])
    await expectVerified(next)
  })

  test('another layout: the table is made anew, and the same rows are laid out so', async () => {
    const laidOut = (by: 'day' | 'month' | undefined) =>
      table('x', {
        interval: 'day',
        sql: sql`select count(*) as n from ${events}`,
        ...(by === undefined ? {} : { partitionBy: by }),
      })
    const home = await Home.make()
    for (const by of ['day', 'month', undefined, 'day', 'day'] as const) {
      const runtime = await home.open([events, laidOut(by)])
      if (by === 'day') await send(runtime, 'events', [event(2, 'a', '1.00', 'l1'), event(3, 'a', '1.00', 'l2')])
      await runtime.settle()
      const lakeTable = runtime.lakeTable('x')
      expect(lakeTable.partition.map(({ transform }) => transform.kind)).toEqual(by === undefined ? [] : [by])
      expect((await lakeTable.files(lakeTable.snapshot()!)).length).toBe(by === 'day' ? 2 : 1)
      expect(await query(runtime, 'SELECT day::VARCHAR AS day, n::INT AS n FROM {x} ORDER BY day')).toEqual([
        { day: '2026-03-02', n: 1 },
        { day: '2026-03-03', n: 1 },
      ])
      await home.stop(runtime)
    }
  })

  test('columns that Iceberg cannot follow: the table is made anew', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, table('x', { sql: sql`select kind as v, amount as w from ${events}` })])
    await send(runtime, 'events', [event(2)])
    await runtime.settle()
    await home.stop(runtime)
    const next = await home.open([events, table('x', { sql: sql`select length(kind) as v from ${events}` })])
    await next.settle()
    expect(await query(next, 'SELECT v::INT AS v FROM {x}')).toEqual([{ v: 1 }])
  })
})

test('a failing table does not stop the others, tells why, and heals when its input does', async () => {
  const strict = table('strict', { sql: sql`select kind::integer as kind from ${events}` })
  const reader = table('reader', { sql: sql`select count(*) as n from ${strict}` })
  const home = await Home.make()
  const runtime = await home.open([events, total, strict, reader])
  await send(runtime, 'events', [event(2, '7')])
  await runtime.settle()
  expect(statusOf(runtime, 'strict')).toMatchObject({ state: 'ok', rows: 1 })
  await send(runtime, 'events', [event(2, 'seven')])
  await runtime.settle()
  expect(statusOf(runtime, 'strict')).toMatchObject({ state: 'failed', rows: 1, lag: 1 })
  expect(statusOf(runtime, 'strict').reason).toMatch(/Refreshing table 'strict' failed: .*'seven'/)
  expect(statusOf(runtime, 'reader')).toMatchObject({
    state: 'held',
    reason: expect.stringContaining("'strict' is failed") as string,
  })
  expect(statusOf(runtime, 'total')).toMatchObject({ state: 'ok' })
  expect(await query(runtime, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 2 }])
  expect(await query(runtime, 'SELECT kind FROM {strict}')).toEqual([{ kind: 7 }])
  await home.stop(runtime)
  const mended = table('strict', { sql: sql`select try_cast(kind as integer) as kind from ${events}` })
  const next = await home.open([
    events,
    total,
    mended,
    table('reader', { sql: sql`select count(*) as n from ${mended}` }),
  ])
  await next.settle()
  for (const name of ['strict', 'reader', 'total']) expect(statusOf(next, name).state).toBe('ok')
  expect(await query(next, 'SELECT n::INT AS n FROM {reader}')).toEqual([{ n: 2 }])
})

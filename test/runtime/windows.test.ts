import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sql, stream, t, table, within } from '../../src/index.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send } from './home.ts'

const BASE_MS = Date.UTC(2026, 2, 1)
const LATENESS_MS = 20_000

const clicks = stream('clicks', {
  columns: { id: t.int(), ts: t.timestamp(), who: t.string().nullable(), page: t.string(), ms: t.int() },
  time: 'ts',
  lateness: '20 seconds',
  unique: ['id'],
})
const buys = stream('buys', {
  columns: { id: t.int(), ts: t.timestamp(), who: t.string(), amount: t.int() },
  time: 'ts',
  lateness: '20 seconds',
})

const count = sql`select page, count(*) as n, max(ms) as slowest from ${clicks} group by page`
const windows: Record<string, Declaration> = {
  tumbling: table('tumbling', { window: { size: '10 seconds' }, sql: count }),
  uneven: table('uneven', { interval: '7 seconds', sql: count }),
  hopping: table('hopping', { window: { size: '30 seconds', every: '10 seconds' }, sql: count }),
  skewed: table('skewed', { window: { size: '25 seconds', every: '10 seconds' }, sql: count }),
  early: table('early', { window: { size: '1 minute' }, emit: 'continuous', sql: count }),
  minutes: table('minutes', { interval: 'minute', emit: 'closed', sql: count }),
  top: table('top', {
    window: { size: '1 minute' },
    sql: sql`select who, ms from ${clicks} order by ms desc, id limit 3`,
  }),
  rare: table('rare', {
    window: { size: '1 minute' },
    sql: sql`select page, count(*) as n from ${clicks} group by page having count(*) < 3`,
  }),
  sessions: table('sessions', {
    window: { gap: '15 seconds', by: 'who' },
    sql: sql`select count(*) as n, min(page) as first, sum(ms) as ms from ${clicks}`,
  }),
  visits: table('visits', {
    window: { gap: '15 seconds', by: ['who', 'page'] },
    emit: 'continuous',
    sql: sql`select count(*) as n from ${clicks}`,
  }),
  paid: table('paid', {
    window: { size: '10 seconds' },
    sql: sql`select c.id as click, b.id as buy from ${clicks} c left join ${within(buys, { before: '5 seconds', after: '25 seconds' })} b
      on b.who = c.who and b.ts >= c.ts - interval 5 seconds and b.ts < c.ts + interval 25 seconds`,
  }),
}
const perMinute = table('per_minute', {
  interval: 'minute',
  emit: 'closed',
  sql: sql`select sum(n) as n from ${windows['tumbling'] as never}`,
})

interface Click {
  readonly id: number
  readonly ts: string
  readonly who: string | null
  readonly page: string
  readonly ms: number
}

/** One SELECT for each table, over all rows that came and the final watermark, that owes nothing to how tables are computed. */
function expected(clicksSql: string, buysSql: string, watermark: number, joined: number): Record<string, string> {
  const w = `make_timestamp(${watermark} * 1000)`
  const sliding = (size: number, every: number, open: 'closed' | 'open') => `
    select s as window_start, s + interval ${size} second as window_end, ${open === 'open' ? `s + interval ${size} second > ${w} as window_open,` : ''}
      page, count(*) as n, max(ms) as slowest
    from ${clicksSql} c, (select make_timestamp((${BASE_MS} + i * ${every * 1000}) * 1000) as s from range(-400, 4000) r(i)) g
    where c.ts >= s and c.ts < s + interval ${size} second ${open === 'open' ? '' : `and s + interval ${size} second <= ${w}`}
    group by all`
  const aligned = (size: number) =>
    `(select *, make_timestamp((epoch_ms(ts) // ${size * 1000}) * ${size * 1000} * 1000) as s from ${clicksSql})`
  const sessions = (by: string[], gap: number) => {
    const key = by.join(', ')
    return `(select *, sum(fresh) over (partition by ${key} order by ts, id rows unbounded preceding) as nr from
      (select *, case when ts - lag(ts) over (partition by ${key} order by ts, id) < interval ${gap} second then 0 else 1 end as fresh from ${clicksSql}))`
  }
  return {
    tumbling: sliding(10, 10, 'closed'),
    uneven: `select s as window_start, s + interval 7 second as window_end, page, count(*) as n, max(ms) as slowest from ${aligned(7)} where s + interval 7 second <= ${w} group by all`,
    hopping: sliding(30, 10, 'closed'),
    skewed: sliding(25, 10, 'closed'),
    early: sliding(60, 60, 'open'),
    minutes: `select s as minute, page, count(*) as n, max(ms) as slowest from ${aligned(60)} where s + interval 60 second <= ${w} group by all`,
    top: `select s as window_start, s + interval 60 second as window_end, who, ms from ${aligned(60)} where s + interval 60 second <= ${w} qualify row_number() over (partition by s order by ms desc, id) <= 3`,
    rare: `select s as window_start, s + interval 60 second as window_end, page, count(*) as n from ${aligned(60)} where s + interval 60 second <= ${w} group by all having count(*) < 3`,
    sessions: `select min(ts) as window_start, max(ts) + interval 15 second as window_end, who, count(*) as n, min(page) as first, sum(ms) as ms from ${sessions(['who'], 15)} group by who, nr having max(ts) + interval 15 second <= ${w}`,
    visits: `select min(ts) as window_start, max(ts) + interval 15 second as window_end, max(ts) + interval 15 second > ${w} as window_open, who, page, count(*) as n from ${sessions(['who', 'page'], 15)} group by who, page, nr`,
    paid: `select s as window_start, s + interval 10 second as window_end, c.id as click, b.id as buy from ${aligned(10)} c left join ${buysSql} b
      on b.who = c.who and b.ts >= c.ts - interval 5 second and b.ts < c.ts + interval 25 second where s + interval 10 second <= make_timestamp(${joined} * 1000)`,
    per_minute: `select date_trunc('minute', s) as minute, count(*) as n from ${aligned(10)} where date_trunc('minute', s) + interval 60 second <= ${w} group by all`,
  }
}

async function expectRight(
  runtime: Runtime,
  tables: readonly string[],
  watermark: number,
  joined: number,
): Promise<Record<string, number>> {
  const rows: Record<string, number> = {}
  const clicksSql = await runtime.publishedSql('clicks')
  const buysSql = await runtime.publishedSql('buys')
  const wanted = expected(clicksSql, buysSql, watermark, joined)
  for (const name of tables) {
    const columns = runtime.lakeTable(name).fields.map(({ name: column }) => column)
    const published = `SELECT ${columns.join(', ')} FROM ${await runtime.publishedSql(name)}`
    const bulk = `SELECT ${columns.join(', ')} FROM (${wanted[name]!})`
    expect(await query(runtime, `(${bulk} EXCEPT ALL ${published}) ORDER BY ALL LIMIT 5`), `${name} lacks`).toEqual([])
    expect(
      await query(runtime, `(${published} EXCEPT ALL ${bulk}) ORDER BY ALL LIMIT 5`),
      `${name} has too much`,
    ).toEqual([])
    rows[name] = Number((await query(runtime, `SELECT count(*) AS n FROM (${published})`))[0]!['n'])
  }
  return rows
}

const iso = (ms: number) => new Date(ms).toISOString()

/** Events over ten minutes: in order but for a disorder within lateness, some far later than that, some keys much busier than others. */
const clicksArbitrary = fc
  .array(
    fc.record({
      step: fc.integer({ min: 0, max: 8_000 }),
      disorder: fc.integer({ min: 0, max: LATENESS_MS }),
      late: fc.integer({ min: 0, max: 9 }).map((n) => (n === 0 ? 90_000 : 0)),
      who: fc.constantFrom('ann', 'bob', 'bob', 'bob', 'cid', null),
      page: fc.constantFrom('/', '/a', '/b'),
      ms: fc.integer({ min: 1, max: 50 }),
    }),
    { minLength: 20, maxLength: 150, size: 'max' },
  )
  .map((steps) => {
    let now = BASE_MS + 100_000
    return steps.map(({ step, disorder, late, ...rest }, id): Click => {
      now += step
      return { id, ts: iso(now - disorder - late), ...rest }
    })
  })

describe('windows of event time', () => {
  test('the same rows however input is batched, disordered, late, repeated and interrupted', async () => {
    const tables = [...Object.keys(windows), 'per_minute']
    const compared: Record<string, number> = {}
    await fc.assert(
      fc.asyncProperty(
        clicksArbitrary,
        fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
        fc.infiniteStream(fc.constantFrom('settle', 'settle', 'go on', 'restart', 'repeat')),
        async (events, sizes, acts) => {
          const home = await Home.make()
          const declarations = [clicks, buys, ...Object.values(windows), perMinute]
          let runtime = await home.open(declarations)
          const purchases = events
            .filter(({ who }) => who !== null)
            .map(({ id, ts, who, ms }) => ({ id, ts: iso(Date.parse(ts) + ms * 500), who, amount: ms }))
          for (let i = 0; i < events.length;) {
            const size = sizes.next().value
            await send(runtime, 'clicks', events.slice(i, i + size))
            await send(
              runtime,
              'buys',
              purchases.filter(({ id }) => id >= i && id < i + size),
            )
            const act = acts.next().value
            if (act === 'repeat') await send(runtime, 'clicks', events.slice(i, i + size))
            i += size
            if (act === 'settle') await runtime.settle()
            if (act === 'restart') {
              await home.crash(runtime)
              runtime = await home.open(declarations)
            }
          }
          await runtime.settle()
          const newest = (all: readonly { ts: string }[]) => Math.max(...all.map(({ ts }) => Date.parse(ts)))
          const watermark = newest(events) - LATENESS_MS
          // What is joined waits for both streams, and for as far as it reads ahead.
          const joined = Math.min(watermark, newest(purchases) - LATENESS_MS - 25_000)
          const rows = await expectRight(runtime, tables, watermark, purchases.length === 0 ? 0 : joined)
          for (const name of tables) compared[name] = (compared[name] ?? 0) + rows[name]!
          for (const name of tables)
            expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
          await home.stop(runtime)
        },
      ),
      { numRuns: Number(process.env['WINDOW_RUNS'] ?? 6) },
    )
    // Something was there to compare.
    for (const name of tables) expect(compared[name], name).toBeGreaterThan(0)
  }, 600_000)
})

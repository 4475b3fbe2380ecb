import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Check, Stream } from '../../src/index.ts'
import { duckdbEngine } from '../../src/runtime/duckdb-engine.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { datasetDetail, observe } from '../../src/runtime/status.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send, snapshots, statusOf, value } from './home.ts'

const columns = { id: t.string(), n: t.int().nullable(), at: t.timestamp() }
const source = stream('source', { columns, time: 'at' })
const AT = '2026-03-02T00:00:00Z'

function row(id: string, n: number | null = 1, at = AT) {
  return { id, n, at }
}

async function checksOf(runtime: Runtime, name: string): Promise<Record<string, string>> {
  const { checks } = await datasetDetail(runtime.project.dataset(name), [], observe(runtime))
  return Object.fromEntries(
    checks.map((each) => [each.name, `${each.state}${each.message === undefined ? '' : `: ${each.message}`}`]),
  )
}

const expected = stream('expected', { columns: { total: t.int() } })

/** A check, rows that pass it, rows that break it on top of these, and what is said then. */
const CASES: readonly (readonly [string, Check, readonly object[], readonly object[], string])[] = [
  [
    'rowCount',
    check.rowCount({ min: 1, max: 2 }),
    [row('a')],
    [row('b'), row('c')],
    'row_count: 3 rows, expected 1 to 2',
  ],
  [
    'nullFraction',
    check.nullFraction('n', { max: 0.5 }),
    [row('a', null), row('b')],
    [row('c', null)],
    'null_fraction(n): 66.67 % of n is null, at most 50 % allowed',
  ],
  [
    'unique',
    check.unique(['id', 'n']),
    [row('a'), row('a', 2)],
    [row('a', 2)],
    'unique(id, n): 1 repeated keys, such as (a, 2)',
  ],
  [
    'unique with nulls',
    check.unique('n'),
    [row('a', null), row('b', 1)],
    [row('c', null)],
    'unique(n): 1 repeated keys, such as (null)',
  ],
  [
    'sql',
    check.sql('no strangers', sql`select id from this where id = 'z'`),
    [row('a')],
    [row('z')],
    "no strangers: 1 offending rows, such as {'id': z}",
  ],
  [
    'sql with another dataset',
    check.sql('known', sql`select * from this where n not in (select total from ${expected})`),
    [row('a', 7)],
    [row('b', 8)],
    'known: 1 offending rows',
  ],
  [
    'sumEquals',
    check.sumEquals('n', expected, 'total'),
    [row('a', 7)],
    [row('b', 1)],
    'sum_equals(n): sum is 8, expected has 7',
  ],
  [
    'sumEquals with tolerance',
    check.sumEquals('n', expected, 'total * 1.0', { tolerance: 1.5, where: sql`total > 0` }),
    [row('a', 8)],
    [row('b', 1)],
    'sum_equals(n): sum is 9, expected has 7.0',
  ],
]

describe('a failing check on a table', () => {
  test.each(CASES)('%s: blocks, and heals with its cause', async (_, rule, good, bad, said) => {
    const checked = table('checked', { sql: sql`select id, n, "at" from ${source} where id <> 'gone'`, checks: [rule] })
    const reader = table('reader', { sql: sql`select count(*) as n from ${checked}` })
    const home = await Home.make()
    const runtime = await home.open([source, expected, checked, reader])
    await send(runtime, 'expected', [{ total: 7 }])
    await send(runtime, 'source', good)
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'ok', rows: good.length, lag: 0 })
    const published = statusOf(runtime, 'checked').published
    const readerBefore = snapshots(runtime)['reader']

    await send(runtime, 'source', bad)
    await runtime.settle()
    // The last good rows stay; what reads them is held and says by what.
    const blocked = statusOf(runtime, 'checked')
    expect(blocked).toMatchObject({ state: 'blocked', published, rows: good.length })
    expect(blocked.snapshot).not.toBe(published)
    expect(blocked.reason).toContain(said)
    expect(Object.values(await checksOf(runtime, 'checked'))[0]).toContain(said.slice(said.indexOf(': ') + 2))
    expect(Object.values(await checksOf(runtime, 'checked'))[0]).toMatch(/^failed: /)
    expect(statusOf(runtime, 'reader')).toMatchObject({
      state: 'held',
      reason: expect.stringContaining("'checked' is blocked") as string,
    })
    expect(snapshots(runtime)['reader']).toEqual(readerBefore)
    expect(Number(await value(runtime, 'SELECT count(*) FROM {checked}'))).toBe(good.length)

    // A restart changes nothing about it.
    const before = snapshots(runtime)
    await home.stop(runtime)
    const again = await home.open([source, expected, checked, reader])
    await again.settle()
    expect(snapshots(again)).toEqual(before)
    expect(statusOf(again, 'checked')).toMatchObject({ state: 'blocked', published, rows: good.length })
    await home.stop(again)

    // The cause is mended: here the query leaves the bad rows out.
    const ids = bad.map((each) => (each as { id: string }).id)
    const mended = table('checked', {
      sql: sql`select id, n, "at" from (select *, row_number() over (partition by id, n order by _offset) as k from ${source}) where k = 1 and id not in (${sql.raw(ids.map((id) => `'${id}'`).join(', '))}) or _offset < ${good.length}`,
      checks: [rule],
    })
    const next = await home.open([
      source,
      expected,
      mended,
      table('reader', { sql: sql`select count(*) as n from ${mended}` }),
    ])
    await next.settle()
    expect(statusOf(next, 'checked')).toMatchObject({ state: 'ok', rows: good.length, lag: 0 })
    expect(statusOf(next, 'reader')).toMatchObject({ state: 'ok' })
    expect(Number(await value(next, 'SELECT n FROM {reader}'))).toBe(good.length)
    expect(next.lakeTable('checked').snapshot('candidate')).toBeUndefined()
  })

  test.each(CASES)('%s: only warns when told so', async (_, rule, good, bad, said) => {
    const checked = table('checked', {
      sql: sql`select * from ${source}`,
      checks: [{ ...rule, severity: 'warn' } as Check],
    })
    const home = await Home.make()
    const runtime = await home.open([source, expected, checked])
    await send(runtime, 'expected', [{ total: 7 }])
    await send(runtime, 'source', [...good, ...bad])
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'ok', rows: good.length + bad.length })
    expect(Object.values(await checksOf(runtime, 'checked'))[0]).toContain(said.slice(said.indexOf(': ') + 2))
  })

  test('a corrected input heals it', async () => {
    const checked = table('checked', {
      sql: sql`select * from ${source}`,
      checks: [check.sumEquals('n', expected, 'total')],
    })
    const home = await Home.make()
    const runtime = await home.open([source, expected, checked])
    await send(runtime, 'source', [row('a', 3)])
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'blocked', rows: 0 })
    await send(runtime, 'source', [row('b', 4)])
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'blocked', rows: 0 })
    // The side that is reconciled with arrives late.
    await send(runtime, 'expected', [{ total: 7 }])
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'ok', rows: 2, lag: 0 })
    expect(await verify(runtime, 'checked')).toMatchObject({ equal: true })
  })

  test('a corrected check heals it; a stricter one holds back what comes', async () => {
    const limited = (max: number) =>
      table('checked', { sql: sql`select * from ${source}`, checks: [check.rowCount({ max })] })
    const home = await Home.make()
    const first = await home.open([source, limited(1)])
    await send(first, 'source', [row('a'), row('b')])
    await first.settle()
    expect(statusOf(first, 'checked').state).toBe('blocked')
    await home.stop(first)
    const second = await home.open([source, limited(2)])
    await second.settle()
    expect(statusOf(second, 'checked')).toMatchObject({ state: 'ok', rows: 2 })
    await home.stop(second)
    const third = await home.open([source, limited(1)])
    await third.settle()
    expect(statusOf(third, 'checked')).toMatchObject({
      state: 'blocked',
      rows: 2,
      reason: 'row_count: 2 rows, expected 0 to 1',
    })
    await home.stop(third)
    const fourth = await home.open([source, table('checked', { sql: sql`select * from ${source}` })])
    await fourth.settle()
    expect(statusOf(fourth, 'checked')).toMatchObject({ state: 'ok', rows: 2 })
  })

  test('an interval table that is blocked publishes all its intervals once it heals', async () => {
    const daily = table('daily', {
      interval: 'day',
      partitionBy: 'day',
      sql: sql`select count(*) as n, sum(n) as total from ${source}`,
      checks: [check.sql('positive', sql`select * from this where total < 0`)],
    })
    const home = await Home.make()
    const runtime = await home.open([source, daily])
    await send(runtime, 'source', [row('a', 1)])
    await runtime.settle()
    await send(runtime, 'source', [row('b', -5, '2026-03-03T00:00:00Z')])
    await runtime.settle()
    expect(statusOf(runtime, 'daily')).toMatchObject({ state: 'blocked', rows: 1 })
    await send(runtime, 'source', [row('c', 2, '2026-03-04T00:00:00Z')])
    await runtime.settle()
    expect(statusOf(runtime, 'daily')).toMatchObject({ state: 'blocked', rows: 1 })
    await send(runtime, 'source', [row('d', 9, '2026-03-03T00:00:00Z')])
    await runtime.settle()
    expect(statusOf(runtime, 'daily')).toMatchObject({ state: 'ok', rows: 3 })
    expect(await verify(runtime, 'daily')).toMatchObject({ equal: true })
  })

  test('a promised column without its value blocks', async () => {
    const promised = table('promised', {
      columns: { id: t.string(), n: t.int() },
      sql: sql`select id, n from ${source}`,
    })
    const home = await Home.make()
    const runtime = await home.open([source, promised])
    await send(runtime, 'source', [row('a')])
    await runtime.settle()
    expect(statusOf(runtime, 'promised').state).toBe('ok')
    await send(runtime, 'source', [row('b', null)])
    await runtime.settle()
    expect(statusOf(runtime, 'promised')).toMatchObject({
      state: 'blocked',
      rows: 1,
      reason: 'not_null(n): 1 rows have no n',
    })
  })

  test('a check that cannot be evaluated has failed', async () => {
    const checked = table('checked', {
      sql: sql`select * from ${source}`,
      checks: [check.sql('numbers', sql`select * from this where id::integer < 0`)],
    })
    const home = await Home.make()
    const runtime = await home.open([source, checked])
    await send(runtime, 'source', [row('1')])
    await runtime.settle()
    expect(statusOf(runtime, 'checked').state).toBe('ok')
    await send(runtime, 'source', [row('x')])
    await runtime.settle()
    expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'blocked', rows: 1 })
    expect(statusOf(runtime, 'checked').reason).toMatch(/^numbers: could not be evaluated: .*'x'/)
  })
})

test('an engine that goes away during a check says nothing of the rows: the step is done again', async () => {
  const checked = table('checked', {
    sql: sql`select * from ${source}`,
    checks: [check.rowCount({ min: 1 }), check.unique(['id'])],
  })
  const home = await Home.make()
  const database = await Database.open({ threads: 1, memory: 256 * 1024 ** 2, temporary: join(home.directory, 'tmp') })
  const whole = duckdbEngine(database)
  let away = 0
  const engine: Engine = {
    ...whole,
    step: (work) =>
      whole.step((step) =>
        work(
          new Proxy(step, {
            get(target, key) {
              const found = Reflect.get(target, key) as unknown
              if (key === 'rows')
                return (text: string) => {
                  if (!text.includes('passed') || away === 0) return target.rows(text)
                  away--
                  throw new MillraceError('unavailable', 'engine-away', 'The engine was restarted.')
                }
              return typeof found === 'function' ? (found.bind(target) as unknown) : found
            },
          }),
        ),
      ),
  }
  const runtime = await home.open([source, checked], { engine: () => engine })
  await runtime.settle()
  away = 2
  await send(runtime, 'source', [row('1')])
  await runtime.settle()
  expect(away).toBe(0)
  expect(statusOf(runtime, 'checked')).toMatchObject({ state: 'ok', rows: 1 })
  await home.stop(runtime)
  await database.close()
})

describe('a failing check on a stream', () => {
  const streamOf = (checks: readonly Check[]): Stream<typeof columns> =>
    stream('source', { columns, time: 'at', checks })

  test('blocking: its snapshots wait, nothing is lost, and the next good one publishes all', async () => {
    const audited = streamOf([check.sumEquals('n', expected, 'total')])
    const reader = table('reader', { sql: sql`select count(*) as n from ${audited}` })
    const home = await Home.make()
    const runtime = await home.open([audited, expected, reader])
    await send(runtime, 'expected', [{ total: 1 }])
    await send(runtime, 'source', [row('a')])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({ state: 'ok', rows: 1, accepted: 1 })
    await send(runtime, 'source', [row('b', 6)])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({
      state: 'blocked',
      rows: 1,
      received: 2,
      accepted: 2,
      reason: 'sum_equals(n): sum is 7, expected has 1',
    })
    expect((await runtime.stream('source').hot()).rows).toBe(1)
    expect(statusOf(runtime, 'reader')).toMatchObject({ state: 'held', rows: 1 })
    expect(await query(runtime, 'SELECT id FROM {source}')).toEqual([{ id: 'a' }])
    await home.stop(runtime)
    const again = await home.open([audited, expected, reader])
    await again.settle()
    expect(statusOf(again, 'source')).toMatchObject({ state: 'blocked', rows: 1 })
    await send(again, 'expected', [{ total: 6 }])
    await again.settle()
    expect(statusOf(again, 'source')).toMatchObject({ state: 'ok', rows: 2 })
    expect(await query(again, 'SELECT n::INT AS n FROM {reader}')).toEqual([{ n: 2 }])
    expect(await verify(again, 'source')).toMatchObject({ equal: true })
  })

  test('warning: it is published, and the check is told as failed', async () => {
    const home = await Home.make()
    const runtime = await home.open([streamOf([check.rowCount({ max: 1, severity: 'warn' })])])
    await send(runtime, 'source', [row('a'), row('b')])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({ state: 'ok', rows: 2 })
    expect(await checksOf(runtime, 'source')).toEqual({ row_count: 'failed: 2 rows, expected 0 to 1' })
  })
})

describe('freshness', () => {
  test('is the age of the newest event time, against the clock', async () => {
    const fresh = stream('source', { columns, time: 'at', checks: [check.freshness('1 hour', { severity: 'block' })] })
    const home = await Home.make()
    const runtime = await home.open([fresh])
    const ago = (minutes: number) => new Date(home.clock.now() - minutes * 60_000).toISOString()
    await send(runtime, 'source', [row('a', 1, ago(61))])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({ state: 'blocked', rows: 0 })
    expect(statusOf(runtime, 'source').reason).toMatch(/^freshness: newest is .*, allowed age 1 h$/)
    await send(runtime, 'source', [row('b', 1, ago(5))])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({ state: 'ok', rows: 2 })
    home.aheadMs = 60 * 60_000
    await send(runtime, 'source', [row('c', 1, ago(61))])
    await runtime.settle()
    expect(statusOf(runtime, 'source')).toMatchObject({ state: 'blocked', rows: 2 })
  })
})

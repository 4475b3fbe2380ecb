import { expect, test } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import { verify } from '../../src/runtime/verify.ts'
import { echoes, kept, seen, visits } from './functions/project.ts'
import { Home, query, send } from './home.ts'

const clicks = stream('clicks', { columns: { id: t.int() } })
const total = table('total', { sql: sql`select count(*)::int as rows from ${clicks}` })

test('a table whose inputs went on without it is compared with what they were, and told as behind', async () => {
  const home = await Home.make()
  const runtime = await home.open([clicks, total])
  await send(runtime, 'clicks', [{ id: 1 }])
  await runtime.settle()
  expect(await verify(runtime, 'total')).toMatchObject({ equal: true })
  runtime.scheduler.pause()
  await send(runtime, 'clicks', [{ id: 2 }])
  await runtime.stream('clicks').drain()
  const behind = await verify(runtime, 'total')
  expect(behind).toMatchObject({ equal: true, recomputed: 1, note: expect.stringContaining('millrace run') })
  runtime.scheduler.resume()
  await runtime.settle()
  const after = await verify(runtime, 'total')
  expect(after).toMatchObject({ equal: true })
  expect(after.note).toBeUndefined()
})

test('while records come all the time, whatever kind of table it is', async () => {
  const home = await Home.make()
  const minutes = table('minutes', { window: { size: '1 minute' }, sql: sql`select count(*) as n from ${kept}` })
  const latest = table('latest', {
    key: 'page',
    version: 'at',
    sql: sql`select page, "at", id from ${visits}`,
  })
  const pages = table('pages', { sql: sql`select page, count(*) as n from ${seen} group by page` })
  const first = table('first', { interval: 'hour', sql: sql`select min(id) as id from ${visits}` })
  const tables = [seen, kept, echoes, minutes, latest, pages, first]
  const loader = new URL('./functions/loader.ts', import.meta.url).href
  const runtime = await home.open([visits, ...tables], { loader })
  let [id, verified] = [0, 0]
  const sendSome = async () => {
    const records = Array.from({ length: 50 }, () => {
      const at = new Date(Date.UTC(2026, 2, 1) + id * 5_000).toISOString()
      return { id: id++, at, page: `/${id % 7}` }
    })
    await send(runtime, 'visits', records)
  }
  await sendSome()
  await runtime.settle()
  const sending = (async () => {
    while (verified < 4 * tables.length) await sendSome()
  })()
  let behind = 0
  for (; verified < 4 * tables.length; verified++) {
    const { name } = tables[verified % tables.length]!
    const found = await verify(runtime, name)
    expect(found, JSON.stringify(found)).toMatchObject({ equal: true, missing: 0, extra: 0 })
    if (found.note !== undefined) behind++
  }
  await sending
  expect(behind).toBeGreaterThan(0)
  await runtime.settle()
  for (const { name } of tables)
    expect(Number((await query(runtime, `SELECT count(*) AS n FROM {${name}}`))[0]!['n']), name).toBeGreaterThan(0)
})

test('a window that no row is left of goes, though its query makes a row of none', async () => {
  const home = await Home.make()
  const events = stream('events', { columns: { id: t.int(), at: t.timestamp() }, time: 'at' })
  const strict = { ...events, checks: [check.range('id', { max: 1 })] }
  const over = (input: typeof events) =>
    table('hours', { interval: 'hour', sql: sql`select count(*) as n, min(id) as id from ${input}` })
  const first = await home.open([events, over(events)])
  await send(first, 'events', [
    { id: 1, at: '2026-03-01T00:10:00Z' },
    { id: 2, at: '2026-03-01T01:10:00Z' },
  ])
  await first.settle()
  expect(await query(first, 'SELECT n::INT AS n, id FROM {hours} ORDER BY id')).toEqual([
    { n: 1, id: 1 },
    { n: 1, id: 2 },
  ])
  await home.stop(first)
  const runtime = await home.open([strict, over(strict)])
  await replayStream(runtime.stream('events'), { database: runtime.database, from: [0], superseded: [] })
  await runtime.settle()
  expect(await query(runtime, 'SELECT n::INT AS n, id FROM {hours}')).toEqual([{ n: 1, id: 1 }])
  expect(await verify(runtime, 'hours')).toMatchObject({ equal: true, recomputed: 1 })
})

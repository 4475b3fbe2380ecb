import { expect, test } from 'vitest'
import { sql, stream, t, table } from '../../src/index.ts'
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
      const at = new Date(Date.UTC(2026, 2, 1) + id * 500).toISOString()
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
    expect(found, name).toMatchObject({ equal: true, missing: 0, extra: 0 })
    if (found.note !== undefined) behind++
  }
  await sending
  expect(behind).toBeGreaterThan(0)
  await runtime.settle()
  for (const { name } of tables)
    expect(Number((await query(runtime, `SELECT count(*) AS n FROM {${name}}`))[0]!['n']), name).toBeGreaterThan(0)
})

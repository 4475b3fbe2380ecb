import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, query, send, statusOf } from './home.ts'

const events = stream('events', { columns: { id: t.string(), n: t.int() }, unique: ['id'] })
const total = table('total', { sql: sql`select count(*) as n from ${events}` })

describe('stopping', () => {
  test('at any moment after the start ends in good order, and the next start goes on', async () => {
    const home = await Home.make()
    for (let i = 0; i < 12; i++) {
      const runtime = await home.open([events, total])
      await send(runtime, 'events', [{ id: `e${i}`, n: 1 }])
      await sleep(i * 7)
      await home.stop(runtime)
    }
    const runtime = await home.open([events, total])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 12 }])
    expect(home.fatal).toEqual([])
  })

  test('does not wait for ever when the disk has failed, and gives everything back', async () => {
    const home = await Home.make()
    const disk = new FaultyDisk(`${home.directory}-limbo`)
    const runtime = await home.open([events, total], { disk })
    await send(runtime, 'events', [{ id: 'a', n: 1 }])
    await runtime.settle()
    disk.afterKill()
    await expect(send(runtime, 'events', [{ id: 'b', n: 1 }])).rejects.toThrow(/has stopped/)
    await home.stop(runtime).catch(() => undefined)
    await expect(send(runtime, 'events', [{ id: 'c', n: 1 }])).rejects.toThrow(MillraceError)
    const again = await home.open([events, total])
    await again.settle()
    expect(await query(again, 'SELECT id FROM {events}')).toEqual([{ id: 'a' }])
  })
})

test('a stream that cannot go on says so and the others do', async () => {
  const bad = stream('bad', {
    columns: { id: t.string() },
    checks: [check.predicate('known', sql`id in (select id from ${events})`)],
  })
  const home = await Home.make()
  const runtime = await home.open([events, total, bad])
  await send(runtime, 'events', [{ id: 'a', n: 1 }])
  await runtime.settle()
  await send(runtime, 'bad', [{ id: 'a' }, { id: 'b' }])
  await runtime.settle()
  expect(statusOf(runtime, 'bad')).toMatchObject({ state: 'ok', accepted: 1, quarantined: 1 })
})

describe('a runtime that cannot open', () => {
  test('names the first problem of the project and leaves nothing behind that keeps the next from opening', async () => {
    const home = await Home.make()
    const broken = table('broken', { sql: sql`select nothing from ${events}` })
    await expect(home.open([events, broken])).rejects.toMatchObject({
      kind: 'invalid',
      code: 'bad-sql',
      context: { dataset: 'broken' },
    })
    const runtime = await home.open([events, total])
    await runtime.settle()
    expect(statusOf(runtime, 'total').state).toBe('ok')
  })

  test('an incompatible change of a stream’s columns is refused, and the lake is as before', async () => {
    const home = await Home.make()
    const runtime = await home.open([events])
    await send(runtime, 'events', [{ id: 'a', n: 1 }])
    await runtime.settle()
    await home.stop(runtime)
    const other = stream('events', { columns: { id: t.int(), n: t.int() }, unique: ['id'] })
    await expect(home.open([other])).rejects.toMatchObject({ kind: 'invalid', code: 'incompatible-schema' })
    const again = await home.open([events])
    expect(await query(again, 'SELECT id, n FROM {events}')).toEqual([{ id: 'a', n: 1 }])
  })

  test('columns added, widened, renamed and made optional: what is there stays readable, and no event comes twice', async () => {
    const home = await Home.make()
    const first = await home.open([events])
    await send(first, 'events', [{ id: 'a', n: 1 }])
    await first.settle()
    await home.stop(first)
    const wider = stream('events', {
      columns: { key: t.string().formerly('id'), n: t.long(), note: t.string().nullable() },
      unique: ['key'],
    })
    const second = await home.open([wider])
    await send(second, 'events', [
      { key: 'a', n: 1 },
      { key: 'b', n: 5_000_000_000, note: 'x' },
    ])
    await second.settle()
    expect(await query(second, 'SELECT key, n::VARCHAR AS n, note FROM {events} ORDER BY key')).toEqual([
      { key: 'a', n: '1', note: null },
      { key: 'b', n: '5000000000', note: 'x' },
    ])
    expect(second.stream('events').counts).toMatchObject({ accepted: 2, duplicates: 1 })
  })
})

import { describe, expect, test } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Check, Stream } from '../../src/index.ts'
import { replayQuarantine, replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, type Row, query, send, statusOf } from './home.ts'

const columns = { id: t.string(), n: t.int(), at: t.timestamp() }

function events(checks: readonly Check[] = [], more: { partitions?: number } = {}): Stream<typeof columns> {
  return stream('events', { columns, time: 'at', unique: ['id'], checks, ...more })
}

const strict = events([check.range('n', { min: 0 })])
const lax = events([check.range('n', { min: -10 })])
const totalOf = (input: Stream<typeof columns>) =>
  table('total', { sql: sql`select count(*) as n, sum(n) as sum from ${input}` })

const AT = '2026-03-02T00:00:00Z'
const SENT = [
  { id: 'a', n: 1, at: AT },
  { id: 'b', n: -5, at: AT },
  { id: 'c', n: -50, at: AT },
  { id: 'b', n: -6, at: AT },
  { id: 'd', n: 'x', at: AT },
  { id: 'a', n: 1, at: AT },
  'not json',
]

async function rows(runtime: Runtime): Promise<Row[]> {
  return query(runtime, 'SELECT id, n, _offset::INT AS at_offset FROM {events} ORDER BY _partition, _offset')
}

async function refused(runtime: Runtime): Promise<Row[]> {
  return query(runtime, 'SELECT _offset::INT AS at_offset, rule FROM {quarantine.events} ORDER BY _partition, _offset')
}

async function replay(runtime: Runtime, where?: string): Promise<object> {
  const counts = await replayQuarantine(runtime.stream('events'), runtime.database, where)
  await runtime.scheduler.settled()
  return counts
}

const BEFORE = [{ id: 'a', n: 1, at_offset: 0 }]
/** The two of "b" are one event: the first is accepted, the second turns out to be a duplicate. */
const AFTER = [...BEFORE, { id: 'b', n: -5, at_offset: 1 }]
const LEFT = [
  { at_offset: 2, rule: 'range(n)' },
  { at_offset: 4, rule: 'type(n)' },
  { at_offset: 6, rule: 'malformed' },
]

async function filled(home: Home): Promise<Runtime> {
  const runtime = await home.open([strict, totalOf(strict)])
  await send(runtime, 'events', SENT)
  await runtime.settle()
  expect(await rows(runtime)).toEqual(BEFORE)
  expect(runtime.stream('events').counts).toEqual({ received: 7, accepted: 1, duplicates: 1, quarantined: 5 })
  return runtime
}

describe('replaying the quarantine', () => {
  test('through the same contract changes nothing that can be seen', async () => {
    const home = await Home.make()
    const runtime = await filled(home)
    const before = await refused(runtime)
    expect(await replay(runtime)).toMatchObject({ accepted: 0, duplicates: 0, quarantined: 5, withheld: 0 })
    expect(await refused(runtime)).toEqual(before)
    expect(await rows(runtime)).toEqual(BEFORE)
    expect(runtime.stream('events').counts).toEqual({ received: 7, accepted: 1, duplicates: 1, quarantined: 5 })
  })

  test('through a mended contract: what passes leaves it and arrives once, under its own offset', async () => {
    const home = await Home.make()
    await home.stop(await filled(home))
    const runtime = await home.open([lax, totalOf(lax)])
    await runtime.settle()
    expect(await rows(runtime)).toEqual(BEFORE)
    for (let again = 0; again < 3; again++) {
      expect(await replay(runtime)).toMatchObject(
        again === 0
          ? { received: 5, accepted: 1, duplicates: 1, quarantined: 3, withheld: 0 }
          : { received: 3, accepted: 0, duplicates: 0, quarantined: 3 },
      )
      expect(await rows(runtime)).toEqual(AFTER)
      expect(await refused(runtime)).toEqual(LEFT)
      expect(runtime.stream('events').counts).toEqual({ received: 7, accepted: 2, duplicates: 2, quarantined: 3 })
      expect(await query(runtime, 'SELECT n::INT AS n, sum::INT AS sum FROM {total}')).toEqual([{ n: 2, sum: -4 }])
      expect(await verify(runtime, 'events')).toMatchObject({ equal: true })
    }
    // What has come back counts as seen, now and after a restart.
    await send(runtime, 'events', [{ id: 'b', n: -1, at: AT }])
    await runtime.settle()
    await home.stop(runtime)
    const next = await home.open([lax, totalOf(lax)])
    await send(next, 'events', [{ id: 'b', n: -2, at: AT }])
    await next.settle()
    expect(next.stream('events').counts).toEqual({ received: 9, accepted: 2, duplicates: 4, quarantined: 3 })
    expect(await rows(next)).toEqual(AFTER)
  })

  test('only what is asked for', async () => {
    const home = await Home.make()
    await home.stop(await filled(home))
    const runtime = await home.open([lax, totalOf(lax)])
    expect(await replay(runtime, `rule = 'type(n)'`)).toMatchObject({ received: 1, accepted: 0, quarantined: 1 })
    expect(await replay(runtime, '_offset = 3')).toMatchObject({ received: 1, accepted: 1 })
    expect(await rows(runtime)).toEqual([...BEFORE, { id: 'b', n: -6, at_offset: 3 }])
    expect(await replay(runtime)).toMatchObject({ received: 4, accepted: 0, duplicates: 1, quarantined: 3 })
    expect(await refused(runtime)).toEqual(LEFT)
  })

  test('beside new records, and in several partitions', async () => {
    const home = await Home.make()
    const first = await home.open([events([check.range('n', { min: 0 })], { partitions: 3 })])
    const sent = Array.from({ length: 60 }, (_, i) => ({ id: `e${i % 50}`, n: (i % 50) - 25, at: AT }))
    await send(first, 'events', sent)
    await first.settle()
    expect(first.stream('events').counts).toEqual({ received: 60, accepted: 25, duplicates: 0, quarantined: 35 })
    await home.stop(first)
    const runtime = await home.open([events([check.range('n', { min: -20 })], { partitions: 3 })])
    const [, counts] = await Promise.all([send(runtime, 'events', sent), replay(runtime)])
    await runtime.settle()
    // Ten of those refused came twice; the new ones, all known or refused again, may be before or behind them.
    expect(counts).toMatchObject({ received: 35 })
    await replay(runtime)
    expect(
      Number((await query(runtime, 'SELECT count(*) AS n, count(DISTINCT id) AS ids FROM {events}'))[0]!['n']),
    ).toBe(45)
    const { received, accepted, duplicates, quarantined } = runtime.stream('events').counts
    expect([received, accepted, duplicates + quarantined]).toEqual([120, 45, 75])
    expect(quarantined).toBe((await refused(runtime)).length)
    expect(await verify(runtime, 'events')).toMatchObject({ equal: true })
  })

  // The commit of the quarantine comes first, that of the rows decides; every operation in turn: test/soak.
  test.each([
    ['before the quarantine is committed', /^create .*quarantine.*metadata/],
    ['as the quarantine becomes visible', /^link .*quarantine.*metadata/],
    ['between the two commits', /^create .*processed.*metadata/],
    ['as the rows become visible', /^link .*processed.*metadata/],
    ['once all is visible', /^create .*processed.*version-hint/],
  ])('a process that ends %s leaves a record in the stream or in quarantine, not in both', async (_, at) => {
    const home = await Home.make()
    await home.stop(await filled(home))
    const disk = new FaultyDisk(`${home.directory}-limbo`)
    const broken = await home.open([lax, totalOf(lax)], { disk, start: false })
    disk.arm({ at, error: 'EIO', lasting: true })
    await replayQuarantine(broken.stream('events'), broken.database).catch(() => undefined)
    expect(disk.crashed).toBe(true)
    await home.stop(broken).catch(() => undefined)
    const next = await home.open([lax, totalOf(lax)])
    await next.settle()
    const found = await rows(next)
    const kept = await refused(next)
    expect([BEFORE, AFTER]).toContainEqual(found)
    expect(kept.length).toBe(found.length === 1 ? 5 : 3)
    expect(next.stream('events').counts.quarantined).toBe(kept.length)
    await replay(next)
    expect(await rows(next)).toEqual(AFTER)
    expect(await refused(next)).toEqual(LEFT)
    expect(next.stream('events').counts).toEqual({ received: 7, accepted: 2, duplicates: 2, quarantined: 3 })
    expect(await query(next, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 2 }])
    expect(await verify(next, 'events')).toMatchObject({ equal: true })
  })
})

describe('replaying the log', () => {
  test('from the start or an offset, through present code: the rows are those of one batch', async () => {
    const home = await Home.make()
    await home.stop(await filled(home))
    const runtime = await home.open([lax, totalOf(lax)])
    const runner = runtime.stream('events')
    for (const from of [0, 3, 0, 7]) {
      const { records } = await replayStream(runner, { database: runtime.database, from: [from], superseded: [] })
      await runtime.scheduler.settled()
      expect(records).toBe(7 - from)
    }
    expect(await rows(runtime)).toEqual(AFTER)
    expect(await refused(runtime)).toEqual(LEFT)
    expect(runner.counts).toEqual({ received: 7, accepted: 2, duplicates: 2, quarantined: 3 })
    expect(await query(runtime, 'SELECT n::INT AS n, sum::INT AS sum FROM {total}')).toEqual([{ n: 2, sum: -4 }])
    expect(await verify(runtime, 'events')).toMatchObject({ equal: true })
    // And back: what no longer passes goes to quarantine again.
    await home.stop(runtime)
    const back = await home.open([strict, totalOf(strict)])
    await replayStream(back.stream('events'), { database: back.database, from: [0], superseded: [] })
    await back.scheduler.settled()
    expect(await rows(back)).toEqual(BEFORE)
    expect(back.stream('events').counts).toEqual({ received: 7, accepted: 1, duplicates: 1, quarantined: 5 })
    expect(await query(back, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 1 }])
  })

  test('in several partitions, from different offsets', async () => {
    const home = await Home.make()
    const declared = events([check.range('n', { min: 0 })], { partitions: 3 })
    const runtime = await home.open([declared])
    for (let i = 0; i < 4; i++)
      await send(
        runtime,
        'events',
        Array.from({ length: 40 }, (_, k) => ({ id: `e${(i * 30 + k) % 100}`, n: k % 7 === 0 ? -1 : k, at: AT })),
      )
    await runtime.settle()
    const before = [await rows(runtime), await refused(runtime), runtime.stream('events').counts]
    const ends = runtime.stream('events').log.partitions.map(({ end }) => end)
    for (const from of [[0, 0, 0], ends.map((end) => Math.floor(end / 2)), [ends[0]!, 0, ends[2]!]])
      await replayStream(runtime.stream('events'), { database: runtime.database, from, superseded: [] })
    expect([await rows(runtime), await refused(runtime), runtime.stream('events').counts]).toEqual(before)
    expect(await verify(runtime, 'events')).toMatchObject({ equal: true })
  })
})

test('verify finds a row that was changed, one that is missing and one that is too many', async () => {
  const home = await Home.make()
  const runtime = await home.open([lax, totalOf(lax)])
  await send(runtime, 'events', SENT)
  await runtime.settle()
  const tamper = async (name: string, select: string) => {
    const lakeTable = runtime.lakeTable(name)
    const [file] = await lakeTable.files(lakeTable.snapshot()!)
    const fields = lakeTable.fields.map(({ name: column, id }) => `"${column}": ${id}`).join(', ')
    await runtime.database.execute(`CREATE OR REPLACE TABLE tampered AS SELECT * FROM read_parquet('${file!.path}')`)
    await runtime.database.execute(`COPY (${select}) TO '${file!.path}' (FORMAT parquet, FIELD_IDS {${fields}})`)
  }
  await tamper('events', `SELECT * REPLACE (CASE WHEN id = 'a' THEN 2 ELSE n END AS n) FROM tampered`)
  const changed = await verify(runtime, 'events')
  expect(changed).toMatchObject({ equal: false, published: 2, recomputed: 2, missing: 1, extra: 1 })
  expect(changed.examples.map(({ side, row }) => [side, /'n': (-?\d+)/.exec(row)![1]])).toEqual([
    ['missing', '1'],
    ['extra', '2'],
  ])
  await tamper('events', `SELECT * FROM tampered WHERE id <> 'a'`)
  expect(await verify(runtime, 'events')).toMatchObject({ equal: false, published: 1, missing: 1, extra: 0 })
  await tamper('total', `SELECT * FROM tampered UNION ALL SELECT * FROM tampered`)
  expect(await verify(runtime, 'total')).toMatchObject({ equal: false, published: 2, recomputed: 1 })
  expect(statusOf(runtime, 'events').state).toBe('ok')

  // Of rows that are alike, how many there are counts too.
  const plain = stream('plain', { columns: { n: t.int() } })
  await home.stop(runtime)
  const other = await home.open([plain])
  await send(other, 'plain', [{ n: 1 }, { n: 1 }])
  await other.settle()
  const lakeTable = other.lakeTable('plain')
  const [file] = await lakeTable.files(lakeTable.snapshot()!)
  await other.database.execute(`CREATE TABLE one AS SELECT * FROM read_parquet('${file!.path}') LIMIT 1`)
  await other.database.execute(
    `COPY one TO '${file!.path}' (FORMAT parquet, FIELD_IDS {n: 1, _partition: 2, _offset: 3})`,
  )
  expect(await verify(other, 'plain')).toMatchObject({
    equal: false,
    published: 1,
    recomputed: 2,
    missing: 1,
    extra: 0,
  })
})

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { sql, stream, t, table } from '../../src/index.ts'
import type { StreamOptions } from '../../src/index.ts'
import { replayQuarantine, replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send, statusOf } from './home.ts'

const columns = { id: t.int(), sensor: t.string(), ts: t.timestamp() }
type Options = Omit<StreamOptions<typeof columns>, 'columns'>

/** Readings, and how many there are in each ten seconds. */
function project(options: Options = {}, acceptLate?: string) {
  const readings = stream('readings', { columns, time: 'ts', lateness: '10 seconds', unique: ['id'], ...options })
  const counts = table('counts', {
    window: { size: '10 seconds' },
    ...(acceptLate === undefined ? {} : { acceptLate }),
    sql: sql`select count(*)::int as n from ${readings}`,
  })
  return [readings, counts]
}

const START = Date.UTC(2026, 2, 1)
const at = (seconds: number) => new Date(START + seconds * 1_000).toISOString()
let ids = 0
const reading = (seconds: number, sensor = 'a', id = ids++) => ({ id, sensor, ts: at(seconds) })

async function counts(runtime: Runtime): Promise<Record<string, number>> {
  await runtime.settle()
  const rows = await query(
    runtime,
    `select epoch(window_start)::bigint - ${START / 1_000} as s, n from {counts} order by s`,
  )
  return Object.fromEntries(rows.map(({ s, n }) => [Number(s), n as number]))
}

async function expectVerified(runtime: Runtime): Promise<void> {
  for (const name of ['readings', 'counts'])
    expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
}

const quarantined = (runtime: Runtime) =>
  query(runtime, 'select rule, reason, _offset::int as o from {quarantine.readings} order by o')

describe('late events', () => {
  test('correct the window they belong to, however late, when nothing bounds that', async () => {
    const home = await Home.make()
    const runtime = await home.open(project())
    await send(runtime, 'readings', [reading(1), reading(5), reading(12), reading(60)])
    expect(await counts(runtime)).toEqual({ 0: 2, 10: 1 })
    await send(runtime, 'readings', [reading(3), reading(33), reading(5_000)])
    expect(await counts(runtime)).toEqual({ 0: 3, 10: 1, 30: 1, 60: 1 })
    await expectVerified(runtime)
  })

  test('beyond what any window takes up go to quarantine, one by one and however they were batched', async () => {
    const events = [
      reading(1),
      reading(100),
      reading(85),
      reading(60),
      reading(59),
      reading(101),
      reading(61),
      reading(1),
    ]
    // The watermark is at 90 s after the second: 60 s is 30 s behind, 59 s is 31 s behind; at 91 s 61 s is 30 s behind.
    const batchings = [[events], events.map((event) => [event]), [events.slice(0, 3), events.slice(3)]]
    for (const batches of batchings) {
      const home = await Home.make()
      const runtime = await home.open(project({}, '30 seconds'))
      for (const batch of batches) {
        await send(runtime, 'readings', batch)
        await runtime.settle()
      }
      expect(await counts(runtime)).toEqual({ 0: 1, 60: 2, 80: 1 })
      expect(await quarantined(runtime)).toEqual([
        { rule: 'late', reason: '31.0 s behind the watermark; no window takes up what is over 30.0 s late', o: 4 },
        { rule: 'late', reason: '1 min 30 s behind the watermark; no window takes up what is over 30.0 s late', o: 7 },
      ])
      expect(statusOf(runtime, 'readings')).toMatchObject({ received: 8, accepted: 6, duplicates: 0, quarantined: 2 })
      await expectVerified(runtime)
    }
  })

  test('are found where batches are judged side by side, and what came before one is not known when it begins', async () => {
    const pad = 'x'.repeat(600)
    const streams = [stream('readings', { columns: { ...columns, pad: t.string() }, time: 'ts', lateness: '1 second' })]
    const windows = table('counts', {
      window: { size: '1 minute' },
      acceptLate: '1 second',
      sql: sql`select count(*)::int as n from ${streams[0]!}`,
    })
    // The last record of each batch is 40 s ahead of the next: of that one, 3,800 at its beginning are late.
    const BATCH = 20_000
    const times = Array.from({ length: 4 * BATCH }, (_, i) => i / 100 + (i % BATCH === BATCH - 1 ? 40 : 0))
    let newest = -Infinity
    const late = times.flatMap((time, i) => {
      if (newest - time > 2) return [i]
      newest = Math.max(newest, time)
      return []
    })
    expect(late).toHaveLength(3 * 3_800 - 3)
    const home = await Home.make()
    const first = await home.open([...streams, windows])
    for (let from = 0; from < times.length; from += BATCH) {
      const records = times.slice(from, from + BATCH).map((time, i) => ({ ...reading(time, 'a', from + i), pad }))
      await send(first, 'readings', records)
      await first.settle()
    }
    await home.stop(first)
    // Without the lake, all that is in the log is there at once: several batches, which are judged two at a time.
    await rm(join(home.dataDirectory, 'lake'), { recursive: true })
    const runtime = await home.open([...streams, windows])
    await runtime.settle()
    expect(await runtime.lakeTable('readings').files(runtime.lakeTable('readings').snapshot()!)).not.toHaveLength(1)
    expect((await quarantined(runtime)).map(({ o }) => o)).toEqual(late)
    expect(statusOf(runtime, 'readings')).toMatchObject({ received: 80_000, accepted: 80_000 - late.length })
  })

  test('that come again are duplicates and not late', async () => {
    const home = await Home.make()
    const runtime = await home.open(project({}, '5 seconds'))
    const first = reading(1)
    await send(runtime, 'readings', [first, reading(500)])
    await runtime.settle()
    await send(runtime, 'readings', [first])
    await runtime.settle()
    expect(statusOf(runtime, 'readings')).toMatchObject({ received: 3, accepted: 2, duplicates: 1, quarantined: 0 })
  })

  test('are judged alike after a stop, a crash and a replay', async () => {
    const home = await Home.make()
    let runtime = await home.open(project({}, '30 seconds'))
    await send(runtime, 'readings', [reading(1), reading(100)])
    await runtime.settle()
    await home.stop(runtime)
    runtime = await home.open(project({}, '30 seconds'))
    await send(runtime, 'readings', [reading(58), reading(62)])
    await runtime.settle()
    await home.crash(runtime)
    runtime = await home.open(project({}, '30 seconds'))
    await send(runtime, 'readings', [reading(57), reading(63)])
    await runtime.settle()
    const before = await quarantined(runtime)
    expect(before.map(({ o }) => o)).toEqual([2, 4])
    for (const from of [0, 3]) {
      await replayStream(runtime.stream('readings'), { database: runtime.database, from: [from], superseded: [] })
      expect(await quarantined(runtime)).toEqual(before)
      await expectVerified(runtime)
    }
  })

  test('are replayed from quarantine once the contract takes them', async () => {
    const home = await Home.make()
    let runtime = await home.open(project({}, '30 seconds'))
    await send(runtime, 'readings', [reading(1), reading(100), reading(50), reading(20)])
    expect(await counts(runtime)).toEqual({ 0: 1 })
    await replayQuarantine(runtime.stream('readings'), runtime.database)
    expect(statusOf(runtime, 'readings')).toMatchObject({ accepted: 2, quarantined: 2 })
    await home.stop(runtime)

    runtime = await home.open(project({}, '1 minute'))
    await replayQuarantine(runtime.stream('readings'), runtime.database)
    expect(await counts(runtime)).toEqual({ 0: 1, 50: 1 })
    expect((await quarantined(runtime)).map(({ o }) => o)).toEqual([3])
    await expectVerified(runtime)
  })
})

describe('a clock in the future', () => {
  test('closes no window: its events go to quarantine', async () => {
    const home = await Home.make()
    home.aheadMs = START - Date.now()
    const runtime = await home.open(project({ ahead: '1 hour' }))
    await send(runtime, 'readings', [
      reading(1),
      { ...reading(0), ts: '2099-01-01T00:00:00Z' },
      reading(5),
      reading(3_000),
    ])
    expect(await counts(runtime)).toEqual({ 0: 2 })
    const [refused, ...more] = await quarantined(runtime)
    expect(more).toEqual([])
    expect(refused).toMatchObject({ rule: 'ahead', o: 1 })
    expect(refused!['reason']).toMatch(
      /^its time is \d+ d( \d+ h)? ahead of its arrival, over the 1 h the stream allows$/,
    )
    await expectVerified(runtime)
  })
})

describe('idle partitions', () => {
  const keyed = (idle?: string): Options => ({ partitions: 2, key: 'id', ...(idle === undefined ? {} : { idle }) })

  test('hold time back, unless idle says for how long at most', async () => {
    for (const idle of [undefined, '200 ms']) {
      const home = await Home.make()
      const runtime = await home.open(project(keyed(idle)))
      // Both partitions get something early, then only one of them goes on.
      await send(
        runtime,
        'readings',
        Array.from({ length: 20 }, (_, id) => reading(1, 'a', 1_000 + id)),
      )
      await send(runtime, 'readings', [reading(100, 'a', 7)])
      if (idle === undefined) {
        expect(await counts(runtime)).toEqual({})
        continue
      }
      await expect.poll(() => counts(runtime), { timeout: 20_000 }).toEqual({ 0: 20 })
      // Whoever was idle is not late for it: its window is corrected.
      await send(
        runtime,
        'readings',
        Array.from({ length: 20 }, (_, id) => reading(2, 'a', 2_000 + id)),
      )
      expect((await counts(runtime))[0]).toBeGreaterThan(20)
      await expectVerified(runtime)
    }
  })
})

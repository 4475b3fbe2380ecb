import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sql, table } from '../../src/index.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { readRecord } from '../../src/runtime/record.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { echoes, kept, seen, served, visits } from './functions/project.ts'
import { Home, type OpenOptions, type Row, query, send, statusOf } from './home.ts'

/** Windows over what functions make of a stream: they close by the stream's time. */
const LOADER = new URL('./functions/loader.ts', import.meta.url).href
const BASE_MS = Date.UTC(2026, 2, 1)
const LATENESS_MS = 20_000

const perMinute = table('per_minute', {
  window: { size: '1 minute' },
  sql: sql`select page, count(*) as n from ${kept} group by page`,
})
const sessions = table('sessions', {
  window: { gap: '30 seconds', by: 'page' },
  sql: sql`select count(*) as n from ${seen}`,
})
const hourly = table('hourly', {
  interval: 'hour',
  emit: 'closed',
  sql: sql`select nth, count(*) as n from ${echoes} group by nth`,
})
const all: readonly Declaration[] = [visits, seen, kept, echoes, perMinute, sessions, hourly]

function open(home: Home, declarations = all, options: OpenOptions = {}): Promise<Runtime> {
  return home.open(declarations, { loader: LOADER, config: { limits: { functionWorkers: 1 } }, ...options })
}

const iso = (ms: number) => new Date(ms).toISOString()
const visit = (id: number, seconds: number, page = '/') => ({ id, at: iso(BASE_MS + seconds * 1_000), page })
const minutes = (runtime: Runtime) =>
  query(runtime, `SELECT epoch_ms(window_start) - ${BASE_MS} AS at, page, n FROM {per_minute} ORDER BY ALL`)
const windowOf = (at: number, n: number, page = '/') => ({ at: String(at), page, n: String(n) })

describe('a window over what functions made', () => {
  test('closes when the stream’s watermark has passed it, and is corrected by what comes later', async () => {
    const home = await Home.make()
    const runtime = await open(home)
    await send(runtime, 'visits', [visit(1, 10), visit(2, 20), visit(3, 79)])
    await runtime.settle()
    expect(await minutes(runtime)).toEqual([])
    expect(statusOf(runtime, 'kept').watermark).toBe(iso(BASE_MS + 59_000))
    // Nobody sees this one but for the time that it brings.
    await send(runtime, 'visits', [visit(4, 80, '/none')])
    await runtime.settle()
    expect(statusOf(runtime, 'kept').watermark).toBe(iso(BASE_MS + 60_000))
    expect(await minutes(runtime)).toEqual([windowOf(0, 2)])
    await send(runtime, 'visits', [visit(5, 30)])
    await runtime.settle()
    expect(await minutes(runtime)).toEqual([windowOf(0, 3)])
  })

  test('knows the time after a stop, a crash, a replay and a change of the function', async () => {
    const home = await Home.make()
    let runtime = await open(home)
    await send(runtime, 'visits', [visit(1, 10), visit(2, 70), visit(3, 100, '/none')])
    await runtime.settle()
    const closed = [windowOf(0, 1)]
    expect(await minutes(runtime)).toEqual(closed)
    await home.stop(runtime)
    runtime = await open(home)
    await replayStream(runtime.stream('visits'), { database: runtime.database, from: [0, 0], superseded: [] })
    await runtime.settle()
    expect(await minutes(runtime)).toEqual(closed)
    expect(statusOf(runtime, 'echoes').watermark).toBe(iso(BASE_MS + 80_000))
    await home.crash(runtime)
    const changed = { ...kept, materialization: { ...kept.materialization, code: 'other' } }
    const others = table('per_minute', { window: { size: '1 minute' }, sql: sql`select count(*) as n from ${changed}` })
    runtime = await open(home, [visits, seen, changed, others])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n FROM {per_minute}')).toEqual([{ n: '1' }])
    await send(runtime, 'visits', [visit(4, 140)])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n FROM {per_minute} ORDER BY window_start')).toEqual([{ n: '1' }, { n: '1' }])
  })

  test('waits for no partition that is idle', async () => {
    const home = await Home.make()
    const idle = { ...visits, idle: '300 ms' as const }
    const runtime = await open(home, [idle, ...seenOf(idle)])
    // Both partitions get something early, then only one of them goes on.
    const early = Array.from({ length: 20 }, (_, id) => visit(1_000 + id, 10))
    await send(runtime, 'visits', early)
    await send(runtime, 'visits', [visit(1, 90)])
    await expect.poll(() => minutes(runtime), { timeout: 20_000 }).toEqual([windowOf(0, 20)])
  })

  test('waits for what the function has still to take, however long nothing more comes', async () => {
    const home = await Home.make()
    const idle = { ...visits, idle: '5 seconds' as const }
    const made = { ...served, transform: { ...served.transform, input: idle }, sql: sql`select * from ${idle}` }
    const over = table('per_minute', { window: { size: '1 minute' }, sql: sql`select count(*) as n from ${made}` })
    const runtime = await open(home, [idle, made, over])
    const rows = () => query(runtime, 'SELECT n FROM {per_minute}')
    const early = Array.from({ length: 20 }, (_, id) => visit(1_000 + id, 10, 'up'))
    await send(runtime, 'visits', early)
    await send(runtime, 'visits', [visit(1, 90, 'up')])
    await runtime.settle()
    const service = join(home.dataDirectory, 'down')
    writeFileSync(service, '')
    await send(
      runtime,
      'visits',
      early.map(({ id, at }) => ({ id: id + 1_000, at, page: service })),
    )
    await expect.poll(() => statusOf(runtime, 'served').state, { timeout: 20_000 }).toBe('failed')
    await setTimeout(6_500)
    expect(await rows()).toEqual([])
    rmSync(service)
    runtime.scheduler.due(made)
    await expect.poll(rows, { timeout: 20_000 }).toEqual([{ n: '40' }])
  })

  test('bounds with acceptLate what the stream takes', async () => {
    const home = await Home.make()
    const bounded = table('per_minute', {
      window: { size: '1 minute' },
      acceptLate: '1 minute',
      sql: sql`select page, count(*) as n from ${kept} group by page`,
    })
    const one = { ...visits, partitions: 1 }
    const runtime = await open(home, [one, ...seenOf(one, bounded)])
    await send(runtime, 'visits', [visit(1, 10), visit(2, 300)])
    await send(runtime, 'visits', [visit(3, 221), visit(4, 219)])
    await runtime.settle()
    expect(statusOf(runtime, 'visits')).toMatchObject({ accepted: 3, quarantined: 1 })
    expect(await query(runtime, `SELECT rule, raw->>'id' AS id FROM {quarantine.visits}`)).toEqual([
      { rule: 'late', id: '4' },
    ])
  })
})

/** The same functions over another declaration of the stream. */
function seenOf(stream: typeof visits, over = perMinute): Declaration[] {
  const first = { ...seen, transform: { ...seen.transform, input: stream }, sql: sql`select * from ${stream}` }
  const second = { ...kept, transform: { ...kept.transform, input: first }, sql: sql`select * from ${first}` }
  const third = { ...over, sql: sql`select page, count(*) as n from ${second} group by page` }
  return [first, second, third]
}

test('a long backlog is taken in steps, and time goes on with each of them and never ahead of it', async () => {
  const home = await Home.make()
  const waiting = await open(home, [visits])
  const records = Array.from({ length: 40_000 }, (_, i) => visit(i, i / 10 - (i % 7), i % 11 === 0 ? '/none' : '/'))
  await send(waiting, 'visits', records)
  await waiting.settle()
  await home.stop(waiting)
  const runtime = await open(home)
  await runtime.settle()
  for (const name of ['seen', 'kept']) {
    const steps = runtime
      .lakeTable(name)
      .history()
      .flatMap(({ summary }) => readRecord(summary) ?? [])
      .filter(({ newest }) => newest?.some((ms) => ms !== null))
    expect(steps.length, name).toBeGreaterThan(1)
    for (const { newest, offsets } of steps) {
      for (const [partition, ms] of newest!.entries()) {
        const [row] = await query(
          runtime,
          `SELECT epoch_ms(max("at")) AS ms FROM {visits} WHERE _partition = ${partition} AND _offset < ${offsets![partition]!}`,
        )
        const truth = row!['ms'] === null ? null : Number(row!['ms'])
        // What a filter has dropped tells its time at the end only.
        if (name === 'seen' || offsets![partition] === steps.at(-1)!.offsets![partition]) expect(ms).toBe(truth)
        else expect(ms ?? -Infinity).toBeLessThanOrEqual(truth ?? -Infinity)
      }
    }
  }
  await expectBulk(runtime)
})

test('the rows are those of one bulk statement, however input is batched, late, repeated and interrupted', async () => {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          step: fc.integer({ min: 0, max: 20_000 }),
          disorder: fc.integer({ min: 0, max: LATENESS_MS }),
          late: fc.integer({ min: 0, max: 9 }).map((n) => (n === 0 ? 300_000 : 0)),
          page: fc.constantFrom('/', '/a', '/none', 'throw'),
        }),
        { minLength: 10, maxLength: 80, size: 'max' },
      ),
      fc.infiniteStream(fc.integer({ min: 1, max: 25 })),
      fc.infiniteStream(fc.constantFrom('settle', 'settle', 'go on', 'restart', 'repeat')),
      async (steps, sizes, acts) => {
        const home = await Home.make()
        let runtime = await open(home)
        let now = BASE_MS
        const events = steps.map(({ step, disorder, late, page }, id) => {
          now += step
          return { id, at: iso(now - disorder - late), page }
        })
        for (let i = 0; i < events.length;) {
          const batch = events.slice(i, i + sizes.next().value)
          await send(runtime, 'visits', batch)
          const act = acts.next().value
          if (act === 'repeat') await send(runtime, 'visits', batch)
          i += batch.length
          if (act === 'settle') await runtime.settle()
          if (act === 'restart') {
            await home.crash(runtime)
            runtime = await open(home)
          }
        }
        await runtime.settle()
        compared += await expectBulk(runtime)
        for (const { name } of [perMinute, sessions, hourly])
          expect(await verify(runtime, name), name).toMatchObject({ equal: true })
        await home.stop(runtime)
      },
    ),
    { numRuns: Number(process.env['WINDOW_RUNS'] ?? 8) },
  )
  expect(compared).toBeGreaterThan(0)
})

/** Compares the windows with what one statement makes of the stream's rows and the newest events of its partitions. Gives their number. */
async function expectBulk(runtime: Runtime): Promise<number> {
  const [time] = await query(
    runtime,
    `SELECT min(ms) - ${LATENESS_MS} AS ms FROM (SELECT epoch_ms(max("at")) AS ms FROM {visits} GROUP BY _partition)`,
  )
  const end = `make_timestamp(${String(time!['ms'])} * 1000)`
  const taken = `(SELECT * FROM {visits} WHERE page <> 'throw')`
  const numbered = `SELECT *, sum(fresh) OVER (PARTITION BY page ORDER BY "at", id) AS nr FROM (SELECT *,
      CASE WHEN "at" - lag("at") OVER (PARTITION BY page ORDER BY "at", id) < INTERVAL 30 second THEN 0 ELSE 1 END AS fresh FROM ${taken})`
  const closed = (length: string, slotted: string) =>
    `SELECT *, count(*) AS n FROM (${slotted}) WHERE COLUMNS('window_start|hour') + INTERVAL 1 ${length} <= ${end} GROUP BY ALL`
  const wanted: Record<string, string> = {
    per_minute: closed(
      'minute',
      `SELECT time_bucket(INTERVAL 1 minute, "at") AS window_start, page FROM ${taken} WHERE page <> '/none'`,
    ),
    sessions: `SELECT min("at") AS window_start, page, count(*) AS n FROM (${numbered}) GROUP BY page, nr
      HAVING max("at") + INTERVAL 30 second <= ${end}`,
    hourly: closed(
      'hour',
      `SELECT date_trunc('hour', "at" - to_hours(i::INT)) AS hour, i + 1 AS nth FROM ${taken}, range(2) r(i) WHERE page <> '/none'`,
    ),
  }
  let rows = 0
  for (const [name, bulk] of Object.entries(wanted)) {
    const columns = name === 'hourly' ? 'hour, nth, n' : 'window_start, page, n'
    const [published, expected] = [`SELECT ${columns} FROM {${name}}`, `SELECT ${columns} FROM (${bulk})`]
    const difference = (a: string, b: string): Promise<Row[]> =>
      query(runtime, `(${a} EXCEPT ALL ${b}) ORDER BY ALL LIMIT 5`)
    expect(await difference(expected, published), `${name} lacks`).toEqual([])
    expect(await difference(published, expected), `${name} has too much`).toEqual([])
    rows += (await query(runtime, published)).length
  }
  return rows
}

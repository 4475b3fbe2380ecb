import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { RuntimePlatform } from '../../src/cli/platform.ts'
import { sql, stream, t, table } from '../../src/index.ts'
import type { Config } from '../../src/project/config.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import type { ServingLimits } from '../../src/serving/limits.ts'
import { type Server, startServer } from '../../src/serving/server.ts'
import { Home, send } from '../runtime/home.ts'
import { Follower } from './follow.ts'
import { get } from './fixture.ts'

const events = stream('events', {
  columns: { id: t.long(), kind: t.string(), amount: t.decimal(10, 2), note: t.json().nullable() },
  unique: ['id'],
})
const totals = table('totals', {
  key: 'kind',
  sql: sql`select kind, count(*) as n, sum(amount)::decimal(38, 2) as amount from ${events} group by kind`,
})

interface Running {
  readonly runtime: Runtime
  readonly server: Server
  follow(path: string, headers?: Record<string, string>): Follower
  stop(): Promise<void>
}

async function run(home: Home, limits: Partial<ServingLimits> = {}, config: Config = {}): Promise<Running> {
  const runtime = await home.open([events, totals])
  const server = await startServer({
    platform: new RuntimePlatform(runtime),
    config: { ...config, server: { port: 0, ...config.server } },
    clock: systemClock,
    directories: [join(home.dataDirectory, 'lake')],
    temporary: join(home.dataDirectory, 'tmp'),
    controlToken: 'control',
    limits,
  })
  const followers: Follower[] = []
  let stopped = false
  const stop = async () => {
    if (stopped) return
    stopped = true
    await server.close()
    for (const follower of followers) follower.close()
    await home.stop(runtime)
  }
  onTestFinished(stop)
  return {
    runtime,
    server,
    stop,
    follow(path, headers) {
      const follower = new Follower(`${server.url}/v1/datasets/${path}`, headers)
      followers.push(follower)
      return follower
    },
  }
}

const event = (id: number, kind = 'a', amount = '1.00', note: unknown = null) => ({ id, kind, amount, note })
const began = (follower: Follower) => follower.events[0]?.event === 'begin'

async function publish(runtime: Runtime, ...rows: object[]): Promise<void> {
  await send(runtime, 'events', rows)
  await runtime.settle()
}

describe('following', () => {
  test('new rows of a stream come as they are published, with the values of …/rows', async () => {
    const { runtime, server, follow } = await run(await Home.make())
    await publish(runtime, event(1))
    const follower = await follow('events/live').until(began)
    expect(follower.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
    })
    expect(follower.events[0]!.data).toMatchObject({
      dataset: 'events',
      columns: expect.arrayContaining([{ name: 'amount', type: 'decimal(10, 2)' }]),
    })
    await publish(runtime, event(2, 'b', '2.50', { lines: [1, 'two\nlines'] }), event(1))
    await publish(runtime, event(3))
    await follower.until((f) => f.rows().length === 2)
    const { body } = await get(server, '/v1/datasets/events/rows?order=id&id.gt=1')
    expect(follower.rows()).toEqual(body.rows)
    expect(follower.lastId).toBe(String(runtime.lakeTable('events').snapshot()!.id))
  })

  test('a table: a changed row goes and comes, the others are not told', async () => {
    const { runtime, follow } = await run(await Home.make())
    await publish(runtime, event(1, 'a'), event(2, 'b'))
    const follower = await follow('totals/live').until(began)
    await publish(runtime, event(3, 'b', '4.00'), event(4, 'c'))
    await follower.until((f) => f.rows().length === 2)
    expect(follower.events.slice(1).map(({ event: name, data }) => [name, data])).toEqual([
      ['removed', [{ kind: 'b', n: 1, amount: 1 }]],
      [
        'rows',
        [
          { kind: 'b', n: 2, amount: 5 },
          { kind: 'c', n: 1, amount: 1 },
        ],
      ],
    ])
  })

  test('from=start begins with all rows, in events of bounded size; filters and columns as in …/rows', async () => {
    const { runtime, follow } = await run(await Home.make(), { liveEventRows: 7, livePageRows: 10 })
    await publish(runtime, ...Array.from({ length: 50 }, (_, i) => event(i, i % 2 === 0 ? 'even' : 'odd')))
    const all = await follow('events/live?from=start').until((f) => f.rows().length === 50)
    expect(all.rows().map(({ id }) => id)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(Math.max(...all.events.slice(1).map(({ data }) => data.length))).toBeLessThanOrEqual(7)
    const odd = await follow('events/live?from=start&kind=odd&id.gte=20&columns=id').until(
      (f) => f.rows().length === 15,
    )
    expect(odd.rows()).toEqual(Array.from({ length: 15 }, (_, i) => ({ id: 21 + 2 * i })))
    // Rows that no filter lets through still move the place on.
    const none = await follow('events/live?kind=none').until(began)
    await publish(runtime, event(99, 'odd'))
    await none.until((f) => f.lastId === String(runtime.lakeTable('events').snapshot()!.id))
    expect(none.events).toHaveLength(1)
    await odd.until((f) => f.rows().length === 16)
  })

  test('many clients of one dataset all get everything, and cost one reading', async () => {
    const { runtime, follow } = await run(await Home.make())
    await publish(runtime, event(0))
    const followers = await Promise.all(Array.from({ length: 20 }, () => follow('events/live').until(began)))
    for (let id = 1; id <= 5; id++) await publish(runtime, event(id))
    for (const follower of followers) await follower.until((f) => f.rows().length === 5)
    for (const follower of followers) expect(follower.rows().map(({ id }) => id)).toEqual([1, 2, 3, 4, 5])
  })

  test('a comment says that a silent connection lives', async () => {
    const { runtime, follow } = await run(await Home.make(), { liveHeartbeatMs: 20 })
    const follower = await follow('events/live').until((f) => f.comments >= 3)
    await publish(runtime, event(1))
    await follower.until((f) => f.rows().length === 1)
  })
})

describe('resuming', () => {
  test('from any event, by header or parameter, across restarts: every row once', async () => {
    const home = await Home.make()
    let running = await run(home, { liveEventRows: 3, livePageRows: 5 })
    await publish(running.runtime, ...Array.from({ length: 20 }, (_, i) => event(i, `k${i}`)))
    const whole = await running.follow('events/live?from=start').until((f) => f.rows().length === 20)
    const table1 = await running.follow('totals/live?from=start').until((f) => f.rows().length === 20)
    await publish(running.runtime, ...Array.from({ length: 20 }, (_, i) => event(100 + i, `k${i}`)))
    await whole.until((f) => f.rows().length === 40)
    await table1.until((f) => f.rows().length === 40)
    await running.stop()
    expect((await whole.end()).ended).toBe(true)

    running = await run(home, { liveEventRows: 3, livePageRows: 5 })
    await publish(running.runtime, event(200, 'last'))
    for (const [path, before] of [
      ['events/live', whole],
      ['totals/live', table1],
    ] as const) {
      const told = before.events.slice(1).flatMap((each) => each.data.map((row: object) => [each.event, row]))
      for (const [i, { id }] of before.events.entries()) {
        // The id of `begin` is that of nothing seen: it leads to all rows of the present.
        if (i === 0) continue
        const seen = before.events.slice(1, i + 1).reduce((sum, { data }) => sum + data.length, 0)
        const resumed =
          i % 2 === 0 ? running.follow(path, { 'last-event-id': id }) : running.follow(`${path}?after=${id}`)
        await resumed.until((f) => f.lastId === String(running.runtime.lakeTable(path.split('/')[0]!).snapshot()!.id))
        const got = resumed.events.slice(1).flatMap((each) => each.data.map((row: object) => [each.event, row]))
        expect(got.slice(0, -1), `after event ${i}`).toEqual(told.slice(seen))
        expect(got.at(-1)).toEqual(['rows', expect.objectContaining({ kind: 'last' })])
        resumed.close()
      }
    }
  }, 60_000)

  test('the header outdoes the address a browser began with', async () => {
    const { runtime, follow } = await run(await Home.make())
    await publish(runtime, event(1))
    const first = await follow('events/live?from=start').until((f) => f.rows().length === 1)
    await publish(runtime, event(2))
    const again = follow('events/live?from=start', { 'last-event-id': first.events[1]!.id })
    await again.until((f) => f.rows().length === 1)
    expect(again.rows()).toMatchObject([{ id: 2 }])
  })

  test('after snapshots expired, a reset says so, and goes on from the present', async () => {
    const home = await Home.make()
    const { runtime, follow } = await run(home)
    await publish(runtime, event(0))
    const first = runtime.lakeTable('events').snapshot()!.id
    for (let id = 1; id < 105; id++) {
      await send(runtime, 'events', [event(id)])
      await runtime.stream('events').drain()
    }
    home.aheadMs = 8 * 86_400_000
    await maintain(runtime, { minFiles: 1_000, rewriteBytesMax: Infinity })
    const follower = await follow('events/live', { 'last-event-id': String(first) }).until((f) => f.events.length === 2)
    expect(follower.events[1]).toMatchObject({
      event: 'reset',
      id: String(runtime.lakeTable('events').snapshot()!.id),
      data: { code: 'history-expired', hint: expect.stringContaining('from=start') },
    })
    await publish(runtime, event(1_000))
    await follower.until((f) => f.rows().length === 1)
  }, 60_000)
})

/** Tries until a client is let in, and leaves again. */
async function anotherIsLetIn(follow: Running['follow']): Promise<void> {
  for (;;) {
    const next = await follow('totals/live').until((f) => began(f) || f.status === 429)
    next.close()
    await next.end()
    if (began(next)) return
  }
}

describe('bounds', () => {
  test('a client that does not read is cut off, and resumes where it was', async () => {
    const { runtime, follow } = await run(await Home.make(), { liveStallMs: 100, liveConnections: 1 })
    const note = 'x'.repeat(100_000)
    for (let part = 0; part < 5; part++)
      await publish(runtime, ...Array.from({ length: 40 }, (_, i) => event(part * 40 + i, 'a', '1.00', note)))
    const slow = await follow('events/live?from=start').until(began)
    slow.response!.pause()
    // There is room for one: for another as soon as the slow one is cut off, which learns of it when it reads again.
    await anotherIsLetIn(follow)
    slow.response!.resume()
    await slow.end()
    const ids = slow.rows().map(({ id }) => id)
    expect(ids.length).toBeLessThan(200)
    let rest = follow('events/live', { 'last-event-id': slow.lastId })
    while ((await rest.until((f) => f.status !== 0)).status === 429)
      rest = follow('events/live', { 'last-event-id': slow.lastId })
    await rest.until((f) => f.lastId === String(runtime.lakeTable('events').snapshot()!.id))
    expect([...ids, ...rest.rows().map(({ id }) => id)]).toEqual(Array.from({ length: 200 }, (_, i) => i))
  }, 60_000)

  test('one client too many is refused, until another goes', async () => {
    const { follow } = await run(await Home.make(), { liveConnections: 2 })
    const first = await follow('events/live').until(began)
    await follow('totals/live').until(began)
    const refused = await follow('events/live').end()
    expect(refused).toMatchObject({ status: 429, problem: { code: 'too-many-live', limit: 2 } })
    expect(refused.headers['retry-after']).toBe('1')
    first.close()
    await anotherIsLetIn(follow)
  })

  test('closing the server ends the connections at once', async () => {
    const running = await run(await Home.make())
    const follower = await running.follow('events/live').until(began)
    await Promise.all([running.stop(), follower.end()])
  })
})

const WRONG: readonly (readonly [path: string, status: number, code: string, detail: string, hint: string])[] = [
  ['nothing/live', 404, 'unknown-dataset', "There is no dataset 'nothing'", 'There are'],
  ['event/live', 404, 'unknown-dataset', "There is no dataset 'event'", "Did you mean 'events'?"],
  ['events/live?after=latest', 400, 'bad-position', "'latest' is not a place", 'id of the last event'],
  ['events/live?after=1.2', 400, 'bad-position', "'1.2' is not a place", 'id of the last event'],
  ['events/live?after=', 400, 'bad-position', "'' is not a place", 'leave it out'],
  ['events/live?after=99999999999999999999', 400, 'bad-position', 'is not a place', 'id of the last event'],
  ['events/live?from=yesterday', 400, 'bad-value', 'from=yesterday', 'from=start'],
  ['events/live?colour=red', 400, 'unknown-column', "events has no column 'colour'", 'There are'],
  ['events/live?columns=id,colour', 400, 'unknown-column', "no column 'colour'", 'There are'],
  ['events/live?id=many', 400, 'bad-value', "id: 'many' is not a valid long", 'whole number'],
  ['events/live?kind.like=a', 400, 'unknown-operator', "no operator 'like'", ''],
  ['events/live?note=1', 400, 'bad-filter', "'note' is of type json", '/v1/sql'],
  [
    `events/live?after=${encodeURIComponent("x' or 1=1 --")}`,
    400,
    'bad-position',
    "'x' or 1=1 --' is not a place",
    'leave it out',
  ],
  ['events/live?after=1.2.-3', 400, 'bad-position', "'1.2.-3' is not a place", 'leave it out'],
  ['events/live?after=1.2.3%00', 400, 'bad-position', 'is not a place', 'leave it out'],
]

describe('wrong requests', () => {
  test('each gets a problem document that says what to do', async () => {
    const { follow } = await run(await Home.make())
    for (const [path, status, code, detail, hint] of WRONG) {
      expect(await follow(path).end(), path).toMatchObject({
        status,
        problem: { code, detail: expect.stringContaining(detail), hint: expect.stringContaining(hint) },
      })
    }
    const header = await follow('events/live', { 'last-event-id': 'latest' }).end()
    expect(header).toMatchObject({ status: 400, problem: { code: 'bad-position' } })
  })

  test('an id of no snapshot of this dataset is a reset; hostile values of a filter are only values', async () => {
    const { runtime, follow } = await run(await Home.make())
    await publish(runtime, event(1, "' or true --"))
    await follow('events/live', { 'last-event-id': '17' }).until((f) => f.events[1]?.event === 'reset')
    await follow('events/live', { 'last-event-id': '17.18.5' }).until((f) => f.events[1]?.event === 'reset')
    const value = encodeURIComponent("' or true --")
    const follower = await follow(`events/live?from=start&kind=${value}`).until((f) => f.rows().length === 1)
    const none = await follow(`events/live?from=start&kind=x${value}`).until((f) => f.lastId !== '0')
    expect([follower.rows().length, none.rows().length]).toEqual([1, 0])
  })

  test('a token is asked for as everywhere', async () => {
    const { follow } = await run(await Home.make(), {}, { server: { token: 'secret' } })
    expect(await follow('events/live').end()).toMatchObject({ status: 401, problem: { code: 'token-missing' } })
    await follow('events/live', { authorization: 'Bearer secret' }).until(began)
  })
})

test('the OpenAPI document has it, for each dataset with its columns', async () => {
  const { server } = await run(await Home.make())
  const { body } = await get(server, '/openapi.json')
  expect(body.paths['/v1/datasets/{name}/live'].get.responses['200'].content).toHaveProperty('text/event-stream')
  const parameters = body.paths['/v1/datasets/totals/live'].get.parameters.map(({ name }: { name: string }) => name)
  expect(parameters).toEqual(expect.arrayContaining(['from', 'after', 'Last-Event-ID', 'columns', 'kind', 'n']))
})

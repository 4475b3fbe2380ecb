import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ChangeBatch, type HandlerOptions, onChange, sql, stream, t, table } from '../../src/index.ts'
import type { Handler } from '../../src/project/handler.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { systemClock } from '../../src/base/clock.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, send, statusOf } from './home.ts'

const events = stream('events', { columns: { id: t.int(), kind: t.string() }, unique: ['id'] })
const counts = table('counts', { key: 'kind', sql: sql`select kind, count(*) as n from ${events} group by kind` })

type Batch = Pick<ChangeBatch, 'id' | 'snapshot' | 'rows' | 'removed' | 'reset'>

/** A handler that takes down its calls, and does besides what it is told. */
function recording(
  options: Partial<HandlerOptions> & { of?: typeof events | typeof counts } = {},
  also: (batch: ChangeBatch, call: number) => unknown = () => undefined,
): { handler: Handler; calls: Batch[]; ids(): unknown[]; until(wanted: () => boolean): Promise<void> } {
  const { of = events, ...rest } = options
  const calls: Batch[] = []
  const waiting = new Set<() => void>()
  const handler = onChange(
    of as typeof counts,
    (batch) => {
      const { signal: _, ...told } = batch
      calls.push(told)
      for (const wake of waiting) wake()
      waiting.clear()
      return also(batch, calls.length)
    },
    { name: 'recorder', ...rest },
  )
  return {
    handler,
    calls,
    ids: () => calls.flatMap(({ rows }) => rows.map((row) => row['id'])),
    async until(wanted) {
      while (!wanted()) await new Promise<void>((resolve) => waiting.add(resolve))
    },
  }
}

const event = (id: number, kind = 'a') => ({ id, kind })
const placeOf = async (home: Home, name = 'recorder') =>
  JSON.parse(await readFile(join(home.dataDirectory, 'handlers', `${name}.json`), 'utf8')) as Record<string, unknown>

async function publish(runtime: Runtime, ...ids: number[]): Promise<void> {
  await send(
    runtime,
    'events',
    ids.map((id) => event(id)),
  )
  await runtime.settle()
}

describe('delivery', () => {
  test('each published change once, from the present on, in order', async () => {
    const home = await Home.make()
    let runtime = await home.open([events])
    await publish(runtime, 1, 2)
    await home.stop(runtime)

    const first = recording()
    runtime = await home.open([events, first.handler])
    await publish(runtime, 3, 4, 3)
    await publish(runtime, 5)
    await runtime.handlers.drain()
    expect(first.ids()).toEqual([3, 4, 5])
    expect(first.calls[0]).toMatchObject({
      id: `events/${first.calls[0]!.snapshot}/0`,
      rows: [
        { id: 3, kind: 'a', _partition: 0, _offset: 2 },
        { id: 4, kind: 'a', _partition: 0, _offset: 3 },
      ],
      removed: [],
      reset: false,
    })
    await home.stop(runtime)

    // While it is away, records are only received; it goes on where it was.
    const second = recording()
    runtime = await home.open([events, second.handler])
    await publish(runtime, 6)
    await runtime.handlers.drain()
    expect(second.ids()).toEqual([6])
  })

  test("from: 'start' begins with all rows, in batches of the size wanted", async () => {
    const home = await Home.make()
    let runtime = await home.open([events])
    await publish(runtime, ...Array.from({ length: 25 }, (_, i) => i))
    await home.stop(runtime)
    const all = recording({ from: 'start', batch: 10 })
    runtime = await home.open([events, all.handler])
    await runtime.handlers.drain()
    expect(all.calls.map(({ id, rows }) => [id.replace(/\/\d+\//, '/S/'), rows.length])).toEqual([
      ['events/S/0', 10],
      ['events/S/10', 10],
      ['events/S/20', 5],
    ])
    expect(all.ids()).toEqual(Array.from({ length: 25 }, (_, i) => i))
  })

  test('a table: rows that are gone come with those in their place', async () => {
    const home = await Home.make()
    const of = recording({ of: counts })
    const runtime = await home.open([events, counts, of.handler])
    await send(runtime, 'events', [event(1, 'a'), event(2, 'b')])
    await runtime.settle()
    await send(runtime, 'events', [event(3, 'b'), event(4, 'c')])
    await runtime.settle()
    await runtime.handlers.drain()
    expect(of.calls.at(-1)).toMatchObject({
      removed: [{ kind: 'b', n: 1 }],
      rows: [
        { kind: 'b', n: 2 },
        { kind: 'c', n: 1 },
      ],
    })
  })

  test('a running handler is woken by what is published, and several do not wait for each other', async () => {
    const home = await Home.make()
    hurry(home)
    const never = recording({ name: 'never', timeout: '1 day' }, () => new Promise(() => undefined))
    const one = recording({ name: 'one' })
    const runtime = await home.open([events, never.handler, one.handler])
    await send(runtime, 'events', [event(1)])
    await one.until(() => one.calls.length === 1)
    await send(runtime, 'events', [event(2)])
    await one.until(() => one.calls.length === 2)
    await runtime.stream('events').drain()
    expect(never.calls).toHaveLength(1)
    expect(statusOf(runtime, 'events').state).toBe('ok')
    await home.crash(runtime)
  })
})

describe('at least once', () => {
  test('killed after a call and before its place is written: the same batch with the same id', async () => {
    const home = await Home.make()
    let crashed: Promise<void> | undefined
    const before = recording({ batch: 3 }, (_, call) => {
      // The second batch is done, and the process gone before that is known.
      if (call === 2) crashed = home.crash(runtime)
    })
    let runtime = await home.open([events, before.handler])
    await send(
      runtime,
      'events',
      Array.from({ length: 8 }, (_, i) => event(i)),
    )
    await before.until(() => before.calls.length === 2)
    await crashed

    const after = recording({ batch: 3 })
    runtime = await home.open([events, after.handler])
    await runtime.handlers.drain()
    expect(after.calls[0]).toEqual(before.calls[1])
    expect([...before.ids(), ...after.ids()]).toEqual([0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7])
  })

  test.each([
    ['the process ends', undefined, 1],
    ['the power fails', { names: 0, bytes: 0 }, 2],
    ['the power fails and keeps the newest names', { names: 0.5, lastNames: true, bytes: 0.5 }, 3],
  ])(
    'sweep: when any operation fails and %s, no row is missed, and what comes twice has the same id',
    async (_, loss, from) => {
      let last = false
      for (let at = from; !last; at += 3) {
        const home = await Home.make()
        hurry(home)
        const disk = new FaultyDisk(join(home.dataDirectory, '..', 'limbo'))
        const runtime = await home.open([events], { disk })
        await publish(runtime, 0, 1, 2, 3, 4)
        await home.stop(runtime)

        const idOf = new Map<unknown, string>()
        const others: string[] = []
        const note = ({ id, rows }: ChangeBatch) => {
          for (const row of rows) {
            if ((idOf.get(row['id']) ?? id) !== id)
              others.push(`${String(row['id'])} in ${idOf.get(row['id'])} and ${id}`)
            idOf.set(row['id'], id)
          }
        }
        const follow = () => recording({ from: 'start', batch: 2 }, note).handler
        const failing = await home.open([events, follow()], { disk, start: false })
        disk.arm({ at, error: 'EIO', lasting: true })
        const before = disk.operations.length
        for (const runner of failing.streams.values()) runner.start()
        await failing.handlers.drain()
        last = disk.operations.length - before < at
        await disk.losePower(loss ?? { names: 1, bytes: 1 })
        await home.crash(failing)

        const again = await home.open([events, follow()], { disk: disk.afterKill() })
        await publish(again, 5)
        await again.handlers.drain()
        expect(
          [...idOf.keys()].map(Number).toSorted((a, b) => a - b),
          `operation ${at}`,
        ).toEqual([0, 1, 2, 3, 4, 5])
        expect(others, `operation ${at}`).toEqual([])
        await home.remove()
      }
    },
    120_000,
  )

  test('history that expired: all there is comes, and says so', async () => {
    const home = await Home.make()
    let runtime = await home.open([events, recording().handler])
    await publish(runtime, 0)
    await runtime.handlers.drain()
    await home.stop(runtime)
    runtime = await home.open([events])
    for (let id = 1; id < 105; id++) {
      await send(runtime, 'events', [event(id)])
      await runtime.stream('events').drain()
    }
    home.aheadMs = 8 * 86_400_000
    // Without the handler nothing holds its history.
    await maintain(runtime, { minFiles: 1_000, rewriteBytesMax: Infinity })
    await home.stop(runtime)

    const lost = recording({ batch: 100 })
    runtime = await home.open([events, lost.handler])
    await runtime.handlers.drain()
    await publish(runtime, 1_000)
    await runtime.handlers.drain()
    expect(lost.calls.map(({ rows, reset }) => [rows.length, reset])).toEqual([
      [100, true],
      [5, true],
      [1, false],
    ])
  }, 60_000)

  test('snapshots that a handler has yet to see are kept', async () => {
    const home = await Home.make()
    hurry(home)
    let failing = true
    const late = recording({}, () => {
      if (failing) throw new Error('not now')
    })
    const runtime = await home.open([events, late.handler], { start: false })
    for (const runner of runtime.streams.values()) runner.start()
    for (let id = 0; id < 110; id++) {
      await send(runtime, 'events', [event(id)])
      await runtime.stream('events').drain()
    }
    await runtime.handlers.drain()
    home.aheadMs = 8 * 86_400_000
    await maintain(runtime, { minFiles: 1_000, rewriteBytesMax: Infinity })
    failing = false
    late.calls.splice(0)
    await runtime.handlers.drain()
    expect(late.ids()).toEqual(Array.from({ length: 110 }, (_, id) => id))
    expect(late.calls.every(({ reset }) => !reset)).toBe(true)
  }, 60_000)
})

/** Lets short waits pass at once: pauses between tries, and the quiet before a commit. */
function hurry(home: Home): void {
  Object.assign(home.clock, {
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms > 5_000 ? ms : 1, signal),
  })
}

describe('failures', () => {
  test('one that throws is called again with the same batch; status says so, and the dataset goes on', async () => {
    const home = await Home.make()
    let failing = true
    const of = recording({}, () => {
      if (failing) throw new Error('the mail server is away')
    })
    const other = recording({ name: 'other' })
    const runtime = await home.open([events, counts, of.handler, other.handler])
    await publish(runtime, 1)
    await publish(runtime, 2)
    await of.until(() => of.calls.length >= 2)
    const status = statusOf(runtime, 'events')
    expect(status).toMatchObject({ state: 'ok', rows: 2, lag: 0 })
    expect(status.handlers).toMatchObject([
      {
        name: 'recorder',
        state: 'failed',
        lag: 2,
        failures: expect.any(Number),
        last_error: "Handler 'recorder' failed: the mail server is away",
      },
      { name: 'other', state: 'ok' },
    ])
    expect(statusOf(runtime, 'counts')).not.toHaveProperty('handlers')
    failing = false
    await runtime.handlers.drain()
    const calls = of.calls.length
    expect(new Set(of.calls.slice(0, calls - 1).map(({ id }) => id)).size).toBe(1)
    expect(of.calls[calls - 1]!.rows).toMatchObject([{ id: 2 }])
    expect(statusOf(runtime, 'events').handlers).toEqual([
      { name: 'recorder', state: 'ok', lag: 0, failures: 0 },
      { name: 'other', state: 'ok', lag: 0, failures: 0 },
    ])
  })

  test('one that never returns is told, called again, and then no more', async () => {
    const home = await Home.make()
    hurry(home)
    const signals: AbortSignal[] = []
    const never = recording({ timeout: '20 ms' }, ({ signal }) => {
      signals.push(signal)
      return new Promise(() => undefined)
    })
    const runtime = await home.open([events, never.handler], { start: false })
    for (const runner of runtime.streams.values()) runner.start()
    await publish(runtime, 1)
    await runtime.handlers.drain()
    await runtime.handlers.drain()
    expect(never.calls.map(({ id }) => id)).toEqual(Array.from({ length: 3 }, () => never.calls[0]!.id))
    expect(signals.every(({ aborted }) => aborted)).toBe(true)
    expect(statusOf(runtime, 'events').handlers).toMatchObject([
      {
        state: 'failed',
        lag: 1,
        last_error: "3 calls of handler 'recorder' have not returned, and no other is made until one does.",
      },
    ])
    await home.stop(runtime)
    expect(await placeOf(home)).toMatchObject({ dataset: 'events', position: expect.stringMatching(/^0\.\d+\.0$/) })
  })

  test('a file that does not say how far a handler is, fails that handler alone', async () => {
    const home = await Home.make()
    hurry(home)
    await home.stop(await home.open([events, recording().handler]))
    const path = join(home.dataDirectory, 'handlers', 'recorder.json')
    await writeFile(path, '{"dataset":"events","position":"soon"}')
    const of = recording()
    const runtime = await home.open([events, of.handler])
    await publish(runtime, 1)
    expect(statusOf(runtime, 'events')).toMatchObject({
      state: 'ok',
      handlers: [{ state: 'failed', last_error: `${path} does not say how far handler 'recorder' is.` }],
    })
    expect(of.calls).toEqual([])
  })

  test('a handler that follows another dataset now begins anew', async () => {
    const home = await Home.make()
    let runtime = await home.open([events, counts, recording().handler])
    await publish(runtime, 1)
    await home.stop(runtime)
    const moved = recording({ of: counts, from: 'start' })
    runtime = await home.open([events, counts, moved.handler])
    await runtime.handlers.drain()
    expect(moved.calls).toMatchObject([{ rows: [{ kind: 'a', n: 1 }] }])
    expect(await readdir(join(home.dataDirectory, 'handlers'))).toEqual(['recorder.json'])
  })
})

test('rows are typed as the stream declares them', () => {
  const handler = onChange(
    events,
    ({ rows }) => {
      for (const { id, kind, _offset } of rows) {
        const sum: number = id + Number(_offset)
        const text: string = kind
        // @ts-expect-error: no such column
        for (const row of rows) void row.colour
        void [sum, text]
      }
    },
    { name: 'typed' },
  )
  expect(handler).toMatchObject({ kind: 'handler', name: 'typed', batch: 1_000, timeout: '30 seconds' })
})

describe('declarations', () => {
  const nothing = () => undefined
  test.each([
    [() => onChange(undefined as never, nothing, { name: 'a' }), 'not-a-dataset', 'what it is to follow is undefined'],
    [() => onChange('events' as never, nothing, { name: 'a' }), 'not-a-dataset', 'what it is to follow is a string'],
    [() => onChange(events, 'x' as never, { name: 'a' }), 'not-a-function', 'no function'],
  ])('%# is refused at once', (declare, code, message) => {
    expect(declare).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) as string }))
  })

  test.each([
    [[events, onChange(events, nothing, undefined as never)], 'bad-name', "'' is not a usable name"],
    [[events, onChange(events, nothing, { name: '../x' })], 'bad-name', "'../x' is not a usable name"],
    [[onChange(events, nothing, { name: 'a' })], 'not-exported', "'a' refers to 'events'"],
    [[events, onChange(events, nothing, { name: 'a', batch: 0 })], 'bad-batch', 'batch is 0'],
    [[events, onChange(events, nothing, { name: 'a', timeout: 'soon' })], 'bad-duration', "'soon' is not a duration"],
    [[events, onChange(events, nothing, { name: 'a', timeout: '0 s' })], 'bad-duration', 'every call would fail'],
    [[events, onChange(events, nothing, { name: 'a', from: 'end' as never })], 'bad-from', "from is 'end'"],
    [
      [events, onChange(events, nothing, { name: 'a' }), onChange(counts, nothing, { name: 'a' }), counts],
      'duplicate-name',
      "Two handlers are called 'a'",
    ],
  ])('%# is a problem of the project', async (declarations, code, message) => {
    const home = await Home.make()
    const { problems } = home.project(declarations)
    expect(problems).toMatchObject([{ code, message: expect.stringContaining(message) as string }])
    expect(problems[0]!.hint).toBeTruthy()
    // A handler may be called as a dataset is.
    expect(home.project([events, onChange(events, nothing, { name: 'events' })]).problems).toEqual([])
  })
})

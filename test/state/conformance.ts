import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { LeaseKeeper } from '../../src/state/lease-keeper.ts'
import type { Lease } from '../../src/state/leases.ts'
import type { State, StateTarget } from '../../src/state/state.ts'
import { openState } from '../../src/state/state.ts'
import { HolderProcess } from './holder-process.ts'

/** Where a suite's states are: each a new one. */
export interface StateHome {
  /** A target that nothing was written to yet. */
  target(): Promise<StateTarget>
  remove(): Promise<void>
}

/** Never runs out in a test. */
const LONG = 3_600_000
/** Runs out at once. */
const OVER = 0

const until = async <T>(look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> => {
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    await systemClock.sleep(20)
  }
}

/** What every database of the state does alike. */
export function stateConformance(name: string, makeHome: () => Promise<StateHome>): void {
  describe(`state in ${name}`, () => {
    let home: StateHome
    let target: StateTarget
    let state: State
    const children: HolderProcess[] = []

    beforeAll(async () => {
      home = await makeHome()
    })
    afterAll(() => home.remove())
    beforeEach(async () => {
      target = await home.target()
      state = await openState(target, { clock: systemClock })
    })
    afterEach(async () => {
      for (const child of children.splice(0)) child.kill()
      await state.close()
    })

    const again = async <T>(work: (state: State) => Promise<T>): Promise<T> => {
      const other = await openState(target, { clock: systemClock })
      try {
        return await work(other)
      } finally {
        await other.close()
      }
    }

    describe('migrations', () => {
      const step = (sql: string) => ({ name: sql, statements: [sql] })
      const first = step('CREATE TABLE first (id bigint)')
      const second = step('CREATE TABLE second (id bigint)')

      test('several processes that open a new state at once agree', async () => {
        const fresh = await home.target()
        const states = await Promise.all([1, 2, 3, 4].map(() => openState(fresh, { clock: systemClock })))
        await states[0]!.places.write('a', 1, undefined)
        expect(await states[3]!.places.read('a')).toEqual({ value: 1, version: 1 })
        for (const each of states) await each.close()
      })

      test('steps are applied once, and those that came since when it is opened again', async () => {
        const fresh = await home.target()
        const opened = async (...steps: (typeof first)[]) =>
          (await openState(fresh, { clock: systemClock }, steps)).close()
        await opened(first)
        await opened(first)
        await opened(first, second)
        await opened(first, second)
      })

      test('a newer state is refused', async () => {
        await expect(openState(target, { clock: systemClock }, [])).rejects.toMatchObject({
          kind: 'invalid',
          code: 'state-newer',
          message: expect.stringContaining("is at migration 1 ('leases, members, requests, places, runs')"),
        })
      })

      test('a step that was changed after it was applied is refused', async () => {
        const fresh = await home.target()
        await (await openState(fresh, { clock: systemClock }, [first])).close()
        await expect(openState(fresh, { clock: systemClock }, [second])).rejects.toMatchObject({
          kind: 'corrupt',
          code: 'state-changed',
        })
      })

      test('one that fails leaves nothing behind', async () => {
        const fresh = await home.target()
        const broken = { name: 'broken', statements: ['CREATE TABLE half (id bigint)', 'CREATE TABLE nonsense'] }
        await expect(openState(fresh, { clock: systemClock }, [first, broken])).rejects.toThrow()
        await (await openState(fresh, { clock: systemClock }, [step('CREATE TABLE half (id bigint)')])).close()
      })
    })

    describe('leases', () => {
      test('one holder at a time; the epoch grows with each', async () => {
        const lease = await state.leases.acquire('scheduler', 'a', LONG)
        expect(lease).toEqual({ name: 'scheduler', holder: 'a', epoch: expect.any(Number) as number })
        expect(await state.leases.acquire('scheduler', 'b', LONG)).toBeUndefined()
        expect(await state.leases.acquire('scheduler', 'a', LONG)).toEqual(lease)
        expect(await state.leases.release(lease!)).toBe(true)
        expect(await state.leases.release(lease!)).toBe(false)
        expect(await state.leases.acquire('scheduler', 'b', LONG)).toMatchObject({
          holder: 'b',
          epoch: lease!.epoch + 1,
        })
      })

      test('a lease that ran out is lost, also where nobody took it', async () => {
        const lease = (await state.leases.acquire('scheduler', 'a', OVER))!
        expect(await state.leases.renew([lease], LONG)).toEqual([])
        expect(await state.leases.list()).toEqual([])
        expect(await state.leases.acquire('scheduler', 'a', LONG)).toMatchObject({ epoch: lease.epoch + 1 })
      })

      test('several are renewed at once, and listed by the beginning of their names', async () => {
        const names = ['stream/orders/0', 'stream/orders/1', 'stream/orders%/0', 'scheduler']
        const leases = await Promise.all(names.map(async (lease) => (await state.leases.acquire(lease, 'a', LONG))!))
        await state.leases.release(leases[1]!)
        expect(await state.leases.renew(leases, LONG)).toEqual([leases[0], leases[2], leases[3]])
        expect(await state.leases.renew([], LONG)).toEqual([])
        expect(await state.leases.list('stream/orders%/')).toEqual([
          { ...leases[2], remainingMs: expect.any(Number) as number },
        ])
        expect((await state.leases.list()).map((held) => held.name)).toEqual([
          'scheduler',
          'stream/orders%/0',
          'stream/orders/0',
        ])
      })

      test('of many that ask at once one gets it', async () => {
        const others = await Promise.all([1, 2, 3].map(() => openState(target, { clock: systemClock })))
        const asked = [state, ...others].flatMap((each, i) =>
          Array.from({ length: 5 }, (_, j) => each.leases.acquire('scheduler', `${i}.${j}`, LONG)),
        )
        const got = (await Promise.all(asked)).filter((lease) => lease !== undefined)
        expect(got).toHaveLength(1)
        expect(await state.leases.list()).toMatchObject(got)
        for (const other of others) await other.close()
      })

      // A model of one lease: who has it, or had it last, and since which change of hands.
      test('any history is that of the model', async () => {
        const holder = fc.constantFrom('a', 'b', 'c')
        const ttl = fc.constantFrom(LONG, OVER)
        const command = fc.oneof(
          fc.record({ verb: fc.constant('acquire' as const), holder, ttl }),
          fc.record({ verb: fc.constant('renew' as const), holder, ttl }),
          fc.record({ verb: fc.constant('release' as const), holder, ttl }),
        )
        let run = 0
        await fc.assert(
          fc.asyncProperty(fc.array(command, { maxLength: 25 }), async (commands) => {
            const name = `model/${run++}`
            let live: string | undefined
            let epoch = 0
            const last = new Map<string, number>()
            for (const { verb, holder: who, ttl: ttlMs } of commands) {
              const own = { name, holder: who, epoch: last.get(who) ?? 0 }
              const isOwn = live === who && own.epoch === epoch
              if (verb === 'acquire') {
                const got = await state.leases.acquire(name, who, ttlMs)
                if (live !== undefined && live !== who) {
                  expect(got).toBeUndefined()
                  continue
                }
                // The first epoch is that of the moment.
                if (live === undefined) epoch = epoch === 0 ? got!.epoch : epoch + 1
                expect(got).toEqual({ name, holder: who, epoch })
                last.set(who, epoch)
                live = ttlMs === LONG ? who : undefined
              } else if (verb === 'renew') {
                expect(await state.leases.renew([own], ttlMs)).toEqual(isOwn ? [own] : [])
                if (isOwn && ttlMs === OVER) live = undefined
              } else {
                expect(await state.leases.release(own)).toBe(isOwn)
                if (isOwn) live = undefined
              }
              const listed = await state.leases.list(name)
              expect(listed.map((held) => held.holder)).toEqual(live === undefined ? [] : [live])
            }
          }),
          { numRuns: 30 },
        )
      })
    })

    describe('a process that was paused beyond its lease', () => {
      test('is told by the database and by the epoch that another has it', async () => {
        const sleeper = await HolderProcess.start(target)
        children.push(sleeper)
        const own = { name: 'scheduler', holder: 'sleeper' }
        const { epoch } = (await sleeper.ask({ verb: 'acquire', ...own, ttlMs: 300 })) as Lease
        sleeper.pause()
        const taken = await until(() => state.leases.acquire('scheduler', 'other', LONG))
        expect(taken.epoch).toBe(epoch + 1)
        sleeper.wake()
        expect(await sleeper.ask({ verb: 'renew', ...own, epoch, ttlMs: LONG })).toEqual([])
        expect(await state.leases.renew([taken], LONG)).toEqual([taken])
      })

      test('gives up what it kept as soon as it wakes, and others have its items', async () => {
        const sleeper = await HolderProcess.start(target)
        children.push(sleeper)
        const items = ['0', '1', '2', '3']
        await sleeper.ask({ verb: 'keep', pool: 'stream/orders', items, member: 'sleeper', ttlMs: 1_500 })
        const acquired = await sleeper.told((events) => events.length === items.length)
        sleeper.pause()
        const got = new Map<string, number>()
        const keeper = new LeaseKeeper({
          state,
          clock: systemClock,
          pool: 'stream/orders',
          items,
          member: 'other',
          ttlMs: 1_500,
          onAcquired: (item, { epoch }) => got.set(item, epoch),
          onRelease: async (item) => void got.delete(item),
          onLost: (item) => got.delete(item),
        })
        keeper.start()
        await until(() => got.size === items.length)
        for (const [item, epoch] of got) expect(acquired).toContain(`acquired ${item} at epoch ${epoch - 1}`)
        sleeper.wake()
        await sleeper.told((events) => items.every((item) => events.includes(`lost ${item}`)))
        // It joins again and gets its share.
        await until(() => got.size === 2)
        await sleeper.told((events) => events.filter((event) => event.startsWith('acquired')).length === 6)
        await keeper.stop()
      })
    })

    describe('members', () => {
      test('live until their time is over or they leave, each pool by itself', async () => {
        await state.members.beat('p', 'b', LONG)
        await state.members.beat('p', 'a', LONG)
        await state.members.beat('p', 'gone', OVER)
        await state.members.beat('q', 'c', LONG)
        expect(await state.members.list('p')).toEqual(['a', 'b'])
        await state.members.beat('p', 'a', OVER)
        await state.members.leave('p', 'b')
        expect(await state.members.list('p')).toEqual([])
        await state.members.beat('p', 'a', LONG)
        await state.tidy({ requestsMs: LONG, runsMs: LONG })
        expect(await state.members.list('p')).toEqual(['a'])
        expect(await state.members.list('q')).toEqual(['c'])
      })
    })

    describe('requests', () => {
      const begin = (key: string, digest = 'd', payload: unknown = { from: 1 }, abandonedMs = LONG) =>
        state.requests.begin('orders', key, digest, payload, { abandonedMs })

      test('a repeated request gets the result of the first', async () => {
        const first = await begin('k')
        expect(first).toEqual({ state: 'begun', request: { stream: 'orders', key: 'k', attempt: 1 } })
        expect(await begin('k')).toMatchObject({ state: 'pending', payload: { from: 1 } })
        if (first.state === 'begun') await state.requests.finish(first.request, { received: 3 })
        expect(await again((other) => other.requests.find('orders', 'k'))).toEqual({
          state: 'finished',
          result: { received: 3 },
        })
        expect(await begin('k')).toEqual({ state: 'finished', result: { received: 3 } })
        expect(await state.requests.find('clicks', 'k')).toBeUndefined()
      })

      test('another content under the same key is refused', async () => {
        await begin('k')
        await expect(begin('k', 'other')).rejects.toMatchObject({ kind: 'invalid', code: 'idempotency-mismatch' })
      })

      test('one that was abandoned is taken over, and the former attempt cannot finish it', async () => {
        const first = await begin('k')
        const second = await begin('k', 'd', { from: 2 }, OVER)
        expect(second).toEqual({
          state: 'begun',
          request: { stream: 'orders', key: 'k', attempt: 2 },
          earlier: { from: 1 },
        })
        if (first.state !== 'begun' || second.state !== 'begun') return
        await expect(state.requests.finish(first.request, 1)).rejects.toMatchObject({
          kind: 'conflict',
          code: 'request-taken-over',
        })
        await state.requests.abandon(first.request)
        await state.requests.finish(second.request, 2)
        expect(await begin('k')).toEqual({ state: 'finished', result: 2 })
      })

      test('one that changed nothing may be abandoned, and old ones are forgotten', async () => {
        const first = await begin('k')
        if (first.state === 'begun') await state.requests.abandon(first.request)
        expect(await state.requests.find('orders', 'k')).toBeUndefined()
        await begin('k')
        await state.tidy({ requestsMs: LONG, runsMs: LONG })
        expect(await state.requests.find('orders', 'k')).toBeDefined()
        await state.tidy({ requestsMs: 0, runsMs: LONG })
        expect(await state.requests.find('orders', 'k')).toBeUndefined()
      })

      test('of many that begin at once one does', async () => {
        const all = await Promise.all([1, 2, 3, 4, 5, 6].map(() => begin('k')))
        expect(all.map((each) => each.state).toSorted()).toEqual(['begun', ...Array<string>(5).fill('pending')])
      })
    })

    describe('places', () => {
      test('move by compare-and-swap', async () => {
        expect(await state.places.read('h')).toBeUndefined()
        expect(await state.places.write('h', { position: '1' }, undefined)).toBe(1)
        expect(await state.places.write('h', { position: '2' }, 1)).toBe(2)
        expect(await again((other) => other.places.read('h'))).toEqual({ value: { position: '2' }, version: 2 })
        for (const expected of [undefined, 1, 3])
          await expect(state.places.write('h', null, expected)).rejects.toMatchObject({
            kind: 'conflict',
            code: 'place-moved',
          })
        await state.places.remove('h')
        expect(await state.places.read('h')).toBeUndefined()
      })

      test('count exactly from many sides', async () => {
        await state.places.write('n', 0, undefined)
        const others = await Promise.all([1, 2].map(() => openState(target, { clock: systemClock })))
        const add = async (from: State): Promise<void> => {
          const { value, version } = (await from.places.read('n'))!
          await from.places.write('n', (value as number) + 1, version).catch(() => add(from))
        }
        await Promise.all([state, ...others].flatMap((each) => Array.from({ length: 10 }, () => add(each))))
        expect(await state.places.read('n')).toEqual({ value: 30, version: 31 })
        for (const other of others) await other.close()
      })
    })

    describe('runs', () => {
      test('are listed newest first, a page at a time, by kind, dataset and outcome', async () => {
        for (const [i, dataset] of ['orders', 'daily', 'orders'].entries()) {
          await state.runs.begin({ id: `r${i}`, kind: i === 1 ? 'refresh' : 'replay', dataset, holder: 'p' })
          await systemClock.sleep(2)
        }
        await state.runs.begin({ id: 'r0', kind: 'replay', holder: 'p' })
        await state.runs.finish('r0', { outcome: 'succeeded', counts: { rows: 7 } })
        const error = { kind: 'invalid', code: 'x', message: 'm', context: {} } as const
        await state.runs.finish('r1', { outcome: 'failed', error })
        const ids = async (question?: Parameters<State['runs']['list']>[0]) =>
          (await state.runs.list(question)).map(({ id }) => id)
        expect(await ids()).toEqual(['r2', 'r1', 'r0'])
        expect(await ids({ limit: 2 })).toEqual(['r2', 'r1'])
        expect(await ids({ limit: 2, before: 'r1' })).toEqual(['r0'])
        expect(await ids({ dataset: 'orders' })).toEqual(['r2', 'r0'])
        expect(await ids({ kind: 'refresh' })).toEqual(['r1'])
        expect(await ids({ outcome: 'succeeded' })).toEqual(['r0'])
        const [r2, r1, r0] = await state.runs.list()
        const times = { startedMs: expect.any(Number) as number, endedMs: expect.any(Number) as number }
        expect(r2).toEqual({ id: 'r2', kind: 'replay', dataset: 'orders', holder: 'p', startedMs: times.startedMs })
        expect(r1).toEqual({
          id: 'r1',
          kind: 'refresh',
          dataset: 'daily',
          holder: 'p',
          ...times,
          outcome: 'failed',
          error,
        })
        expect(r0).toMatchObject({ ...times, outcome: 'succeeded', counts: { rows: 7 } })
        await state.tidy({ requestsMs: LONG, runsMs: LONG })
        expect(await ids()).toHaveLength(3)
        await state.tidy({ requestsMs: LONG, runsMs: 0 })
        expect(await ids()).toEqual([])
      })
    })

    describe('a keeper', () => {
      interface Party {
        readonly keeper: LeaseKeeper
        readonly has: Set<string>
      }
      const party = (
        member: string,
        items: readonly string[],
        everywhere: Map<string, string>,
        claims = false,
      ): Party => {
        const has = new Set<string>()
        const letGo = (item: string) => {
          has.delete(item)
          if (everywhere.get(item) === member) everywhere.delete(item)
        }
        const keeper = new LeaseKeeper({
          state,
          clock: systemClock,
          pool: 'p',
          items,
          member,
          claims,
          ttlMs: 1_500,
          onAcquired: (item) => {
            expect(everywhere.get(item)).toBeUndefined()
            everywhere.set(item, member)
            has.add(item)
          },
          onRelease: async (item) => letGo(item),
          onLost: letGo,
        })
        keeper.start()
        return { keeper, has }
      }

      test('takes its share, gives back as members join, and takes more as they leave', async () => {
        const items = Array.from({ length: 8 }, (_, i) => String(i))
        const everywhere = new Map<string, string>()
        const a = party('a', items, everywhere)
        await until(() => a.has.size === 8)
        const b = party('b', items, everywhere)
        await until(() => a.has.size === 4 && b.has.size === 4)
        const c = party('c', items, everywhere)
        await until(() => Math.max(a.has.size, b.has.size, c.has.size) === 3 && everywhere.size === 8)
        await a.keeper.stop()
        expect(a.has.size).toBe(0)
        expect(a.keeper.items).toEqual([])
        await until(() => b.has.size === 4 && c.has.size === 4)
        await b.keeper.stop()
        await until(() => c.has.size === 8)
        expect(c.keeper.members).toEqual(['c'])
        await c.keeper.stop()
        expect(everywhere.size).toBe(0)
        expect(await state.leases.list()).toEqual([])
        expect(await state.members.list('p')).toEqual([])
      })

      test('hands over what another claims, and takes it back afterwards; of two that claim, one waits', async () => {
        const items = ['0', '1', '2', '3']
        const everywhere = new Map<string, string>()
        const [a, b] = [party('a', items, everywhere), party('b', items, everywhere)]
        await until(() => a.has.size === 2 && b.has.size === 2)
        const c = party('c', ['1', '2'], everywhere, true)
        await until(() => c.has.size === 2)
        // What is not claimed is shared out as before.
        await until(() => a.has.size === 1 && b.has.size === 1)
        const d = party('d', ['0', '1', '2'], everywhere, true)
        await until(() => d.has.size === 1 && d.keeper.holders.get('1') === 'c')
        await systemClock.sleep(1_000)
        expect([...c.has].toSorted()).toEqual(['1', '2'])
        await c.keeper.stop()
        await until(() => d.has.size === 3)
        expect(everywhere.get('3')).toMatch(/[ab]/)
        await d.keeper.stop()
        await until(() => a.has.size === 2 && b.has.size === 2)
        await Promise.all([a.keeper.stop(), b.keeper.stop()])
        expect(await state.leases.list()).toEqual([])
      })

      test('keeps what it gives back until that has ended', async () => {
        let end: () => void = () => undefined
        const ended = new Promise<void>((resolve) => (end = resolve))
        const events: string[] = []
        const make = (member: string, onRelease: () => Promise<void>) =>
          new LeaseKeeper({
            state,
            clock: systemClock,
            pool: 'p',
            items: ['x'],
            member,
            ttlMs: 1_000,
            onAcquired: () => events.push(`${member} acquired`),
            onRelease,
            onLost: () => events.push(`${member} lost`),
          })
        const a = make('a', async () => {
          events.push('a asked')
          await ended
          events.push('a ended')
        })
        a.start()
        await until(() => events.length === 1)
        const b = make('b', async () => undefined)
        b.start()
        const stopped = a.stop()
        await until(() => events.length === 2)
        // Longer than the lease lasts unless it is renewed.
        await systemClock.sleep(1_500)
        end()
        await stopped
        await until(() => events.length === 4)
        expect(events).toEqual(['a acquired', 'a asked', 'a ended', 'b acquired'])
        await b.stop()
      })
    })
  })
}

import { expect, test } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { sql } from '../../src/project/sql.ts'
import { table } from '../../src/project/table.ts'
import { Scheduler } from '../../src/runtime/scheduler.ts'

const first = table('first', { sql: sql`select 1 as n` })
const second = table('second', { sql: sql`select n from ${first}` })

test('stopping waits for the step under way, though it makes others due', async () => {
  const begun = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  const ran: string[] = []
  const scheduler = new Scheduler({
    order: [first, second],
    clock: systemClock,
    limit: 2,
    share: 1,
    step: async (dataset) => {
      begun.resolve()
      await released.promise
      ran.push(dataset.name)
      return { outcome: 'published' }
    },
  })
  scheduler.due(first)
  await begun.promise
  const settled = scheduler.settled()
  const stopped = scheduler.stop()
  released.resolve()
  await Promise.all([settled, stopped])
  expect(ran).toEqual(['first'])
})

/** A clock that stands still until it is moved; whoever sleeps wakes when it passes. */
class StillClock implements Clock {
  #now = 0
  readonly #sleepers = new Set<{ at: number; wake: () => void }>()
  now = () => this.#now
  monotonic = () => this.#now
  sleep = (ms: number): Promise<void> => new Promise((wake) => this.#sleepers.add({ at: this.#now + ms, wake }))

  async move(ms: number): Promise<void> {
    this.#now += ms
    for (const sleeper of [...this.#sleepers].filter(({ at }) => at <= this.#now)) {
      this.#sleepers.delete(sleeper)
      sleeper.wake()
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test.each([
  ['as long as its share says', 100, false, false, 400],
  ['as long as it ran, when it computed nothing again', 100, true, false, 100],
  ['as long as it ran, when nothing else waits', 100, false, true, 100],
  ['ten seconds at most then, for it may have waited itself', 90_000, false, true, 10_000],
])('a table that is always due rests %s', async (_, ranMs, proportional, isQuiet, restMs) => {
  const clock = new StillClock()
  const begun: number[] = []
  const scheduler = new Scheduler({
    order: [first],
    clock,
    limit: 1,
    share: 0.2,
    isQuiet: () => isQuiet,
    step: async () => {
      begun.push(clock.monotonic())
      await clock.move(ranMs)
      return { outcome: 'published', proportional }
    },
  })
  scheduler.due(first)
  await scheduler.settled()
  scheduler.due(first)
  await clock.move(restMs - 1)
  expect(begun).toEqual([0])
  await clock.move(1)
  expect(begun).toEqual([0, ranMs + restMs])
  await scheduler.stop()
})

import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
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

import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { storageError, systemDisk } from '../../src/storage/disk.ts'
import { Home, query, send, statusOf } from './home.ts'

const events = stream('events', {
  columns: { id: t.string(), n: t.int() },
  unique: ['id'],
  checks: [check.range('n', { min: 0 })],
})
const total = table('total', { sql: sql`select count(*) as n from ${events}` })

/** A disk on which the tables of a layer cannot be committed to while there is an error. */
class RefusingDisk {
  error: 'ENOSPC' | 'EIO' | undefined
  refused = 0
  readonly disk: Disk

  constructor(layer: string) {
    this.disk = {
      ...systemDisk,
      link: async (from, to) => {
        if (this.error !== undefined && to.includes(`/lake/${layer}/`)) {
          this.refused++
          throw storageError(Object.assign(new Error(this.error), { code: this.error }), to)
        }
        await systemDisk.link(from, to)
      },
    }
  }
}

const records = (from: number) =>
  Array.from({ length: 10 }, (_, i) => ({ id: `e${from + i}`, n: i === 9 ? -1 : from + i }))

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(20)
}

async function expectAll(runtime: Runtime, sent: number): Promise<void> {
  await until(() => statusOf(runtime, 'events').lag === 0 && statusOf(runtime, 'events').state === 'ok')
  await runtime.settle()
  const good = sent * 0.9
  expect(statusOf(runtime, 'events')).toMatchObject({ received: sent, accepted: good, quarantined: sent - good })
  expect(await query(runtime, 'SELECT count(*)::INT AS n, count(DISTINCT id)::INT AS ids FROM {events}')).toEqual([
    { n: good, ids: good },
  ])
  expect(await query(runtime, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: good }])
}

test('a stream that cannot commit is taken up again, and goes on by itself once it can', async () => {
  const home = await Home.make()
  const refusing = new RefusingDisk('processed')
  const runtime = await home.open([events, total], { disk: refusing.disk })
  await send(runtime, 'events', records(0))
  await runtime.settle()
  refusing.error = 'ENOSPC'
  // Quarantine is ahead of the rows each time.
  await send(runtime, 'events', records(10))
  await until(() => refusing.refused > 2)
  expect(statusOf(runtime, 'events')).toMatchObject({
    state: 'failed',
    reason: expect.stringMatching(/disk holding .*processed.* is full/) as string,
  })
  await until(() => runtime.stream('events').failure !== undefined)
  expect(runtime.trouble).toMatch(/stream 'events': The disk holding .* is full/)
  expect(runtime.stream('events').hasEnded).toBe(false)
  await expect(send(runtime, 'events', records(20))).rejects.toMatchObject({ kind: 'unavailable', code: 'disk-full' })
  refusing.error = undefined
  await expectAll(runtime, 20)
  await send(runtime, 'events', records(20))
  await expectAll(runtime, 30)
  expect(runtime.trouble).toBeUndefined()
  expect(home.fatal).toEqual([])
})

test('what will not pass by itself ends the stream', async () => {
  const home = await Home.make()
  const refusing = new RefusingDisk('processed')
  const runtime = await home.open([events, total], { disk: refusing.disk })
  refusing.error = 'EIO'
  await send(runtime, 'events', records(0))
  await until(() => runtime.stream('events').hasEnded)
  expect(statusOf(runtime, 'events')).toMatchObject({ state: 'failed', lag: 10 })
  expect(runtime.trouble).toMatch(/stream 'events': .*input\/output error/)
  refusing.error = undefined
  await home.stop(runtime).catch(() => undefined)
  await expectAll(await home.open([events, total]), 10)
})

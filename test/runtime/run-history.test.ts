import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { RunStore } from '../../src/runtime/run-history.ts'
import { openState } from '../../src/state/state.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { Home, send } from './home.ts'

const clicks = stream('clicks', { columns: { id: t.int() } })
const counted = table('counted', { sql: sql`select id, count(*) as n from ${clicks} group by id` })
const checked = table('checked', {
  sql: sql`select id from ${clicks}`,
  checks: [check.unique(['id'])],
})

test.each(['in memory', 'in the state'])('each step of a table is kept %s with what came of it', async (where) => {
  const home = await Home.make()
  await systemDisk.makeDirectory(home.directory)
  const state = await openState({ kind: 'sqlite', path: join(home.directory, 'state.db') }, { clock: systemClock })
  onTestFinished(() => state.close())
  const runtime = await home.open([clicks, counted, checked], where === 'in the state' ? { state } : {})
  await send(runtime, 'clicks', [{ id: 1 }, { id: 2 }])
  await runtime.settle()
  // The same again is refused by the check.
  await send(runtime, 'clicks', [{ id: 1 }])
  await runtime.settle()
  await runtime.history.idle()
  const runs = await runtime.history.list({ dataset: 'counted' })
  expect(runs[0]).toMatchObject({
    kind: 'refresh',
    dataset: 'counted',
    holder: runtime.options.run,
    outcome: 'succeeded',
    counts: { rows: 2, added: 2, removed: 2 },
    startedMs: expect.any(Number),
    endedMs: expect.any(Number),
  })
  const [blocked] = await runtime.history.list({ dataset: 'checked', outcome: 'failed' })
  expect(blocked).toMatchObject({ error: { code: 'audit-failed', message: expect.stringContaining('unique') } })
  // What was not due did not run.
  const before = (await runtime.history.list({})).length
  await runtime.settle()
  await runtime.history.idle()
  expect(await runtime.history.list({})).toHaveLength(before)
  const page = await runtime.history.list({ limit: 2 })
  const next = await runtime.history.list({ before: page[1]!.id })
  expect([...page, ...next].map(({ id }) => id)).toEqual((await runtime.history.list({})).map(({ id }) => id))
})

test('no step fails, or waits, because it cannot be kept', async () => {
  const home = await Home.make()
  const gone = async () => {
    throw new MillraceError('unavailable', 'state-unavailable', 'away')
  }
  const runs: RunStore = { begin: gone, finish: gone, list: gone }
  const runtime = await home.open([clicks, counted], { state: { runs, tidy: gone } as never })
  await send(runtime, 'clicks', [{ id: 1 }])
  await runtime.settle()
  expect(runtime.lakeTable('counted').snapshot()?.summary['total-records']).toBe('1')
  await home.stop(runtime)
})

test('housekeeping tidies the state', async () => {
  const home = await Home.make()
  Object.assign(home.clock, {
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal),
  })
  const tidied: unknown[] = []
  const state = { runs: { begin: async () => {}, finish: async () => {}, list: async () => [] } }
  const tidy = async (retention: unknown) => void tidied.push(retention)
  await home.open([clicks], { state: { ...state, tidy } as never })
  await expect.poll(() => tidied.length).toBeGreaterThan(0)
  expect(tidied[0]).toEqual({ requestsMs: 86_400_000, runsMs: 30 * 86_400_000 })
})

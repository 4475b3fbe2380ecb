import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { stream } from '../../src/project/stream.ts'
import { t } from '../../src/project/columns.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { Home, query, send } from './home.ts'

const clicks = stream('clicks', { columns: { id: t.int() } })

test('small files are brought together while the streams go on, and no row changes', async () => {
  const home = await Home.make()
  // A minute passes in a moment.
  Object.assign(home.clock, {
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal),
  })
  const runtime = await home.open([clicks])
  const table = runtime.lakeTable('clicks')
  for (let i = 0; i < 40; i++) {
    await send(runtime, 'clicks', [{ id: i }])
    await runtime.settle()
  }
  const replaced = () => table.history().some(({ operation }) => operation === 'replace')
  while (!replaced() && runtime.maintenanceError === undefined) await systemClock.sleep(10)
  expect(runtime.maintenanceError).toBeUndefined()
  expect((await table.files(table.snapshot()!)).length).toBeLessThan(40)
  expect(await query(runtime, 'select count(*)::int as rows, count(distinct id)::int as ids from {clicks}')).toEqual([
    { rows: 40, ids: 40 },
  ])
})

test('files of a stream that commits all the time are brought together all the same', async () => {
  const home = await Home.make()
  const runtime = await home.open([clicks])
  const table = runtime.lakeTable('clicks')
  let rows = 0
  const commit = async (count: number) => {
    await send(
      runtime,
      'clicks',
      Array.from({ length: count }, () => ({ id: rows++ })),
    )
    await runtime.streams.get('clicks')!.drain()
  }
  // Enough of them that some commits pass while they are rewritten.
  for (let i = 0; i < 5; i++) await commit(100_000)
  let ended = false
  const maintained = maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity }).finally(() => (ended = true))
  while (!ended) await commit(1)
  await maintained
  const replaced = table.history().find(({ operation }) => operation === 'replace')
  expect(replaced).toBeDefined()
  expect(await query(runtime, 'select count(*)::int as rows, count(distinct id)::int as ids from {clicks}')).toEqual([
    { rows, ids: rows },
  ])
  // The places reached are those of whoever committed last.
  expect(table.snapshot('main')!.summary['millrace.offsets']).toBe(`[${rows}]`)
})

import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import { check, sql, stream, t, table } from '../../../src/index.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { SCRATCH } from '../../../src/lake/scratch.ts'
import { SparkEngine } from '../../../src/runtime/spark-engine.ts'
import { Home, query, send } from '../../runtime/home.ts'
import { startSpark } from './server.ts'

const LONG = 'SELECT count(*) AS n FROM range(3000000000) WHERE sqrt(id) >= 0'

test('a query goes on where its stream ended, for its time or for its size', async () => {
  const server = await startSpark({
    'spark.connect.execute.reattachable.senderMaxStreamDuration': '1s',
    'spark.connect.execute.reattachable.senderMaxStreamSize': '100k',
    'spark.connect.grpc.arrow.maxBatchSize': '50k',
  })
  const session = await SparkSession.open({ url: server.url })
  const began = performance.now()
  expect(await session.rows(LONG)).toEqual([{ n: 3_000_000_000 }])
  expect(performance.now() - began).toBeGreaterThan(1_000)
  const rows = await session.rows("SELECT id, repeat('x', 50) AS s FROM range(50000) ORDER BY id")
  expect(rows.map((row) => row['id'])).toEqual(Array.from({ length: 50_000 }, (_, i) => i))
  await session.close()
})

test('a server that was killed and came back: what ran is told as lost, what follows runs with the same settings', async () => {
  const server = await startSpark()
  const session = await SparkSession.open({ url: server.url, settings: { 'spark.sql.shuffle.partitions': '7' } })
  const before = session.sessionId
  const running = session.rows(LONG).catch((error: unknown) => error)
  await sleep(500)
  await server.kill()
  await server.start()
  expect(await running).toMatchObject({ kind: 'unavailable', code: 'engine-restarted' })
  expect(await session.rows('SET spark.sql.shuffle.partitions')).toMatchObject([{ value: '7' }])
  expect(await session.rows("SELECT current_timezone() AS zone, typeof(timestamp '2026-01-01') AS type")).toEqual([
    { zone: 'UTC', type: 'timestamp_ntz' },
  ])
  expect(session.sessionId).not.toBe(before)
  await session.close()
})

test('Spark is killed in the middle of steps: nothing is lost, nothing is there twice', async () => {
  const server = await startSpark()
  const orders = stream('orders', {
    columns: { id: t.int(), country: t.string(), ts: t.timestamp() },
    time: 'ts',
    unique: ['id'],
  })
  const byDay = table('by_day', {
    interval: 'day',
    sql: sql`select country, count(*) as n, sum(id) as ids from ${orders} group by country`,
    checks: [check.unique(['day', 'country'])],
  })
  const latest = table('latest', { key: 'country', version: 'id', sql: sql`select country, id, ts from ${orders}` })
  const whole = table('whole', { sql: sql`select country, count(*) as n from ${orders} group by country` })
  const home = await Home.make()
  let engine: SparkEngine | undefined
  const runtime = await home.open([orders, byDay, latest, whole], {
    engine: (lake) => (engine = new SparkEngine({ lake, url: server.url, catalog: { directory: lake.root } })),
  })

  await engine!.check()
  let id = 0
  for (const killAfterMs of [100, 1_200]) {
    const batch = Array.from({ length: 200 }, () => ({
      id: ++id,
      country: ['de', 'fr', 'it'][id % 3],
      ts: new Date(Date.UTC(2026, 0, 1 + (id % 4), id % 24)).toISOString(),
    }))
    await send(runtime, 'orders', batch)
    const settled = runtime.settle()
    await sleep(killAfterMs)
    await server.kill()
    await sleep(200)
    await server.start()
    await settled
  }
  // A one-shot run gives up after some tries.
  for (const one of [byDay, latest, whole]) await runtime.refresh(one.name, {})

  expect(await query(runtime, 'SELECT count(*)::INT AS n FROM {orders}')).toEqual([{ n: id }])
  for (const one of [byDay, latest, whole]) expect(runtime.scheduler.stateOf(one)).toEqual({ state: 'ok' })
  const same = async (actual: string, expected: string): Promise<void> => {
    expect(await query(runtime, `(${actual}) EXCEPT ALL (${expected})`)).toEqual([])
    expect(await query(runtime, `(${expected}) EXCEPT ALL (${actual})`)).toEqual([])
  }
  await same('SELECT country, n FROM {whole}', 'SELECT country, count(*) FROM {orders} GROUP BY country')
  await same(
    'SELECT day::DATE, country, n, ids FROM {by_day}',
    'SELECT ts::DATE, country, count(*), sum(id) FROM {orders} GROUP BY ALL',
  )
  await same('SELECT country, id FROM {latest}', 'SELECT country, max(id) FROM {orders} GROUP BY country')
  expect(await query(runtime, 'SELECT sum(n)::INT AS n FROM {whole}')).toEqual([{ n: id }])
  expect(await new Lake({ root: join(home.dataDirectory, 'lake') }).list(SCRATCH)).toEqual([])
  await engine!.close()
}, 900_000)

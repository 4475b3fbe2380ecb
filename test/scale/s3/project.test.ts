// A whole project whose lake is in a bucket.
import { expect, onTestFinished, test } from 'vitest'
import { EVENTS, folder, get, lines, post, project, serve, until } from '../../cli/support.ts'
import { s3Config, s3Home } from '../../lake/support/home.ts'
import { bucket } from './bucket.ts'
import { FaultyProxy } from './faulty-proxy.ts'
import type { Fault } from './faulty-proxy.ts'

const name = await bucket()
const home = await s3Home(name)

async function onS3(endpoint: string): Promise<string> {
  const prefix = (await home.newRoot()).slice(`s3://${name}/`.length)
  onTestFinished(() => home.clear())
  const lake = { kind: 's3', ...s3Config(name), prefix, endpoint, cacheBytes: 50_000_000 }
  return project({
    ...EVENTS,
    'millrace.config.ts': `import { defineConfig } from 'millrace'\nexport default defineConfig({ name: 'test', targets: { prod: { lake: ${JSON.stringify(lake)} } } })\n`,
  })
}

const TARGET = { args: ['--target', 'prod'] }
const TOTALS = JSON.stringify({ sql: 'select kind, total from totals order by kind' })
const batch = (from: number) =>
  lines(
    ...Array.from({ length: 20 }, (_, i) => ({ id: String(from + i), kind: i % 2 === 0 ? 'a' : 'b', amount: '1.00' })),
  )

test('is the same after kill -9 and a new machine, and nothing is lost or doubled while the store fails', async () => {
  const proxy = await FaultyProxy.open(s3Config(name).endpoint)
  onTestFinished(() => proxy.close())
  const root = await onS3(proxy.url)
  const data = folder()
  const faults: Fault[] = ['refused', '500 after', 'cut', 'cut within']
  let { running, url } = await serve(root, data, TARGET)
  let requests = 0
  proxy.fault = () => (++requests % 7 === 0 ? faults[(requests / 7) % faults.length]! : 'none')
  for (let i = 0; i < 5; i++) expect((await post(url, '/v1/streams/events', batch(i * 20))).status).toBe(202)
  await running.kill('SIGKILL')
  ;({ running, url } = await serve(root, data, TARGET))
  // The client heard no answer, and sends everything again.
  for (let i = 0; i < 10; i++) expect((await post(url, '/v1/streams/events', batch(i * 20))).status).toBe(202)
  const status = await until(
    () => get(url, '/v1/datasets'),
    ({ datasets }) =>
      datasets[0].rows === 200 && datasets[0].lag === 0 && datasets[1].lag === 0 && datasets[1].rows === 2,
  )
  expect(status.datasets[0]).toMatchObject({ received: 300, accepted: 200, duplicates: 100, quarantined: 0, rows: 200 })
  expect((await post(url, '/v1/sql', TOTALS, 'application/json')).body.rows).toEqual([
    ['a', 100],
    ['b', 100],
  ])
  expect((await running.kill('SIGTERM')).code).toBe(0)
  expect([...proxy.seen.keys()].sort()).toEqual([...faults, 'none'].sort())
})

test('does not start on a bucket that is not there', async () => {
  const root = await onS3('http://127.0.0.1:1')
  await expect(serve(root, folder(), TARGET)).rejects.toThrow(/cannot be used: ECONNREFUSED/)
})

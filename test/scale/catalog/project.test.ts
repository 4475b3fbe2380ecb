// A whole project whose tables another catalog has: Apache Iceberg's own server, or another Millrace.
import { join } from 'node:path'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { catalogSettings, s3Files } from '../../../src/engine/spark/catalog.ts'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import { type Json, EVENTS, folder, get, lines, millrace, post, project, serve, until } from '../../cli/support.ts'
import { s3Config, s3Home } from '../../lake/support/home.ts'
import { bucket } from '../s3/bucket.ts'
import { FaultyProxy } from '../s3/faulty-proxy.ts'
import type { Fault } from '../s3/faulty-proxy.ts'
import { sparkUrl } from '../spark/spark.ts'
import { startJavaCatalog } from './java-catalog.ts'

const name = await bucket()
const s3 = await s3Home(name)
afterAll(() => s3.clear())

/** A lake, and how Spark reads the tables of its catalog. */
interface Place {
  readonly lake: {
    readonly kind: string
    readonly catalog: { readonly kind: 'rest'; readonly uri: string; readonly namespace?: string }
  }
  readonly spark: Record<string, string>
}

const PLACES: Readonly<Record<string, () => Promise<Place>>> = {
  'Apache Iceberg, a directory': async () => {
    const place = folder()
    const path = join(place, 'warehouse')
    const server = await startJavaCatalog(place, path)
    onTestFinished(() => server.stop())
    const catalog = { kind: 'rest', uri: server.uri, namespace: 'shop.prod' } as const
    const lake = { kind: 'directory', path, catalog }
    return { lake, spark: {} }
  },
  'Apache Iceberg, S3': async () => {
    const root = await s3.newRoot()
    const server = await startJavaCatalog(folder(), root)
    onTestFinished(() => server.stop())
    const { endpoint, region, credentials } = s3Config(name)
    const prefix = root.slice(`s3://${name}/`.length)
    const catalog = { kind: 'rest', uri: server.uri } as const
    const lake = { kind: 's3', ...s3Config(name), prefix, catalog }
    return { lake, spark: s3Files({ endpoint, region, ...credentials }) }
  },
  'another Millrace': async () => {
    const data = folder()
    const other = project({
      'other.ts':
        "import { stream, t } from 'millrace'\nexport const other = stream('other', { columns: { id: t.string() } })\n",
    })
    const { running, url } = await serve(other, data)
    onTestFinished(async () => void (await running.kill('SIGKILL')))
    const catalog = { kind: 'rest', uri: `${url}/iceberg` } as const
    return { lake: { kind: 'directory', path: join(data, 'lake'), catalog }, spark: {} }
  },
}

const TARGET = { args: ['--target', 'prod'] }
const TOTALS = JSON.stringify({ sql: 'select kind, total from totals order by kind' })
const batch = (from: number) =>
  lines(
    ...Array.from({ length: 20 }, (_, i) => ({ id: String(from + i), kind: i % 2 === 0 ? 'a' : 'b', amount: '1.00' })),
  )

function projectOn(lake: object): string {
  return project({
    ...EVENTS,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: { lake: ${JSON.stringify(lake)} } } }\n`,
  })
}

const rows = (url: string, wanted: number) =>
  until(
    () => get(url, '/v1/datasets'),
    ({ datasets }: Json) =>
      datasets[0].rows === wanted && datasets[0].lag === 0 && datasets[1].lag === 0 && datasets[1].rows === 2,
  )

describe.each(Object.keys(PLACES))('tables in the catalog of %s', (which) => {
  test('are the same after kill -9 while answers get lost, for Spark too', async () => {
    const { lake, spark } = await PLACES[which]!()
    const proxy = await FaultyProxy.open(lake.catalog.uri)
    onTestFinished(() => proxy.close())
    const { pathname } = new URL(lake.catalog.uri)
    const root = projectOn({ ...lake, catalog: { ...lake.catalog, uri: proxy.url + pathname.replace(/\/$/, '') } })
    const data = folder()
    const faults: Fault[] = ['refused', '500 after', 'cut', 'cut within']
    let { running, url } = await serve(root, data, TARGET)
    let requests = 0
    proxy.fault = () => (++requests % 3 === 0 ? faults[(requests / 3) % faults.length]! : 'none')
    for (let i = 0; i < 5; i++) expect((await post(url, '/v1/streams/events', batch(i * 20))).status).toBe(202)
    await running.kill('SIGKILL')
    ;({ running, url } = await serve(root, data, TARGET))
    // The client heard no answer, and sends everything again.
    for (let i = 0; i < 10; i++) expect((await post(url, '/v1/streams/events', batch(i * 20))).status).toBe(202)
    const { datasets } = await rows(url, 200)
    expect(datasets[0]).toMatchObject({ received: 300, accepted: 200, duplicates: 100, quarantined: 0, rows: 200 })
    expect((await post(url, '/v1/sql', TOTALS, 'application/json')).body.rows).toEqual([
      ['a', 100],
      ['b', 100],
    ])
    await until(
      async () => proxy.seen.size,
      (size) => size === faults.length + 1,
    )

    // Another engine, by the other catalog: it reads, and a row of its own makes nothing due again.
    const settings = catalogSettings({ uri: lake.catalog.uri }, spark)
    const session = await SparkSession.open({ url: sparkUrl(), settings })
    onTestFinished(() => session.close())
    const inCatalog = (table: string) =>
      ['millrace', ...(lake.catalog.namespace?.split('.') ?? []), ...table.split('.')].join('.')
    const count = `SELECT count(*) AS n, count(DISTINCT id) AS ids FROM ${inCatalog('processed.events')}`
    expect(await session.rows(count)).toEqual([{ n: 200, ids: 200 }])
    await session.execute(`INSERT INTO ${inCatalog('curated.totals')} VALUES ('c', 7)`)
    expect((await running.kill('SIGTERM')).code).toBe(0)
    ;({ running, url } = await serve(root, data, TARGET))
    await until(
      () => get(url, '/v1/datasets'),
      ({ datasets }: Json) => datasets.every((each: Json) => each.state === 'ok' && each.lag === 0),
    )
    expect((await post(url, '/v1/sql', TOTALS, 'application/json')).body.rows).toHaveLength(3)
    // What is computed again replaces what was there, whoever wrote it.
    expect((await post(url, '/v1/streams/events', batch(200))).status).toBe(202)
    expect((await rows(url, 220)).datasets[0]).toMatchObject({ received: 320, accepted: 220, duplicates: 100 })
    expect(await session.rows(`SELECT kind, total FROM ${inCatalog('curated.totals')} ORDER BY kind`)).toEqual([
      { kind: 'a', total: '110.00' },
      { kind: 'b', total: '110.00' },
    ])
    expect((await running.kill('SIGTERM')).code).toBe(0)
  })
})

test('Spark computes tables by the other catalog', async () => {
  const { lake } = await PLACES['Apache Iceberg, a directory']!()
  const { namespace: _none, ...catalog } = lake.catalog
  const root = project({
    ...EVENTS,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: ${JSON.stringify({
      lake: { ...lake, catalog },
      engine: { kind: 'spark', url: sparkUrl(), catalog: catalog.uri },
    })} } }\n`,
  })
  const { running, url } = await serve(root, folder(), TARGET)
  expect((await post(url, '/v1/streams/events', batch(0))).status).toBe(202)
  await rows(url, 20)
  expect((await post(url, '/v1/streams/events', batch(20))).status).toBe(202)
  await rows(url, 40)
  const totals = () => post(url, '/v1/sql', TOTALS, 'application/json')
  await until(
    async () => JSON.stringify((await totals()).body.rows),
    (text) => text === '[["a",20],["b",20]]',
  )
  expect((await running.kill('SIGTERM')).code).toBe(0)
})

test('a target whose catalog is declared wrongly is refused, naming the place', async () => {
  const place = folder()
  const catalog = { kind: 'rest', uri: 'http://127.0.0.1:8181' }
  const root = project({
    ...EVENTS,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: ${JSON.stringify({
      lake: { kind: 'directory', path: place, catalog: { ...catalog, token: 7 } },
      engine: { kind: 'spark', url: sparkUrl() },
    })} } }\n`,
  })
  const refused = await millrace(['start', '--project', root, '--port', '0', '--target', 'prod'])
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('targets.prod.lake.catalog.token')
})

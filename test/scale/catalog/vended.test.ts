// Credentials for the files that come from the catalog alone.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { VendedAccess } from '../../../src/lake/access.ts'
import { expireSnapshots } from '../../../src/lake/expire.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { RemoteCatalog } from '../../../src/lake/remote/catalog.ts'
import { S3Store } from '../../../src/lake/s3-store.ts'
import { fieldsOf, t } from '../../../src/project/columns.ts'
import { EVENTS, folder, get, lines, post, project, serve, until } from '../../cli/support.ts'
import { Gateway } from '../../lake/support/gateway.ts'
import { s3Config, s3Home, storeOptions } from '../../lake/support/home.ts'
import { bucket } from '../s3/bucket.ts'
import { startJavaCatalog } from './java-catalog.ts'
import type { JavaCatalog } from './java-catalog.ts'

const name = await bucket()
const s3 = await s3Home(name)
const { credentials, ...place } = s3Config(name)
const own = Object.keys(process.env).filter((key) => key.startsWith('AWS_'))

let root: string
let server: JavaCatalog

beforeAll(async () => {
  // Neither the target nor the environment has any.
  for (const key of own) delete process.env[key]
  root = await s3.newRoot()
  server = await startJavaCatalog(folder(), root, { CATALOG_INCLUDE__CREDENTIALS: 'true' })
})
afterAll(async () => {
  await server.stop()
  await s3.clear()
})

test('a project runs on what the catalog hands out, and tells nobody', async () => {
  const prefix = root.slice(`s3://${name}/`.length)
  const lake = { kind: 's3', ...place, prefix, catalog: { kind: 'rest', uri: server.uri } }
  const where = project({
    ...EVENTS,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: { lake: ${JSON.stringify(lake)} } } }\n`,
  })
  const env = { AWS_EC2_METADATA_DISABLED: 'true', HOME: folder() }
  const { running, url } = await serve(where, folder(), { args: ['--target', 'prod'], env })
  const sent = lines({ id: '1', kind: 'a', amount: '1.00' }, { id: '2', kind: 'x', amount: '2.00' })
  expect((await post(url, '/v1/streams/events', sent)).status).toBe(202)
  const status = await until(
    () => get(url, '/v1/datasets'),
    ({ datasets }) => datasets[0].received === 2 && datasets[0].lag === 0 && datasets[1].rows === 1,
  )
  expect(status.datasets[0]).toMatchObject({ accepted: 1, quarantined: 1, rows: 1 })
  const { metadata } = await get(`${url}/iceberg`, '/v1/namespaces/processed/tables/events')
  expect(metadata.snapshots.length).toBeGreaterThan(0)
  const config = await get(url, '/iceberg/v1/config')
  const ended = await running.kill('SIGTERM')
  expect(ended.code).toBe(0)
  for (const text of [ended.stdout, ended.stderr, JSON.stringify(config), JSON.stringify(metadata)])
    expect(text).not.toContain(credentials.secretAccessKey)
})

test('they are renewed before they end', async () => {
  const silent = await startJavaCatalog(folder(), root)
  const gateway = await Gateway.open(silent.uri)
  onTestFinished(async () => {
    await gateway.close()
    await silent.stop()
  })
  const grant = (expiresInMs: number, secret = credentials.secretAccessKey) => ({
    's3.access-key-id': credentials.accessKeyId,
    's3.secret-access-key': secret,
    's3.session-token-expires-at-ms': String(Date.now() + expiresInMs),
  })
  gateway.tableConfig = grant(61_000)
  const { config: all, ...options } = await storeOptions(root)
  const { credentials: _none, ...config } = all
  const vended = new VendedAccess()
  const store = await S3Store.open({ ...options, config, vended, commitsElsewhere: true })
  const effects = { clock: systemClock, random: randomBytes }
  const login = { uri: gateway.uri, warehouse: 'w1', credential: 'shop:Pa:55word' }
  const lake = new Lake({ store, catalog: await RemoteCatalog.open(login, store, effects, vended) })
  const table = await lake.create({ namespace: 'a', name: 'b' }, { fields: fieldsOf({ id: t.long() }) })
  const loads = () => gateway.seen.filter((request) => /^GET .*\/tables\/b$/.test(request)).length
  const append = async (file: string) => {
    const path = `${table.location}/data/${file}.parquet`
    await writeFile(table.local.pathOf(path), file)
    const add = [{ path, records: 1, bytes: file.length, partition: [], columns: {} }]
    await table.commit({ operation: 'append', add, remove: [], summary: {} })
  }
  await append('one')
  const before = loads()
  await new Promise((resolve) => setTimeout(resolve, 1500))
  gateway.tableConfig = grant(3_600_000)
  await append('two')
  expect(loads()).toBe(before + 1)
  await append('three')
  expect(loads()).toBe(before + 1)
  expect(await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })).toMatchObject({ snapshots: 2 })
  expect((await s3.read(`${table.location}/data/two.parquet`)).toString()).toBe('two')
  await lake.drop(table.id)
})

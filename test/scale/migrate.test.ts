// From a laptop's directory to Kafka, S3 and PostgreSQL.
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { carryPartition, contentOf } from '../../src/log/carry.ts'
import { openLocalLog } from '../../src/log/local/open.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { type Json, Running, SHOP, folder, get, millrace, project, serve, until } from '../cli/support.ts'
import { s3Config, s3Home } from '../lake/support/home.ts'
import { batchOf, numbered, recordsFrom } from '../log/conformance.ts'
import { dropTopic, kafkaHome } from './kafka/home.ts'
import { bucket } from './s3/bucket.ts'
import { service } from './support/services.ts'

const name = await bucket()
const home = await s3Home(name)
afterAll(() => home.clear())

/** The shop with the first files only, and a target for it. */
async function shop(): Promise<{ root: string; data: string; add(): void }> {
  const prefix = (await home.newRoot()).slice(`s3://${name}/`.length)
  const own = `shop_${randomBytes(4).toString('hex')}`
  onTestFinished(() => dropTopic(`${own}.orders`))
  const target = {
    log: { kind: 'kafka', brokers: service('KAFKA_BROKERS').split(',') },
    lake: { kind: 's3', ...s3Config(name), prefix },
    state: { kind: 'postgres', url: service('POSTGRES_URL') },
  }
  const root = project({
    'millrace.config.ts': `export default { name: '${own}', targets: { prod: ${JSON.stringify(target)} } }\n`,
  })
  for (const file of ['orders.ts', 'sales.ts']) cpSync(join(SHOP, file), join(root, file))
  mkdirSync(join(root, 'data'))
  const files = readdirSync(join(SHOP, 'data')).sort()
  const copy = (names: readonly string[]) =>
    names.forEach((file) => cpSync(join(SHOP, 'data', file), join(root, 'data', file)))
  copy(files.slice(0, 8))
  return { root, data: join(root, '.millrace'), add: () => copy(files.slice(8)) }
}

const TABLES = ['orders', 'daily_revenue', 'monthly_revenue', 'customer_value', 'product_ranking', 'returns']

/** All rows of a table, in an order of their own. */
async function rowsAt(url: string, table: string): Promise<string[]> {
  const body = JSON.stringify({ sql: `select * from ${table}` })
  const csv = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/csv' },
    body,
  })
  expect(csv.status).toBe(200)
  return (await csv.text()).split('\n').toSorted()
}

const settled = (url: string, received: number) =>
  until(
    () => get(url, '/v1/datasets'),
    ({ datasets }: Json) =>
      datasets[0].received === received && datasets.every((each: Json) => each.lag === 0 && each.state === 'ok'),
  )

test('the shop, killed while it moves, goes on at Kafka and S3 as if it had always run there', async () => {
  const { root, data, add } = await shop()
  const run = async () => expect((await millrace(['run', '--project', root, '--data', data])).code).toBe(0)
  await run()
  const migrate = ['migrate', '--to', 'prod', '--project', root]
  // Killed at several points, known as unfinished once something was written.
  let unfinished = 0
  for (const step of [/table curated.daily/, /table processed/, /comparing/]) {
    const migrating = new Running(migrate)
    await migrating.says(step)
    await migrating.kill('SIGKILL')
    const refused = await millrace(['start', '--target', 'prod', '--project', root, '--port', '0'])
    if (/holds a part of what is being carried/.test(refused.stderr)) unfinished++
    expect(refused.code).toBe(1)
  }
  expect(unfinished).toBe(3)
  const done = await millrace([...migrate, '--json'])
  expect(done).toMatchObject({ code: 0, stderr: '' })
  const report = JSON.parse(done.stdout)
  expect(report.tables).toHaveLength(7)
  expect([...report.tables, ...report.logs].every((each: Json) => each.equal)).toBe(true)
  // What was copied before was not copied again.
  expect(report.tables.every((each: Json) => each.copied === 0)).toBe(true)

  const target = ['start', '--target', 'prod', '--project', root, '--port', '0']
  const first = new Running(target)
  const [, url] = await first.says(/(http:\/\/[\d.]+:\d+)/)
  const here = await serve(root, data)
  const received = (await get(here.url, '/v1/datasets')).datasets[0].received
  expect((await settled(url!, received)).datasets[0]).toMatchObject({ lag: 0 })
  for (const table of TABLES) expect(await rowsAt(url!, table)).toEqual(await rowsAt(here.url, table))
  expect((await here.running.kill('SIGTERM')).code).toBe(0)

  // More files: the same rows, counts and refusals as where it came from.
  add()
  const loaded = await until(
    () => get(url!, '/v1/datasets'),
    ({ datasets }: Json) =>
      datasets[0].received > received && datasets.every((each: Json) => each.lag === 0 && each.state === 'ok'),
  )
  await run()
  const control = await serve(root, data)
  const expected = (await get(control.url, '/v1/datasets')).datasets[0]
  await settled(url!, expected.received)
  const counts = ({ received, accepted, duplicates, quarantined }: Json) => [
    received,
    accepted,
    duplicates,
    quarantined,
  ]
  expect(loaded.datasets).toHaveLength(6)
  for (const table of TABLES) expect(await rowsAt(url!, table)).toEqual(await rowsAt(control.url, table))
  // The log has moved too: all of it can be processed again.
  const replay = ['replay', 'orders', '--from-start', '--project', root, '--data', join(data, 'prod'), '--json']
  const replayed = JSON.parse((await millrace(replay)).stdout)
  expect(counts(replayed.after)).toEqual(counts(expected))
  expect((await control.running.kill('SIGTERM')).code).toBe(0)
  expect((await first.kill('SIGTERM')).code).toBe(0)

  // Another warehouse finds the target taken.
  const other = folder()
  writeFileSync(join(other, 'note'), '')
  await millrace(['run', '--project', root, '--data', other])
  const taken = await millrace([...migrate, '--data', other])
  expect(taken.code).toBe(1)
  expect(taken.stderr).toContain("Target 'prod' holds other data")
})

test('a log whose beginning is gone begins at the same offset on Kafka', async () => {
  const directory = folder()
  const local = await openLocalLog({
    directory,
    stream: 'orders',
    partitions: 2,
    disk: systemDisk,
    clock: systemClock,
    limits: { segmentBytes: 2_000 },
    onFatal: (error) => {
      throw error
    },
  })
  onTestFinished(() => local.close())
  const source = local.partitions[0]!
  for (let from = 0; from < 2_000; from += 100) await source.append(batchOf(numbered(from, from + 100)))
  source.checkpointed(1_000)
  const start = await source.retain({ bytes: 0 })
  expect(start).toBeGreaterThan(0)
  const topic = await kafkaHome({ marks: false })
  onTestFinished(() => topic.remove())
  for (let again = 0; again < 2; again++) {
    const log = await topic.open()
    const there = log.partitions[0]!
    await carryPartition('orders', source, there, systemDisk)
    expect([there.start, there.end]).toEqual([start, 2_000])
    expect(await contentOf(there, systemDisk, start, 2_000)).toEqual(await contentOf(source, systemDisk, start, 2_000))
    expect(await recordsFrom(there, start)).toEqual(numbered(start, 2_000))
    await log.close()
  }
})

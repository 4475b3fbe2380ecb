import { afterEach, expect, test } from 'vitest'
import { until } from '../cli/support.ts'
import { LedgerLake } from '../support/ledger-lake.ts'
import { Ledger } from '../support/ledger.ts'
import { Cluster } from './support/cluster.ts'

/** A function with some work to do, which refuses some rows, and one over what it gives. */
const FUNCTIONS = `
import { createHash } from 'node:crypto'
import { t } from 'millrace'
const [, readings] = datasets
export const hashed = readings.map('hashed', {
  columns: { device: t.string(), n: t.int(), value: t.int(), hash: t.string() },
  map: ({ device, n, value }) => {
    if (value % 50 === 7) throw new RangeError('no such value')
    return { device, n, value, hash: createHash('md5').update(String(n)).digest('hex') }
  },
})
export const pairs = hashed.flatMap('pairs', {
  columns: { n: t.int(), part: t.int() },
  flatMap: ({ n, value }) => (value % 50 === 8 ? [] : [{ n, part: 0 }, { n, part: 1 }]),
})
`

let cluster: Cluster | undefined

afterEach(async () => {
  await cluster?.stopAll()
  cluster = undefined
})

/** What functions made of everything that was acknowledged is there once, in order; what they refused is in quarantine once. */
async function expectFunctionsRight({ directory, ledger }: Cluster, where: string): Promise<number> {
  const lake = new LedgerLake(directory)
  const sent = ledger.expected('readings').rows.map((text) => {
    const [device, n, value] = text.split('|')
    return { device: device!, n: Number(n), value: Number(value) }
  })
  const good = sent.filter(({ value }) => value % 50 !== 7)
  const hashed = await lake.foundByFile('hashed', `concat_ws('|', device, n, value, length(hash))`)
  expect(hashed.rows.toSorted(), `${where}: hashed`).toEqual(
    good.map(({ device, n, value }) => `${device}|${n}|${value}|32`).toSorted(),
  )
  const refused = hashed.refused.map((raw) => (JSON.parse(raw) as { n: number }).n)
  expect(
    refused.toSorted((a, b) => a - b),
    `${where}: refused`,
  ).toEqual(sent.flatMap(({ n, value }) => (value % 50 === 7 ? [n] : [])).toSorted((a, b) => a - b))
  const accepted = good.length
  const told = { received: sent.length, accepted, duplicates: 0, quarantined: sent.length - accepted }
  expect(hashed.counts, `${where}: counts of hashed`).toEqual(told)
  const pairs = await lake.foundByFile('pairs', `concat_ws('|', n, part)`)
  expect(pairs.rows.toSorted(), `${where}: pairs`).toEqual(
    good.flatMap(({ n, value }) => (value % 50 === 8 ? [] : [`${n}|0`, `${n}|1`])).toSorted(),
  )
  expect(pairs.counts, `${where}: counts of pairs`).toMatchObject({ received: accepted, accepted, quarantined: 0 })
  await expectOrder(lake, where)
  return sent.length
}

/** Within a file rows are in the order of their records. */
async function expectOrder(lake: LedgerLake, where: string): Promise<void> {
  for (const name of ['hashed', 'pairs']) {
    const { files } = await lake.foundByFile(name, `format('{:03d}/{:012d}', _partition, _offset)`)
    for (const file of files) expect(file, `${where}: order of ${name}`).toEqual(file.toSorted())
  }
}

test('functions of one table in one, then three processes, killed, frozen past their lease, stopped: each row once', async () => {
  const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
  console.log(`KILL_SEED=${seed}`)
  const ledger = new Ledger(seed)
  cluster = new Cluster(ledger, { more: FUNCTIONS, partitions: 6 })
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  await Promise.all([
    cluster.start('front', 'ingest,serve'),
    cluster.start('planner', 'schedule'),
    cluster.start('one', 'process'),
  ])
  cluster.send(3)
  await sleep(5_000)
  await Promise.all([cluster.start('two', 'process'), cluster.start('three', 'process')])
  await sleep(8_000)
  await cluster.replace('two')
  await sleep(2_000 + ledger.below(3_000))
  await cluster.freeze('three', 14_000)
  await sleep(1_000 + ledger.below(3_000))
  await cluster.replace('one')
  await sleep(ledger.below(3_000))
  await cluster.stop('three')
  await sleep(2_000)
  await cluster.expectRight(`seed ${seed}`)
  const rows = await expectFunctionsRight(cluster, `seed ${seed}`)
  expect(rows).toBeGreaterThan(500)
  expect(await new LedgerLake(cluster.directory).committers('hashed')).toBeGreaterThanOrEqual(3)
  console.log(`${cluster.summary}; ${rows} rows through functions`)
})

/** Windows over what functions keep of a stream whose partitions may be idle. */
const VISITS = `
import { sql, stream, t, table } from 'millrace'
export const visits = stream('visits', {
  columns: { at_time: t.timestamp(), n: t.int() },
  time: 'at_time',
  lateness: '10 seconds',
  idle: '2 seconds',
  key: 'n',
  partitions: 4,
})
export const seen = visits.map('seen', {
  columns: { since: t.timestamp(), n: t.int() },
  time: 'since',
  map: ({ at_time, n }) => ({ since: at_time, n }),
})
export const odd = seen.filter('odd', { filter: ({ n }) => n % 2 === 1 })
export const perMinute = table('per_minute', {
  window: { size: '1 minute' },
  sql: sql\`select count(*) as n from \${odd}\`,
})
`

test('windows over what functions of several processes made close by the stream’s time, and by its rest', async () => {
  const running = (cluster = new Cluster(new Ledger(1), { more: VISITS }))
  await Promise.all([
    running.start('front', 'ingest,serve'),
    running.start('planner', 'schedule'),
    running.start('one', 'process'),
    running.start('two', 'process'),
  ])
  const visit = (seconds: number, n: number) => ({ at_time: new Date(seconds * 1_000).toISOString(), n })
  const closed = (wanted: readonly number[]) =>
    until(
      async () =>
        (await running.get('front', '/v1/datasets/per_minute/rows?order=window_start')).body.rows as { n: number }[],
      (rows) => String(rows?.map(({ n }) => n)) === String(wanted),
      1_200,
    )
  const batch = (minute: number) => Array.from({ length: 40 }, (_, n) => visit(minute * 60 + n, n))
  await running.append('front', 'visits', batch(0))
  // Nobody but the functions ever sees these.
  const unseen = Array.from({ length: 400 }, (_, i) => visit(75, 2 * i))
  await running.append('front', 'visits', unseen)
  await closed([20])
  await running.append('front', 'visits', batch(1))
  // One partition goes on, and those that rest let it.
  await running.append('front', 'visits', [visit(150, 2)])
  await closed([20, 20])
})

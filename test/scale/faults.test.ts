import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { type Json, until } from '../cli/support.ts'
import { s3Config, s3Home } from '../lake/support/home.ts'
import { SmallDisk, canMount } from '../support/ledger-full.ts'
import { Ledger } from '../support/ledger.ts'
import { bucket } from './s3/bucket.ts'
import { FaultyProxy } from './s3/faulty-proxy.ts'
import { PostgresCluster } from './state/cluster.ts'
import { Cluster, type ClusterOptions } from './support/cluster.ts'

// Clusters that lose what they run on for a while. The clients' ledger says what must be there: nothing lost, nothing twice.

const name = await bucket()
const home = await s3Home(name)

let cluster: Cluster | undefined

afterEach(async () => {
  await cluster?.stopAll()
  cluster = undefined
})

/** A lake in the bucket, whose store is reached through a proxy. */
async function lakeBehind(proxy: FaultyProxy): Promise<NonNullable<ClusterOptions['lake']>> {
  const root = await home.newRoot()
  onTestFinished(() => home.clear())
  const prefix = root.slice(`s3://${name}/`.length)
  return {
    declared: { kind: 's3', ...s3Config(name), prefix, endpoint: proxy.url },
    open: () => home.open(root),
  }
}

async function openProxy(): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.open(s3Config(name).endpoint)
  onTestFinished(() => proxy.close())
  return proxy
}

/** Waits until each of some processes says that it is ready, or is not. */
async function becomes(status: 200 | 503, ...names: readonly string[]): Promise<void> {
  for (const member of names)
    await until(
      () => cluster!.get(member, '/readyz'),
      (answer) => answer.status === status,
      1_200,
    )
}

const TWO_WORKERS = { front: 'ingest,serve', worker: 'process', 'second worker': 'process', planner: 'schedule' }

async function startAll(roles: Readonly<Record<string, string>>): Promise<void> {
  await Promise.all(Object.entries(roles).map(([member, role]) => cluster!.start(member, role)))
}

test('PostgreSQL stops hard twice, for longer than leases last: all wait, say for what, and go on by themselves', async () => {
  const postgres = await PostgresCluster.start()
  onTestFinished(() => postgres.remove())
  cluster = new Cluster(new Ledger(21), { state: postgres.url(), lake: await lakeBehind(await openProxy()) })
  await startAll(TWO_WORKERS)
  cluster.send(3)
  for (let time = 0; time < 2; time++) {
    await goOn()
    await postgres.down('immediate')
    await becomes(503, 'worker', 'planner')
    const { body } = await cluster.get('worker', '/readyz')
    expect(body.detail).toContain('it cannot be told which work')
    const { datasets } = (await cluster.get('worker', '/v1/datasets')).body
    expect(datasets[0]).toMatchObject({ state: 'held', reason: expect.stringContaining('PostgreSQL') as string })
    // Leases of ten seconds run out.
    await sleep(12_000)
    await postgres.up()
    await becomes(200, 'front', 'worker', 'second worker', 'planner')
  }
  await goOn()
  await cluster.expectRight('after PostgreSQL was restarted')
  console.log(cluster.summary)
})

test('the object store is away for half a minute, then answers after 5 to 20 seconds: all go on by themselves', async () => {
  const proxy = await openProxy()
  cluster = new Cluster(new Ledger(22), { lake: await lakeBehind(proxy) })
  await startAll(TWO_WORKERS)
  cluster.send(3)
  await goOn()
  proxy.fault = () => 'refused'
  await sleep(30_000)
  let requests = 0
  proxy.fault = () => {
    proxy.slowMs = 5_000 + cluster!.ledger.below(15_000)
    return ++requests % 8 === 0 ? 'slow' : 'none'
  }
  await sleep(30_000)
  proxy.fault = () => 'none'
  await cluster.expectRight('after the store was away, and slow')
  expect(proxy.seen.get('slow')).toBeGreaterThan(1)
  console.log(cluster.summary, Object.fromEntries(proxy.seen))
})

test.each([
  canMount()
    ? {
        what: 'disks full: a worker ends, says why, and another goes on; an ingest process needs no room to go on',
        scenario: disksFull,
      }
    : {
        what: 'a worker gone (no file system may be mounted here, so no disk can be full): another goes on',
        scenario: workerGone,
      },
])('$what', ({ scenario }) => scenario())

async function workerGone(): Promise<void> {
  cluster = new Cluster(new Ledger(23), { lake: await lakeBehind(await openProxy()) })
  await startAll(TWO_WORKERS)
  cluster.send(3)
  await goOn()
  await cluster.replace('worker')
  await goOn()
  await cluster.expectRight('after a worker was gone')
}

async function disksFull(): Promise<void> {
  const disks = [new SmallDisk(48), new SmallDisk(8)] as const
  onTestFinished(() => disks.forEach((disk) => disk.remove()))
  const [data, small] = disks.map(({ path }) => join(path, 'data')) as [string, string]
  cluster = new Cluster(new Ledger(23), { lake: await lakeBehind(await openProxy()) })
  await Promise.all([
    cluster.start('front', 'ingest,serve', { directory: small }),
    cluster.start('worker', 'process', { directory: data }),
    cluster.start('second worker', 'process'),
    cluster.start('planner', 'schedule'),
  ])
  cluster.send(3)
  await goOn()
  for (const disk of disks) fill(disk)
  const { code, stderr } = await cluster.ended('worker')
  expect(code, stderr).toBe(1)
  expect(stderr).toMatch(/disk.* is full|No space left/i)
  expect(stderr).toContain(data)
  await sleep(5_000)
  const acknowledged = cluster.ledger.records
  await until(
    async () => cluster!.ledger.records,
    (records) => records > acknowledged + 100,
  )
  // It comes back where it was, once there is room.
  rmSync(join(disks[0].path, 'filler'))
  await cluster.start('worker', 'process', { directory: data })
  await goOn()
  await cluster.expectRight('after disks were full')
  console.log(cluster.summary)
}

/** Waits until some records more are in the lake. */
async function goOn(): Promise<void> {
  const rows = async () => (await cluster!.get('front', '/v1/datasets')).body.datasets.map(({ rows }: Json) => rows)
  const before: number[] = await rows()
  await until(rows, (now: number[]) => now.slice(0, 2).every((count, i) => count > before[i]! + 20), 1_200)
}

test('a worker that may not write to the lake any more ends; one with other roles stays and is not ready', async () => {
  const proxy = await openProxy()
  cluster = new Cluster(new Ledger(24), { lake: await lakeBehind(proxy) })
  await startAll({ front: 'ingest,serve', worker: 'process', mixed: 'process,serve', planner: 'schedule' })
  cluster.send(3)
  await goOn()
  proxy.fault = ({ method }) => (method === 'PUT' ? 'denied' : 'none')
  const { code, stderr } = await cluster.ended('worker')
  expect(code, stderr).toBe(1)
  expect(stderr).toMatch(/denied/i)
  await becomes(503, 'mixed')
  const { body } = await cluster.get('mixed', '/readyz')
  expect(body.detail).toContain('all its streams have stopped')
  proxy.fault = () => 'none'
  await cluster.replace('mixed')
  await cluster.start('worker', 'process')
  await cluster.expectRight('after writing was denied')
  console.log(cluster.summary)
})

/** Takes all the room that is left. */
function fill(disk: SmallDisk): void {
  const file = openSync(join(disk.path, 'filler'), 'w')
  try {
    for (const block of [1 << 16, 1 << 12, 1])
      try {
        for (;;) writeSync(file, Buffer.alloc(block))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      }
  } finally {
    closeSync(file)
  }
}

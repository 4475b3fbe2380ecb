import { afterEach, expect, test } from 'vitest'
import { Ledger } from '../support/ledger.ts'
import { Cluster } from './support/cluster.ts'

let cluster: Cluster | undefined

afterEach(async () => {
  await cluster?.stopAll()
  cluster = undefined
})

test('each role in a process of its own, several of some: every record is in the lake once', async () => {
  cluster = new Cluster(new Ledger(11))
  await Promise.all([
    cluster.start('front', 'ingest,serve'),
    cluster.start('second front', 'ingest'),
    cluster.start('worker', 'process'),
    cluster.start('second worker', 'process'),
    cluster.start('planner', 'schedule'),
  ])
  cluster.send(4)
  await new Promise((resolve) => setTimeout(resolve, 5_000))
  await cluster.expectRight('all roles')
  expect(cluster.ledger.records).toBeGreaterThan(100)
})

test('kill -9 of any process, and a worker that sleeps past its lease: nothing lost, nothing twice', async () => {
  const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
  console.log(`KILL_SEED=${seed}`)
  const ledger = new Ledger(seed)
  cluster = new Cluster(ledger)
  const roles = { front: 'ingest,serve', worker: 'process', 'second worker': 'process', planner: 'schedule' }
  const names = Object.keys(roles) as (keyof typeof roles)[]
  await Promise.all(names.map((name) => cluster!.start(name, roles[name])))
  cluster.send(4)
  for (let kill = 0; kill < 6; kill++) {
    await new Promise((resolve) => setTimeout(resolve, ledger.below(3_000)))
    const name = names[kill % names.length]!
    if (kill === 4) await cluster.freeze('worker', 14_000)
    else await cluster.replace(name)
  }
  await cluster.expectRight(`seed ${seed}`)
  console.log(cluster.summary)
})

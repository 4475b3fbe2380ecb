// The command line beside a cluster that runs.
import { expect, onTestFinished, test } from 'vitest'
import { Ledger } from '../support/ledger.ts'
import { type Json, Running } from '../cli/support.ts'
import { Cluster } from './support/cluster.ts'

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

async function running(seed: number, strict = false): Promise<Cluster> {
  const cluster = new Cluster(new Ledger(seed))
  onTestFinished(() => cluster.stopAll())
  await Promise.all([
    cluster.start('front', 'ingest,serve', { strict }),
    cluster.start('worker', 'process', { strict }),
    cluster.start('second worker', 'process', { strict }),
    cluster.start('planner', 'schedule', { strict }),
  ])
  return cluster
}

const count = (answer: Json): number => answer.rows[0][0]

test('reading commands see what is committed, and take no lease', async () => {
  const cluster = await running(21)
  cluster.send(4)
  await sleep(3_000)
  await cluster.expectRight('before')
  const leases = await cluster.leases()
  expect(leases).toHaveLength(6)
  for (const { name, rows } of await cluster.datasets()) {
    const answer = await cluster.command(['query', '--json', `select count(*) from ${name}`])
    expect([name, count(answer)]).toEqual([name, rows])
  }
  const status = await cluster.command(['status', '--json'])
  expect(status.datasets.map(({ name, lag, state }: Json) => ({ name, lag, state }))).toEqual(
    ['payments', 'readings', 'daily', 'latest', 'totals'].map((name) => ({ name, lag: 0, state: 'ok' })),
  )
  const { quarantine } = await cluster.command(['quarantine', 'list', '--json'])
  expect(quarantine.length).toBeGreaterThan(0)
  const verified = await cluster.command(['verify', '--json'])
  expect(verified.datasets).toHaveLength(5)
  for (const dataset of verified.datasets) expect(dataset).toMatchObject({ equal: true })
  const { runs } = await cluster.command(['status', '--runs', '--json'])
  expect(runs.length).toBeGreaterThan(2)
  for (const run of runs)
    expect(run).toMatchObject({ kind: 'refresh', outcome: 'succeeded', counts: { rows: expect.any(Number) } })
  expect(await cluster.leases()).toEqual(leases)
})

test('a replay is handed the stream by the workers, and gives it back; nothing is lost or doubled', async () => {
  const cluster = await running(22)
  cluster.send(4)
  await sleep(3_000)
  const { records, result } = await cluster.command(['replay', 'readings', '--from-start', '--json'])
  expect(records).toBeGreaterThan(0)
  expect(result.accepted + result.duplicates + result.quarantined).toBe(records)
  await cluster.command(['quarantine', 'replay', 'readings', '--json'])
  await cluster.command(['maintain', '--json'])
  expect(await cluster.command(['run', '--json'])).toMatchObject({ ok: true })
  await sleep(1_000)
  await cluster.expectRight('after')
  // As before, by those who run.
  await expect.poll(async () => (await cluster.leases()).length, { timeout: 30_000 }).toBe(6)
  expect((await cluster.leases()).every(({ name }) => !name.startsWith('claim/'))).toBe(true)
})

test('what the processes refuse gets in by a replay through newer code', async () => {
  const cluster = await running(24, true)
  cluster.send(3)
  await sleep(3_000)
  await cluster.pause()
  await expect
    .poll(async () => (await cluster.datasets()).map(({ lag }) => lag), { timeout: 60_000 })
    .toEqual([0, 0, 0, 0, 0])
  const refused = await cluster.command(['quarantine', 'list', 'payments', '--json'])
  const gifts = refused.quarantine.find(({ rule }: Json) => rule.includes('kind')).records
  expect(gifts).toBeGreaterThan(0)
  const { before, after } = await cluster.command(['quarantine', 'replay', 'payments', '--json'])
  expect(after.quarantined).toBe(before.quarantined - gifts)
  await cluster.expectRight('after')
})

test('kill -9 of the one that replays, at any moment: others go on, nothing is lost or doubled', async () => {
  const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
  console.log(`KILL_SEED=${seed}`)
  const cluster = await running(seed)
  cluster.send(4)
  await sleep(4_000)
  let killed = 0
  for (let i = 0; i < 4; i++) {
    const replaying = new Running(cluster.args(['replay', 'readings', '--from-start']))
    await sleep(500 + cluster.ledger.below(6_000))
    if ((await replaying.kill('SIGKILL')).signal === 'SIGKILL') killed++
  }
  expect(killed).toBeGreaterThan(0)
  await cluster.expectRight(`seed ${seed}`)
  // And then it is done.
  const report = await cluster.command(['replay', 'readings', '--from-start', '--json'])
  expect(report.after).toEqual(report.before)
  await cluster.expectRight(`seed ${seed}, replayed`)
})

test('who does not hand over in time is named, and nothing was changed', async () => {
  const cluster = await running(23)
  cluster.send(2)
  await sleep(2_000)
  // Another command that takes its time.
  const state = await cluster.state()
  onTestFinished(() => state.close())
  const claim = (await state.leases.acquire('claim/process/readings/0', 'a slow command', 600_000))!
  const ended = await cluster.tried(['replay', 'readings', '--from-start', '--wait', '3 seconds'])
  expect(ended.code).toBe(1)
  expect(ended.stderr).toMatch(
    /^Partition 0 of stream 'readings' is with a slow command: waiting .*\n.*is still with a slow command after 3.0 s/,
  )
  await state.leases.release(claim)
  await cluster.expectRight('after')
})

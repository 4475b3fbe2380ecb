import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { MillraceError } from '../../src/base/errors.ts'
import { check, stream, t } from '../../src/index.ts'
import { Lake } from '../../src/lake/lake.ts'
import type { Snapshot } from '../../src/lake/table.ts'
import { Lanes } from '../../src/runtime/streams/lanes.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { readRecord } from '../../src/runtime/record.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { StreamRunner } from '../../src/runtime/streams/stream-runner.ts'
import { Warehouse } from '../../src/runtime/warehouse.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, batchOf, query, send, snapshots } from './home.ts'

/** Several processes share a stream: here they share this one, and nothing else but log and lake. */
const PARTITIONS = 4
const events = stream('events', {
  columns: { id: t.int(), at: t.timestamp() },
  time: 'at',
  key: ['id'],
  unique: ['id'],
  partitions: PARTITIONS,
  checks: [check.range('id', { min: 0 })],
})

/** Records from an id on; every fifth is refused, and every seventh is sent twice. */
function recordsFrom(start: number, count: number): { id: number; at: string }[] {
  return Array.from({ length: count }, (_, i) => start + i).flatMap((n) => {
    const record = { id: n % 5 === 4 ? -n : n, at: new Date(1_700_000_000_000 + n * 1_000).toISOString() }
    return n % 7 === 0 && n % 5 !== 4 ? [record, record] : [record]
  })
}

const LAZY = { commitIntervalMs: 3_600_000, quietMs: 3_600_000, lingerMs: 1 }
const EAGER = { ...LAZY, commitIntervalMs: 5, quietMs: 1 }

class Office {
  readonly runtime: Runtime
  readonly #home: Home
  readonly workers: StreamRunner[] = []
  readonly fenced: string[] = []
  readonly failed: MillraceError[] = []
  #epoch = 0
  #sent = 0

  private constructor(home: Home, runtime: Runtime) {
    this.#home = home
    this.runtime = runtime
  }

  /** A log and a lake, and a runtime that works on neither. */
  static async open(): Promise<Office> {
    const home = await Home.make()
    return new Office(home, await home.open([events], { start: false }))
  }

  /** A worker with tables and lanes of its own. */
  async worker(
    name: string,
    { disk = systemDisk, limits = LAZY }: { disk?: Disk; limits?: typeof LAZY } = {},
  ): Promise<StreamRunner> {
    const { options } = this.runtime.stream('events')
    const lake = new Lake({ root: join(this.#home.dataDirectory, 'lake'), disk, clock: options.clock })
    const temporary = join(options.temporary, name)
    await systemDisk.makeDirectory(temporary)
    const lanes = Lanes.open(1, { memory: 2 ** 28, temporary, uniqueMemory: 2 ** 24 })
    const worker = await StreamRunner.open({
      ...options,
      run: name,
      limits,
      lanes,
      temporary,
      owned: [],
      table: (await lake.load({ namespace: 'processed', name: 'events' }))!,
      openQuarantine: (create) =>
        create ? new Warehouse(lake).quarantineOf('events') : lake.load({ namespace: 'quarantine', name: 'events' }),
      onCommit: () => undefined,
      onFailed: (error) => this.failed.push(error),
      onRecovered: () => undefined,
      onFenced: (partition) => this.fenced.push(`${name} ${partition}`),
    })
    worker.start()
    this.workers.push(worker)
    onTestFinished(async () => {
      await worker.stop().catch(() => undefined)
      await lanes.close()
    })
    return worker
  }

  /** Gives partitions to a worker under a new lease, whoever has them. */
  async assign(worker: StreamRunner, ...partitions: number[]): Promise<void> {
    for (const partition of partitions) await worker.own(partition, ++this.#epoch)
  }

  async send(count: number): Promise<void> {
    await send(this.runtime, 'events', recordsFrom(this.#sent, count))
    this.#sent += count
    for (const worker of this.workers) for (let i = 0; i < PARTITIONS; i++) worker.grown(i)
  }

  /** The first commit is made at once; those after it wait for their time. */
  async begin(): Promise<void> {
    await this.send(40)
    for (const worker of this.workers) await worker.drain()
  }

  /** Waits until a worker has gated what its partitions hold, without committing it. */
  async gated(worker: StreamRunner): Promise<void> {
    const { partitions } = worker.log
    const held = () => worker.owned.reduce((sum, i) => sum + partitions[i]!.end - worker.committed.offsets[i]!, 0)
    await expect.poll(() => worker.counts.received - worker.committed.counts.received, { timeout: 30_000 }).toBe(held())
  }

  /** The newest snapshot, as somebody who opens the lake now sees it. */
  async newest(): Promise<Snapshot> {
    const { table } = this.runtime.stream('events')
    await table.refresh()
    return table.snapshot()!
  }

  /** Every record sent is there once: as a row, a duplicate, or refused; and the newest snapshot says so. */
  async expectComplete(): Promise<void> {
    const { runtime } = this
    const all = recordsFrom(0, this.#sent)
    const good = [...new Set(all.map(({ id }) => id).filter((id) => id >= 0))]
    const bad = all.map(({ id }) => id).filter((id) => id < 0)
    const { offsets, counts } = readRecord((await this.newest()).summary)!
    await (await runtime.stream('events').quarantineTable()).refresh()
    expect(await query(runtime, 'SELECT id FROM {events} ORDER BY id')).toEqual(good.map((id) => ({ id })))
    const refused = await query(runtime, `SELECT (raw->>'id')::int AS id FROM {quarantine.events} ORDER BY id DESC`)
    expect(refused).toEqual(bad.map((id) => ({ id })))
    expect(offsets).toEqual(runtime.stream('events').log.partitions.map(({ end }) => end))
    expect(counts).toEqual({
      received: all.length,
      accepted: good.length,
      duplicates: all.length - good.length - bad.length,
      quarantined: bad.length,
    })
  }
}

test('two workers commit in turns, and each adds to what the other did', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0, 1)
  await office.assign(b, 2, 3)
  expect([a.owned, b.owned]).toEqual([
    [0, 1],
    [2, 3],
  ])
  for (let round = 0; round < 4; round++) {
    await office.send(50)
    await Promise.all([a.drain(), b.drain()])
  }
  await office.expectComplete()
  expect(readRecord((await office.newest()).summary)!.epochs).toEqual([1, 2, 3, 4])
  expect(a.lag + b.lag).toBe(0)
  expect(office.fenced).toEqual([])
})

test('what a worker has gated of a partition that another took is refused; the rest it commits', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0, 1, 2, 3)
  await office.begin()
  await office.send(100)
  await office.gated(a)
  await office.assign(b, 1)
  await a.commit()
  expect(office.fenced).toEqual(['a 1'])
  expect(a.owned).toEqual([0, 2, 3])
  await b.drain()
  await office.expectComplete()
  await office.send(60)
  await Promise.all([a.drain(), b.drain()])
  await office.expectComplete()
  expect(office.failed).toEqual([])
})

test('a worker that asks with an older lease is refused, and one without a lease is fenced by those that have one', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0, 1, 2, 3)
  await office.assign(b, 0)
  const before = snapshots(office.runtime)
  await expect(a.own(0, 1)).rejects.toMatchObject({
    kind: 'conflict',
    code: 'fenced',
    message:
      "Partition 0 of stream 'events' was taken with epoch 5, and this process asks with 1: another worker has it, and nothing was committed.",
    context: { dataset: 'events', partition: 0 },
  })
  expect(snapshots(office.runtime)).toEqual(before)
  await office.send(40)
  const unleased = office.runtime.stream('events')
  unleased.start()
  await expect(unleased.drain()).rejects.toMatchObject({ code: 'fenced' })
  await Promise.all([a.drain(), b.drain()])
  await office.expectComplete()
})

test('quarantine that a worker left before its rows is taken back by who has its partitions next, and only that', async () => {
  const office = await Office.open()
  const disk = new FaultyDisk(join(office.runtime.options.dataDirectory, 'limbo'))
  const a = await office.worker('a', { disk })
  const [b, c] = [await office.worker('b'), await office.worker('c')]
  await office.assign(a, 0, 1)
  await office.assign(b, 2, 3)
  await office.begin()
  await office.send(100)
  await Promise.all([a, b].map((worker) => office.gated(worker)))
  disk.arm({ at: /^link .*processed\/events\/metadata/, error: 'EIO', lasting: true })
  await expect(a.commit()).rejects.toMatchObject({ kind: 'corrupt' })
  // What others did since stays, whatever housekeeping made of the files.
  await b.drain()
  await office.send(100)
  await b.drain()
  for (let round = 0; round < 6; round++) {
    await office.send(10)
    await b.drain()
  }
  const refused = async (): Promise<number> => {
    await (await office.runtime.stream('events').quarantineTable()).refresh()
    return (await query(office.runtime, 'SELECT 1 FROM {quarantine.events}')).length
  }
  const before = await refused()
  await office.newest()
  const reports = await maintain(office.runtime, { minFiles: 2, rewriteBytesMax: Infinity })
  expect(reports.find(({ table }) => table === 'quarantine.events')!.compacted).toBeGreaterThan(2)
  expect(await refused()).toBe(before)
  await office.assign(c, 1, 0)
  expect(await refused()).toBeLessThan(before)
  await c.drain()
  await office.expectComplete()
})

test('partitions go from hand to hand, in order and by force, while records come', async () => {
  const office = await Office.open()
  const workers = [await office.worker('a', { limits: EAGER }), await office.worker('b', { limits: EAGER })]
  await office.assign(workers[0]!, 0, 1, 2, 3)
  let seed = 7
  const below = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n
  for (let round = 0; round < 30; round++) {
    await office.send(1 + below(40))
    const partition = below(PARTITIONS)
    const to = workers[below(2)]!
    const from = workers.find((worker) => worker !== to)!
    if (to.owned.includes(partition)) continue
    // By force: whoever has it believes so until it commits.
    if (below(2) === 0) await from.disown(partition)
    await office.assign(to, partition)
  }
  await Promise.all(workers.map((worker) => worker.drain()))
  await office.expectComplete()
  expect(office.failed).toEqual([])
  expect(office.fenced.length).toBeGreaterThan(0)
})

test('a replay needs all partitions', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0, 1, 2, 3)
  await office.send(50)
  await a.drain()
  await office.assign(b, 3)
  a.lose(3)
  const replay = (worker: StreamRunner) =>
    replayStream(worker, { database: office.runtime.database, from: [0, 0, 0, 0], superseded: [] })
  await expect(replay(a)).rejects.toMatchObject({ code: 'partitions-elsewhere' })
  await b.disown(3)
  await office.assign(a, 3)
  await replay(a)
  await office.expectComplete()
})

test('a worker that comes while another replays leaves to it what it has done so far', async () => {
  const office = await Office.open()
  let [reached, goOn]: (() => void)[] = [() => undefined, () => undefined]
  const isReached = new Promise<void>((resolve) => (reached = resolve))
  const mayGoOn = new Promise<void>((resolve) => (goOn = resolve))
  let isReplaying = false
  const disk: Disk = {
    ...systemDisk,
    // The commit of the rows, after that of quarantine.
    link: async (from, to) => {
      if (isReplaying && to.includes('/processed/')) {
        reached!()
        await mayGoOn
      }
      return systemDisk.link(from, to)
    },
  }
  const a = await office.worker('a', { disk })
  await office.assign(a, 0, 1, 2, 3)
  await office.send(50)
  await a.drain()
  isReplaying = true
  const replayed = replayStream(a, { database: office.runtime.database, from: [0, 0, 0, 0], superseded: [] })
  await isReached
  await office.worker('b')
  goOn!()
  await replayed
  await office.expectComplete()
  const quarantine = await office.runtime.stream('events').quarantineTable()
  expect(readRecord(quarantine.snapshot()!.summary)!.replays).toBe(1)
  expect(readRecord((await office.newest()).summary)!.replays).toBe(1)
})

test('what a check held back is published when the check is gone', async () => {
  const home = await Home.make()
  const of = (...checks: ReturnType<typeof check.rowCount>[]) => stream('s', { columns: { id: t.int() }, checks })
  const held = await home.open([of(check.rowCount({ min: 3 }))])
  await send(held, 's', [{ id: 1 }])
  await held.settle()
  expect(await query(held, 'SELECT id FROM {s}')).toEqual([])
  await home.stop(held)
  const free = await home.open([of()])
  await free.append('s', batchOf([{ id: 2 }]))
  await free.settle()
  expect(await query(free, 'SELECT id FROM {s} ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }])
})

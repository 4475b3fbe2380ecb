import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { asMillraceError } from '../../src/base/errors.ts'
import { Lake } from '../../src/lake/lake.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import type { Dataset } from '../../src/project/dataset.ts'
import type { Table } from '../../src/project/table.ts'
import { type BoundProject, bindProject } from '../../src/runtime/bind.ts'
import { duckdbEngine } from '../../src/runtime/duckdb-engine.ts'
import { FunctionPool } from '../../src/runtime/functions/function-pool.ts'
import { readRecord } from '../../src/runtime/record.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { Shares } from '../../src/runtime/functions/shares.ts'
import { TableRunner } from '../../src/runtime/tables/table-runner.ts'
import { TransformRunner } from '../../src/runtime/functions/transform-runner.ts'
import { LAYERS, Warehouse, relationOf } from '../../src/runtime/warehouse.ts'
import { type Disk, systemDisk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { clicks, letters, words } from './functions/project.ts'
import { Home, type Row, query, send } from './home.ts'

/** Several processes share the work of function tables: here they share this one, and nothing else but the lake. */
const LOADER = new URL('./functions/loader.ts', import.meta.url).href
const TABLES = [words, letters]
const PARTITIONS = [0, 1]

/** What `words` and `letters` are told to do with a text. */
const TEXTS = ['a b', 'hello world', 'throw', 'many 3', 'many 101', 'muchlongerthanten x'] as const

/** Commits wait while it is held. */
interface Gate {
  held: PromiseWithResolvers<void> | undefined
}

class Worker {
  readonly name: string
  readonly runners: readonly TableRunner[]
  readonly #gate: Gate
  #steps: Promise<unknown>[] = []

  private constructor(name: string, runners: readonly TableRunner[], gate: Gate) {
    this.name = name
    this.runners = runners
    this.#gate = gate
  }

  static async open(name: string, office: Office, { disk = systemDisk, code }: { disk?: Disk; code?: string }) {
    const gate: Gate = { held: undefined }
    const link = async (from: string, to: string) => {
      await gate.held?.promise
      return disk.link(from, to)
    }
    const own = new Proxy(disk, {
      get: (target, key) => {
        if (key === 'link') return link
        const found = Reflect.get(target, key) as unknown
        return typeof found === 'function' ? (found.bind(target) as unknown) : found
      },
    })
    const lake = new Lake({ root: join(office.directory, 'lake'), disk: own, clock: office.runtime.options.clock })
    const runners: TableRunner[] = []
    for (const table of TABLES) runners.push(await office.runner(name, table, lake, code))
    return new Worker(name, runners, gate)
  }

  async take(partition: number, epoch: number): Promise<void> {
    for (const runner of this.runners) await runner.takePartition(partition, epoch)
  }

  async give(partition: number): Promise<void> {
    for (const runner of this.runners) await runner.givePartition(partition)
  }

  lose(partition: number): void {
    for (const { shares } of this.runners) shares!.lose(partition)
  }

  /** Does what is due, tables one after the other; nothing is committed until `release`. */
  begin(): void {
    this.#gate.held ??= Promise.withResolvers()
    this.#steps.push(this.step())
  }

  async step(): Promise<void> {
    for (const runner of this.runners) await this.#refresh(runner)
  }

  async #refresh(runner: TableRunner): Promise<void> {
    try {
      while ((await runner.refresh()).more) continue
    } catch (error) {
      // The scheduler tries again what ends so.
      if (!asMillraceError(error).retryable) throw error
    }
  }

  async release(): Promise<void> {
    this.#gate.held?.resolve()
    this.#gate.held = undefined
    await Promise.all(this.#steps.splice(0))
  }
}

class Office {
  readonly runtime: Runtime
  readonly home: Home
  readonly #bound: BoundProject
  readonly #pool: FunctionPool
  #epoch = 0
  #ids = 0

  private constructor(home: Home, runtime: Runtime, bound: BoundProject, pool: FunctionPool) {
    this.home = home
    this.runtime = runtime
    this.#bound = bound
    this.#pool = pool
  }

  /** A stream that is gated, and tables that nobody works on. */
  static async open(): Promise<Office> {
    const home = await Home.make()
    const runtime = await home.open([clicks])
    const bound = await bindProject(home.project([clicks, ...TABLES]), runtime.database)
    expect(bound.problems).toEqual([])
    const { clock } = runtime.options
    const options = { loader: LOADER, directory: home.directory, clock, threads: 2, memory: 2 ** 28 }
    const pool = new FunctionPool(options)
    onTestFinished(() => pool.close())
    return new Office(home, runtime, bound, pool)
  }

  get directory(): string {
    return this.home.dataDirectory
  }

  async runner(name: string, table: Table, lake: Lake, code = this.#bound.code.get(table.name)!): Promise<TableRunner> {
    const { database, options } = this.runtime
    const { clock } = options
    const warehouse = new Warehouse(lake)
    const fields = this.#bound.fields.get(table.name)!
    const tables = new Map<string, LakeTable>()
    for (const dataset of [clicks, ...TABLES])
      tables.set(dataset.name, await warehouse.tableOf(dataset, this.#bound.fields.get(dataset.name)!))
    const openQuarantine = async (create: boolean) =>
      create ? warehouse.quarantineOf(table.name) : lake.load({ namespace: LAYERS.quarantine, name: table.name })
    const temporary = join(options.dataDirectory, 'tmp', name)
    await systemDisk.makeDirectory(temporary)
    const lakeTable = tables.get(table.name)!
    const transform = await new TransformRunner({
      table,
      transform: table.transform!,
      fields,
      inputFields: this.#bound.fields.get(table.transform!.input!.name),
      code,
      database,
      clock,
      pool: this.#pool,
      temporary,
      openQuarantine,
    }).open()
    const engine = duckdbEngine(database)
    const lakeTableOf = (dataset: Dataset) => tables.get(dataset.name)!
    const common = { table, lakeTable, code, run: name, engine, clock, transform, lakeTableOf, openQuarantine }
    const shares = await Shares.open(common)
    return new TableRunner({ ...common, fields, shares, idlePartitions: () => new Set() })
  }

  worker(name: string, options: { disk?: Disk; code?: string } = {}): Promise<Worker> {
    return Worker.open(name, this, options)
  }

  /** Gives partitions to a worker under a new lease, whoever has them. */
  async assign(worker: Worker, ...partitions: number[]): Promise<void> {
    for (const partition of partitions) await worker.take(partition, ++this.#epoch)
  }

  async send(...texts: readonly string[]): Promise<void> {
    if (texts.length > 0)
      await send(
        this.runtime,
        'clicks',
        texts.map((text) => ({ id: this.#ids++, text })),
      )
    await this.runtime.stream('clicks').drain()
  }

  async #read(namespace: string, name: string, columns: string): Promise<Row[]> {
    const table = await new Lake({ root: join(this.directory, 'lake') }).load({ namespace, name })
    const main = table?.snapshot()
    if (!table || !main) return []
    const relation = await relationOf(table, await table.files(main), table.local.hold())
    const reader = await this.runtime.database.use((c) => c.runAndReadAll(`SELECT ${columns} FROM ${relation}`))
    return reader.getRowObjectsJson()
  }

  /** Every row of the stream was taken once, in the order of its partition; what threw is in quarantine once; and the counts say so. */
  async expectRight(where: string): Promise<void> {
    const rows = await query(this.runtime, 'SELECT text, _partition, _offset FROM {clicks}')
    const origin = ({ _partition, _offset }: Row) => `${String(_partition)}:${String(_offset)}`
    const isBad = (text: unknown) => text === 'throw' || text === 'many 101'
    const wordsOf = (text: string) => (text === 'many 3' ? ['w0', 'w1', 'w2'] : text.split(' '))
    const good = rows.filter(({ text }) => !isBad(text))
    const made = good.flatMap((row) => wordsOf(String(row['text'])).map((word, i) => ({ word, from: origin(row), i })))
    const isLong = (word: string) => word.length > 10
    await this.#expectTable(where, 'words', {
      rows: made.map(({ word, from, i }) => `${from}:${i} ${word}`),
      refused: rows.filter(({ text }) => isBad(text)).map(origin),
      received: rows.length,
      text: 'word',
    })
    await this.#expectTable(where, 'letters', {
      rows: made.flatMap(({ word, from, i }) =>
        isLong(word) ? [] : Array.from(word, (letter, j) => `${from}:${i * 10 + j} ${letter}`),
      ),
      refused: made.filter(({ word }) => isLong(word)).map(({ from }) => from),
      received: made.length,
      text: 'letter',
    })
  }

  async #expectTable(
    where: string,
    name: string,
    expected: { rows: string[]; refused: string[]; received: number; text: string },
  ): Promise<void> {
    const { rows, refused, received, text } = expected
    const found = await this.#read(LAYERS.table, name, `_partition, _offset, _index, ${text} AS text`)
    const line = (r: Row) =>
      `${String(r['_partition'])}:${String(r['_offset'])}:${String(r['_index'])} ${String(r['text'])}`
    expect(found.map(line).toSorted(), `${where}: ${name}`).toEqual(rows.toSorted())
    const left = await this.#read(LAYERS.quarantine, name, "_partition || ':' || _offset AS origin")
    expect(left.map(({ origin }) => String(origin)).toSorted(), `${where}: refused by ${name}`).toEqual(
      refused.toSorted(),
    )
    const table = (await new Lake({ root: join(this.directory, 'lake') }).load({ namespace: LAYERS.table, name }))!
    const { counts } = readRecord(table.snapshot()!.summary)!
    const quarantined = refused.length
    const told = { received, accepted: received - quarantined, duplicates: 0, quarantined }
    expect(counts, `${where}: counts of ${name}`).toEqual(told)
    await this.#expectOrder(table)
  }

  /** Rows of a file are in the order of their records. */
  async #expectOrder(table: LakeTable): Promise<void> {
    for (const file of await table.files(table.snapshot()!)) {
      const relation = await relationOf(table, [file], table.local.hold())
      const sql = `SELECT _partition AS p, _offset AS o, _index AS i FROM ${relation}`
      const rows = await this.runtime.database.rows(sql)
      const keys = rows.map(({ p, o, i }) => [Number(p), Number(o), Number(i)])
      expect(keys).toEqual(keys.toSorted((a, b) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!))
    }
  }
}

test('two workers commit in turns, and each adds to what the other did', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0)
  await office.assign(b, 1)
  for (let round = 0; round < 3; round++) {
    await office.send(...TEXTS, ...TEXTS)
    await Promise.all([a.step(), b.step()])
    // What one made of words, the other's letters wait for no longer than until the next time.
    await Promise.all([a.step(), b.step()])
    await office.expectRight(`round ${round}`)
  }
  const { offsets, epochs, source } = readRecord(a.runners[0]!.lakeTable.snapshot()!.summary)!
  expect(epochs).toEqual([1, 2])
  expect(offsets).toEqual(office.runtime.stream('clicks').committed.offsets)
  expect(source).toBe(`${office.runtime.lakeTable('clicks').uuid}/0`)
  await expect(a.runners[0]!.replayRefused('true')).rejects.toMatchObject({ code: 'partitions-elsewhere' })
  await expect(a.runners[0]!.refresh({ everything: true })).rejects.toMatchObject({
    kind: 'unavailable',
    message: "This process has 1 of the 2 partitions of table 'words', and this needs all.",
  })
})

test('what a worker computed of a partition that another has taken is refused, with what it put into quarantine', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0, 1)
  await office.send(...TEXTS, ...TEXTS)
  a.begin()
  // The sleeper believes in both leases.
  await office.assign(b, 1)
  await a.release()
  expect(a.runners[0]!.shares!.owned).toEqual([0])
  await Promise.all([a.step(), b.step()])
  await Promise.all([a.step(), b.step()])
  await office.expectRight('taken over')
})

test('who has the first partition makes all rows anew when the code is another; the others wait, and go on', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  const [c, d] = [await office.worker('c', { code: 'new' }), await office.worker('d', { code: 'new' })]
  await office.assign(a, 0)
  await office.assign(b, 1)
  await office.send(...TEXTS)
  await Promise.all([a.step(), b.step()])
  await Promise.all([a.step(), b.step()])
  await office.send(...TEXTS)
  b.begin()
  await office.assign(d, 1)
  await d.step()
  await office.assign(c, 0)
  await c.step()
  await b.release()
  await office.send(...TEXTS)
  for (const worker of [d, c, d, c]) await worker.step()
  await office.expectRight('new code')
  // The old code has none of it any more.
  await b.step()
  await office.expectRight('old code')
})

test('rows that a replay brings back are taken once, and those that it takes away go', async () => {
  const office = await Office.open()
  const [a, b] = [await office.worker('a'), await office.worker('b')]
  await office.assign(a, 0)
  await office.assign(b, 1)
  await office.send(...TEXTS)
  for (const worker of [a, b, a, b]) await worker.step()
  await replayStream(office.runtime.stream('clicks'), {
    database: office.runtime.database,
    from: [0, 0],
    superseded: [{ partition: 1, from: 0, to: 2 }],
  })
  b.begin()
  await a.step()
  await b.release()
  await office.send(...TEXTS)
  for (const worker of [a, b, a, b]) await worker.step()
  await office.expectRight('replayed')
})

test('a step that fails anywhere is done again, by the same worker or the next, and leaves nothing twice', async () => {
  const office = await Office.open()
  const sure = await office.worker('sure')
  let failures = 0
  for (let at = 1; at < 60; at += 3) {
    const disk = new FaultyDisk(join(office.directory, 'limbo'))
    const unsure = await office.worker(`unsure ${at}`, { disk })
    await office.assign(unsure, 0, 1)
    await office.send('throw', 'a b', 'muchlongerthanten x', 'throw')
    const isLasting = at % 2 === 0
    disk.arm({ at, error: 'EIO', lasting: isLasting })
    const failed = await unsure.step().then(
      () => false,
      () => true,
    )
    if (failed) failures++
    if (isLasting) await office.assign(sure, 0, 1)
    for (let i = 0; i < 2; i++) await (isLasting ? sure : unsure).step()
    await office.expectRight(`failed at ${at}`)
  }
  expect(failures).toBeGreaterThan(3)
})

test('however the work is divided and commits fall among each other, the table is the same', async () => {
  const worker = fc.nat(2)
  const command = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('send'), texts: fc.array(fc.constantFrom(...TEXTS), { maxLength: 6 }) }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('begin', 'step', 'release'), worker }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('take', 'give', 'lose'), worker, partition: fc.nat(1) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('replay') }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 4, maxLength: 14 }), async (commands) => {
      const office = await Office.open()
      const workers = [await office.worker('a'), await office.worker('b'), await office.worker('c', { code: 'new' })]
      await office.assign(workers[0]!, ...PARTITIONS)
      const settle = () => Promise.all(workers.map((each) => each.release()))
      for (const each of commands as readonly { do: string; worker?: number; partition?: number; texts?: string[] }[]) {
        const chosen = workers[each.worker ?? 0]!
        if (each.do === 'send') await office.send(...each.texts!)
        else if (each.do === 'begin') chosen.begin()
        else if (each.do === 'lose') chosen.lose(each.partition!)
        else if (each.do === 'replay') {
          const { runtime } = office
          await replayStream(runtime.stream('clicks'), { database: runtime.database, from: [0, 0], superseded: [] })
        } else {
          await chosen.release()
          if (each.do === 'step') await chosen.step()
          else if (each.do === 'give') await chosen.give(each.partition!)
          else if (each.do === 'take') await office.assign(chosen, each.partition!)
        }
      }
      await settle()
      await office.send('a b', 'throw')
      const [last, other] = [workers[commands.length % 3]!, workers[(commands.length + 1) % 3]!]
      await office.assign(last, 0)
      await office.assign(last.name === 'c' || other.name === 'c' ? last : other, 1)
      for (let i = 0; i < 2; i++) for (const each of [last, other, last, other]) await each.step()
      await office.expectRight(commands.map((each) => each.do).join(' '))
      await office.home.remove()
    }),
    { numRuns: 12 },
  )
})

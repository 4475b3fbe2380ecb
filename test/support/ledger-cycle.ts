import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { Project } from '../../src/project/project.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayQuarantine, replayStream } from '../../src/runtime/replay.ts'
import { Runtime } from '../../src/runtime/runtime.ts'
import { datasetStatuses, observe } from '../../src/runtime/status.ts'
import { verify } from '../../src/runtime/verify.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { type Fault, FaultyDisk, type Loss } from './faulty-disk.ts'
import { LedgerLake } from './ledger-lake.ts'
import { STREAMS, ledgerProject } from './ledger-project.ts'
import { type Batch, Ledger } from './ledger.ts'

/** Nothing here takes so long unless it waits for something that never comes. */
const PATIENCE_MS = 60_000

/** A disk with a fault that also knows which data files the engine has written were made durable: those go past it. */
export class LedgerDisk extends FaultyDisk {
  readonly #synced = new Set<string>()
  readonly #named = new Set<string>()

  override async syncFile(path: string): Promise<void> {
    await super.syncFile(path)
    this.#synced.add(path)
  }

  override async syncDirectory(path: string): Promise<void> {
    const names = await systemDisk.list(path)
    await super.syncDirectory(path)
    for (const name of names) this.#named.add(join(path, name))
  }

  /** As `losePower`; data files that were not synced, or whose names were not, are cut short, emptied or gone. */
  async losePowerAndFiles(loss: Loss, dataDirectory: string): Promise<number> {
    await this.losePower(loss)
    const names = await readdir(join(dataDirectory, 'lake'), { recursive: true }).catch((): string[] => [])
    const lost = names.map((name) => join(dataDirectory, 'lake', name)).filter((path) => !this.#isDurable(path))
    for (const [i, path] of lost.entries()) {
      if (i % 3 === 0) await rm(path)
      else await truncate(path, i % 3 === 1 ? 0 : Math.floor((await stat(path)).size / 2))
    }
    return lost.length
  }

  #isDurable(path: string): boolean {
    if (!path.endsWith('.parquet')) return true
    for (let at = path; !at.endsWith('/data'); at = dirname(at)) if (!this.#named.has(at)) return false
    return this.#synced.has(path)
  }
}

/** A data directory, and the ledger of what was sent to it. */
export class LedgerHome {
  readonly ledger: Ledger
  readonly dataDirectory: string
  readonly limbo: string
  readonly #root: string
  #runs = 0

  private constructor(root: string, seed: number) {
    this.#root = root
    this.dataDirectory = join(root, 'data')
    this.limbo = join(root, 'limbo')
    this.ledger = new Ledger(seed, { duplicates: 0.15, bad: 0.15, days: 2 })
  }

  static async make(seed: number): Promise<LedgerHome> {
    return new LedgerHome(await mkdtemp(join(tmpdir(), 'millrace-ledger-')), seed)
  }

  remove(): Promise<void> {
    return rm(this.#root, { recursive: true, force: true })
  }

  open(disk: Disk, strict: boolean, onFatal: (error: MillraceError) => void): Promise<Runtime> {
    return Runtime.open({
      project: new Project({
        name: 'ledger',
        directory: this.#root,
        config: { limits: { laneWorkers: 1 } },
        declarations: ledgerProject({ strict }),
      }),
      dataDirectory: this.dataDirectory,
      clock: systemClock,
      disk,
      run: `run-${++this.#runs}`,
      eager: true,
      onFatal,
    })
  }

  async send(runtime: Runtime, batch: Batch): Promise<void> {
    const lines = Buffer.from(batch.records.map(({ line }) => `${line}\n`).join(''))
    await runtime.append(batch.stream, { lines, records: batch.records.length, key: batch.key })
    this.ledger.acknowledged(batch)
  }

  /**
   * One life of a platform, all it does: two processes open, append, gate, commit, refresh tables, compact and replay the
   * log or the quarantine. What fails is passed over, as a client and an operator would; a process that must end, ends.
   */
  async live(disk: LedgerDisk): Promise<void> {
    for (const strict of [true, false]) {
      const runtime = await this.#try(disk, () => this.open(disk, strict, () => void disk.afterKill()))
      if (runtime === undefined) continue
      runtime.start()
      for (let requests = strict ? 2 : 1; requests > 0; requests--) {
        const batches = STREAMS.map((stream) => this.ledger.next(stream, 12))
        await this.#try(disk, () => Promise.all(batches.map((batch) => this.send(runtime, batch))))
        await this.#try(disk, () => runtime.settle())
      }
      await this.#try(disk, () => maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity }))
      const payments = runtime.stream('payments')
      const { database } = runtime
      await this.#try<unknown>(disk, () =>
        strict ? replayStream(payments, { database, from: [5], superseded: [] }) : replayQuarantine(payments, database),
      )
      await this.#try(disk, () => runtime.settle())
      await within('stop', runtime.stop()).catch(pass)
    }
  }

  async #try<T>(disk: FaultyDisk, work: () => Promise<T>): Promise<T | undefined> {
    if (disk.crashed) return undefined
    return within('a step', work()).catch(pass)
  }

  /** What the next process finds, on a disk that works: whole, and going on. */
  async expectRecovers(where: string): Promise<void> {
    const fatal: MillraceError[] = []
    const runtime = await this.open(systemDisk, false, (error) => fatal.push(error))
    const lake = new LedgerLake(this.dataDirectory)
    try {
      runtime.start()
      await within(`${where}: settle`, runtime.settle())
      for (const stream of STREAMS) this.ledger.expectSound(stream, await lake.found(stream), where)
      await lake.expectTablesRight(where)
      for (const batch of this.ledger.pending) await this.send(runtime, batch)
      for (const stream of STREAMS) await this.send(runtime, this.ledger.next(stream, 5))
      await within(`${where}: settle again`, runtime.settle())
      for (const stream of STREAMS) await replayQuarantine(runtime.stream(stream), runtime.database)
      await within(`${where}: settle at last`, runtime.settle())
      await this.#expectWhole(runtime, lake, where)
      expect(fatal, where).toEqual([])
    } finally {
      await within(`${where}: stop`, runtime.stop())
    }
  }

  async #expectWhole(runtime: Runtime, lake: LedgerLake, where: string): Promise<void> {
    for (const stream of STREAMS) this.ledger.expectSettled(stream, await lake.found(stream), where)
    await lake.expectTablesRight(where)
    for (const { name, state, reason } of datasetStatuses(runtime.project.order, observe(runtime)))
      expect({ name, state, reason }, where).toEqual({ name, state: 'ok' })
    for (const { name } of runtime.project.order)
      expect(await verify(runtime, name), `${where}: ${name}`).toMatchObject({ equal: true, missing: 0, extra: 0 })
  }
}

/** What happens when an operation's turn has come, and to what was not synced then. */
export interface Harm {
  readonly name: string
  readonly fault: Omit<Fault, 'at'>
  readonly loss?: Loss
}

const KILLED: readonly Harm[] = [
  { name: 'error and kill', fault: { error: 'EIO', torn: 1, lasting: true } },
  { name: 'full, torn write and kill', fault: { error: 'ENOSPC', torn: 0.5, lasting: true } },
]
const POWERLESS: readonly Harm[] = [
  {
    name: 'power loss to what was synced',
    fault: { error: 'EIO', torn: 1, lasting: true },
    loss: { names: 0, bytes: 0 },
  },
  {
    name: 'power loss that keeps the later names',
    fault: { error: 'EIO', torn: 1, lasting: true },
    loss: { names: 0.5, lastNames: true, bytes: 0.5 },
  },
  {
    name: 'power loss that leaves zeros',
    fault: { error: 'EIO', torn: 1, lasting: true },
    loss: { names: 1, bytes: 1, zeros: 0.4 },
  },
]
const GOING_ON: readonly Harm[] = [
  { name: 'error, and it goes on', fault: { error: 'EIO', torn: 0.3, lasting: false } },
  { name: 'full for a moment', fault: { error: 'ENOSPC', torn: 0.9, lasting: false } },
]
export const HARMS = { KILLED, POWERLESS, GOING_ON }

export interface Sweep {
  /** Taken in turn. */
  readonly harms: readonly Harm[]
  /** First operation to fail, and how far it is to the next. */
  readonly from: number
  readonly step: number
}

export interface Swept {
  readonly lives: number
  /** Data files that power losses took or spoilt. */
  readonly filesLost: number
}

/** Fails an operation of a platform's life, in the next life a later one, and so on until none is left to fail. */
export async function sweep({ harms, from, step }: Sweep): Promise<Swept> {
  let filesLost = 0
  for (let [at, lives] = [from, 1]; ; at += step, lives++) {
    const home = await LedgerHome.make(at)
    const { name, fault, loss } = harms[lives % harms.length]!
    const disk = new LedgerDisk(home.limbo, { ...fault, at })
    try {
      await home.live(disk)
      const failed = disk.operations[at - 1]?.replace(home.dataDirectory, '')
      if (loss) filesLost += await disk.losePowerAndFiles(loss, home.dataDirectory)
      await home.expectRecovers(`${name} at operation ${at} of ${disk.operations.length}, ${failed}`)
      if (failed === undefined) return { lives, filesLost }
    } finally {
      await home.remove()
    }
  }
}

/** What an operator is told and a client passes over; a bug is neither. */
function pass(error: unknown): undefined {
  if (error instanceof MillraceError && error.kind !== 'internal') return undefined
  throw error
}

async function within<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not end within ${PATIENCE_MS} ms`)), PATIENCE_MS)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

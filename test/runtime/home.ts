import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBResultReader } from '@duckdb/node-api'
import { onTestFinished } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { MillraceError } from '../../src/base/errors.ts'
import type { Lake } from '../../src/lake/lake.ts'
import type { Config } from '../../src/project/config.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { Project } from '../../src/project/project.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { type Parts, embeddedParts } from '../../src/runtime/parts.ts'
import { Runtime } from '../../src/runtime/runtime.ts'
import type { DatasetStatus } from '../../src/project/status.ts'
import { datasetStatuses, observe } from '../../src/runtime/status.ts'
import { relationOf } from '../../src/runtime/warehouse.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'

export type Row = Record<string, unknown>

export interface OpenOptions {
  readonly config?: Config
  readonly disk?: Disk
  /** URL of what loads the declarations into threads that call functions. */
  readonly loader?: string
  /** Lanes, refreshes and file polls begin at once. Default true. */
  readonly start?: boolean
  state?: Parts['state']
  /** What computes tables of a lake, in place of the embedded engine. */
  engine?(lake: Lake): Engine
}

/** A data directory and a project folder; its declarations may change from one opening to the next. */
export class Home {
  readonly directory: string
  readonly dataDirectory: string
  readonly fatal: MillraceError[] = []
  /** What is added to the system's time. */
  aheadMs = 0
  readonly clock: Clock = { ...systemClock, now: () => Date.now() + this.aheadMs }
  readonly #root: string
  /** Survives crashes: remembers what is synced. */
  #disk: FaultyDisk
  readonly #open = new Set<Runtime>()
  #runs = 0

  private constructor(root: string) {
    this.#root = root
    this.directory = join(root, 'project')
    this.dataDirectory = join(root, 'data')
    this.#disk = new FaultyDisk(join(root, 'limbo'))
  }

  static async make(): Promise<Home> {
    const home = new Home(await mkdtemp(join(tmpdir(), 'millrace-runtime-')))
    onTestFinished(() => home.remove())
    return home
  }

  project(declarations: readonly Declaration[], config: Config = {}): Project {
    return new Project({
      name: 'test',
      directory: this.directory,
      config: { ...config, limits: { laneWorkers: 1, ...config.limits } },
      declarations,
    })
  }

  async open(declarations: readonly Declaration[], options: OpenOptions = {}): Promise<Runtime> {
    const disk = options.disk ?? this.#disk
    const parts = embeddedParts({ dataDirectory: this.dataDirectory, disk, clock: this.clock })
    const runtime = await Runtime.open({
      project: this.project(declarations, options.config),
      ...(options.loader === undefined ? {} : { loader: options.loader }),
      dataDirectory: this.dataDirectory,
      clock: this.clock,
      disk,
      parts: {
        ...parts,
        ...(options.engine ? { engine: options.engine(parts.lake) } : {}),
        ...(options.state ? { state: options.state } : {}),
      },
      run: `run-${++this.#runs}`,
      eager: true,
      onFatal: (error) => this.fatal.push(error),
    })
    this.#open.add(runtime)
    if (options.start !== false) runtime.start()
    return runtime
  }

  async stop(runtime: Runtime): Promise<void> {
    this.#open.delete(runtime)
    await runtime.stop()
  }

  /** Ends a runtime as `kill -9` does: nothing it still tries reaches the disk. */
  async crash(runtime: Runtime): Promise<void> {
    this.#disk = this.#disk.afterKill()
    this.#open.delete(runtime)
    const before = this.fatal.length
    await runtime.stop().catch(() => undefined)
    this.fatal.splice(before)
  }

  async remove(): Promise<void> {
    for (const runtime of this.#open) await this.crash(runtime)
    await rm(this.#root, { recursive: true, force: true })
  }
}

/** Records as the log takes them. */
export function batchOf(records: readonly unknown[], extra: { key?: string; source?: unknown } = {}) {
  const text = records.map((record) => `${typeof record === 'string' ? record : JSON.stringify(record)}\n`).join('')
  return { lines: Buffer.from(text), records: records.length, ...extra }
}

export async function send(runtime: Runtime, stream: string, records: readonly unknown[], key?: string): Promise<void> {
  await runtime.append(stream, batchOf(records, key === undefined ? {} : { key }))
}

/** Rows of a query as plain JSON values: `{name}` stands for the published rows of a dataset, `{quarantine.name}` for its quarantine. */
export async function query(runtime: Runtime, sql: string): Promise<Row[]> {
  let text = sql
  for (const [whole, quarantine, name] of sql.matchAll(/\{(quarantine\.)?([a-z_0-9]+)\}/g)) {
    const relation = quarantine === undefined ? runtime.publishedSql(name!) : quarantineSql(runtime, name!)
    text = text.replace(whole, await relation)
  }
  return runtime.database.use(async (connection) => jsonRows(await connection.runAndReadAll(text)))
}

export function jsonRows(reader: DuckDBResultReader): Row[] {
  return reader.getRowObjectsJson()
}

async function quarantineSql(runtime: Runtime, name: string): Promise<string> {
  const table = runtime.tables.get(name)?.quarantine ?? (await runtime.stream(name).quarantineTable())
  const main = table.snapshot('main')
  return relationOf(table, main ? await table.files(main) : [], table.local.hold())
}

/** The one value of a query. */
export async function value(runtime: Runtime, sql: string): Promise<unknown> {
  return Object.values((await query(runtime, sql))[0]!)[0]
}

export function statusOf(runtime: Runtime, name: string): DatasetStatus {
  return datasetStatuses([runtime.project.dataset(name)], observe(runtime))[0]!
}

/** Id of every snapshot the datasets of a runtime have: equal before and after means that nothing was committed. */
export function snapshots(runtime: Runtime): Record<string, string[]> {
  return Object.fromEntries(
    runtime.project.order.map(({ name }) => [
      name,
      ['main', 'candidate'].flatMap((ref) =>
        runtime
          .lakeTable(name)
          .history(ref)
          .map((snapshot) => String(snapshot.id)),
      ),
    ]),
  )
}

import type { IdentifiedField } from '../project/columns.ts'
import { refusesRows } from '../project/project.ts'
import { assignIds } from '../lake/schema.ts'
import type { LocalFiles } from '../lake/store.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Endpoint } from '../project/endpoint.ts'
import { jsonObjects } from '../engine/duckdb/json-text.ts'
import { readPosition, writePosition } from '../runtime/changes/change-position.ts'
import { QUARANTINE_FIELDS } from '../quality/quarantine.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { datasetDetail, datasetStatuses, observe } from '../runtime/status.ts'
import { relationOf } from '../runtime/warehouse.ts'
import type { DatasetDetail, DatasetStatus, RunStatus, RunsQuestion } from '../project/status.ts'
import type {
  ChangesPage,
  ChangesQuestion,
  DatasetChanges,
  IncomingBatch,
  Platform,
  Relation,
} from '../serving/platform.ts'
import { carryOut } from './control.ts'
import { runStatus } from './run-status.ts'

/** What serving sees of a running project. */
export class RuntimePlatform implements Platform {
  readonly #runtime: Runtime
  /** What the platform waits for; undefined when it is ready. */
  waitingFor: string | undefined = 'the project starts'

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  get project(): string {
    return this.#runtime.project.name
  }

  notReady(): string | undefined {
    return this.waitingFor ?? this.#runtime.trouble
  }

  append(stream: string, batch: IncomingBatch): Promise<{ received: number; repeated: boolean }> {
    return this.#runtime.append(stream, batch)
  }

  async datasets(): Promise<DatasetStatus[]> {
    return datasetStatuses(this.#runtime.project.order, observe(this.#runtime))
  }

  async dataset(name: string): Promise<DatasetDetail> {
    const { project } = this.#runtime
    return datasetDetail(project.dataset(name), project.readers(name), observe(this.#runtime))
  }

  endpoints(): readonly Endpoint[] {
    return [...this.#runtime.project.endpoints.values()]
  }

  streamNames(): readonly string[] {
    return this.#runtime.project.order.filter(({ kind }) => kind === 'stream').map(({ name }) => name)
  }

  relationNames(): readonly string[] {
    const { datasets, order } = this.#runtime.project
    return relationNames(
      datasets.keys(),
      order.filter(refusesRows).map(({ name }) => name),
    )
  }

  async relation(name: string): Promise<Relation> {
    const runner = this.#runtime.streams.get(name)
    if (runner === undefined) {
      const stream = quarantinedStream(name, this.#runtime.project.datasets)
      return stream === undefined
        ? publishedRelation(name, this.#runtime.lakeTable(name), this.#lake)
        : this.quarantine(stream)
    }
    const { files, version, rows } = await runner.hot()
    const hold = runner.table.local.hold()
    return {
      name,
      // Hot rows are counted from the start of this process: another one's count says nothing of them.
      version: version.endsWith('.0') ? version : `${version}.${this.#runtime.options.run}`,
      fields: runner.table.fields,
      sql: await relationOf(runner.table, files, hold),
      directories: [runner.table.local.directory],
      rows,
      release: () => hold.release(),
    }
  }

  async quarantine(name: string): Promise<Relation> {
    return quarantineRelation(name, await this.#runtime.quarantineOf(name), this.#lake)
  }

  changes(name: string): DatasetChanges {
    return new RuntimeChanges(this.#runtime, this.#runtime.project.dataset(name).name)
  }

  async runs(question: RunsQuestion): Promise<RunStatus[]> {
    return (await this.#runtime.history.list(question)).map(runStatus)
  }

  async control(
    verb: string,
    input: Record<string, unknown>,
    progress: (event: Record<string, unknown>) => void,
  ): Promise<unknown> {
    return verb === 'ping' ? { pid: process.pid } : carryOut(this.#runtime, verb, input, progress)
  }

  get #lake(): LocalFiles {
    return this.#runtime.warehouse.lake.local
  }
}

class RuntimeChanges implements DatasetChanges {
  readonly name: string
  readonly start = writePosition({ done: 0n })
  readonly #runtime: Runtime

  constructor(runtime: Runtime, name: string) {
    this.name = name
    this.#runtime = runtime
  }

  get fields(): readonly IdentifiedField[] {
    return this.#runtime.lakeTable(this.name).fields
  }

  present(): string {
    return writePosition(this.#runtime.changes.present(this.name))
  }

  check(place: string): void {
    readPosition(place)
  }

  async page(place: string, question: ChangesQuestion): Promise<ChangesPage | 'lost' | undefined> {
    const page = await this.#runtime.changes.page(this.name, readPosition(place), { ...question, form: jsonObjects })
    return page === undefined || page === 'lost' ? page : { rows: page.rows, next: writePosition(page.next) }
  }

  count(): number {
    return this.#runtime.publications.count(this.name)
  }

  after(seen: number, signal: AbortSignal): Promise<void> {
    return this.#runtime.publications.after(this.name, seen, signal)
  }
}

const QUARANTINE = '__quarantine'

/** What SQL calls the quarantine of a stream. */
export function quarantineName(stream: string): string {
  return stream + QUARANTINE
}

/** What SQL may refer to: every dataset, and the quarantine of `orders` as `orders__quarantine`. */
export function relationNames(datasets: Iterable<string>, refusing: Iterable<string>): string[] {
  return [...new Set([...datasets, ...[...refusing].map(quarantineName)])]
}

/** The stream whose quarantine a relation name means. */
export function quarantinedStream(name: string, datasets: ReadonlyMap<string, unknown>): string | undefined {
  if (datasets.has(name) || !name.endsWith(QUARANTINE)) return undefined
  return name.slice(0, -QUARANTINE.length)
}

/** The published rows of a table. */
export async function publishedRelation(
  name: string,
  table: Pick<LakeTable, 'fields' | 'snapshot' | 'files'>,
  lake: LocalFiles,
): Promise<Relation> {
  const main = table.snapshot('main')
  const hold = lake.hold()
  return {
    name,
    version: String(main?.id ?? 0),
    fields: table.fields,
    sql: await relationOf(table as LakeTable, main ? await table.files(main) : [], hold),
    directories: [lake.directory],
    rows: Number(main?.summary['total-records'] ?? 0),
    release: () => hold.release(),
  }
}

/** The quarantine of a stream; empty before it has a table. */
export function quarantineRelation(stream: string, table: LakeTable | undefined, lake: LocalFiles): Promise<Relation> {
  return publishedRelation(quarantineName(stream), table ?? absentTable(QUARANTINE_FIELDS), lake)
}

/** Stands for a table that has not been made yet: it has columns and no snapshot. */
export function absentTable(fields: Parameters<typeof assignIds>[0]): LakeTable {
  let id = 0
  const identified: IdentifiedField[] = assignIds(fields, () => ++id)
  return { fields: identified, snapshot: () => undefined, published: () => [], files: async () => [] } as Pick<
    LakeTable,
    'fields' | 'snapshot' | 'published' | 'files'
  > as LakeTable
}

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import type { LocalFiles } from '../lake/store.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Dataset } from '../project/dataset.ts'
import { type Project, checkInputsOf, inputsOf, refusesRows } from '../project/project.ts'
import { bindProject } from '../runtime/bind.ts'
import { handlerStatus } from '../runtime/changes/handlers.ts'
import type { Stream } from '../project/stream.ts'
import type { StepState } from '../runtime/scheduler.ts'
import { type Observed, datasetDetail, datasetStatuses } from '../runtime/status.ts'
import { LAYERS, newestStep } from '../runtime/warehouse.ts'
import type { DatasetDetail, DatasetStatus, HandlerStatus, RunStatus, RunsQuestion } from '../project/status.ts'
import type { Platform, Relation } from '../serving/platform.ts'
import type { Clock } from '../base/clock.ts'
import { runStatus } from './run-status.ts'
import type { Sight } from './sight.ts'
import { ProjectProblems } from './report-error.ts'
import { absentTable, publishedRelation, quarantineRelation, quarantinedStream, relationNames } from './platform.ts'

/** What serving can see of a project without being one of its processes: its lake, as it lies there. Changes nothing and takes no lock. */
export class LakePlatform implements Platform {
  readonly #project: Project
  readonly #sight: Sight
  readonly #clock: Clock
  readonly #tables: ReadonlyMap<string, LakeTable>
  readonly #quarantines: ReadonlyMap<string, LakeTable | undefined>

  private constructor(
    project: Project,
    sight: Sight,
    clock: Clock,
    tables: ReadonlyMap<string, LakeTable>,
    quarantines: ReadonlyMap<string, LakeTable | undefined>,
  ) {
    this.#project = project
    this.#sight = sight
    this.#clock = clock
    this.#tables = tables
    this.#quarantines = quarantines
  }

  static async open(project: Project, sight: Sight, clock: Clock): Promise<LakePlatform> {
    const { lake } = sight
    const found = await Promise.all(
      project.order.map(async ({ kind, name }) => [name, await lake.load({ namespace: LAYERS[kind], name })] as const),
    )
    const missing = found.some(([, table]) => table === undefined)
    const absent = missing ? await absentTables(project) : new Map<string, LakeTable>()
    const tables = new Map(found.map(([name, table]) => [name, table ?? absent.get(name)!]))
    const refusing = project.order.filter(refusesRows)
    const quarantines = await Promise.all(
      refusing.map(async ({ name }) => [name, await lake.load({ namespace: LAYERS.quarantine, name })] as const),
    )
    return new LakePlatform(project, sight, clock, tables, new Map(quarantines))
  }

  get #local(): LocalFiles {
    return this.#sight.lake.local
  }

  get project(): string {
    return this.#project.name
  }

  notReady(): string | undefined {
    return undefined
  }

  async append(): Promise<never> {
    throw readOnly()
  }

  changes(): never {
    throw readOnly()
  }

  async control(): Promise<never> {
    throw readOnly()
  }

  async datasets(): Promise<DatasetStatus[]> {
    return datasetStatuses(this.#project.order, await this.#observe())
  }

  async dataset(name: string): Promise<DatasetDetail> {
    return datasetDetail(this.#project.dataset(name), this.#project.readers(name), await this.#observe())
  }

  endpoints() {
    return [...this.#project.endpoints.values()]
  }

  streamNames(): readonly string[] {
    return this.#project.order.filter(({ kind }) => kind === 'stream').map(({ name }) => name)
  }

  relationNames(): readonly string[] {
    return relationNames(this.#tables.keys(), this.#quarantines.keys())
  }

  async relation(name: string): Promise<Relation> {
    const stream = quarantinedStream(name, this.#tables)
    if (stream !== undefined) return this.quarantine(stream)
    return publishedRelation(name, this.#tables.get(this.#project.dataset(name).name)!, this.#local)
  }

  quarantine(name: string): Promise<Relation> {
    return quarantineRelation(name, this.#quarantines.get(this.#project.dataset(name).name), this.#local)
  }

  /** As kept by those that run; what a project without such a place has run is known to its process only. */
  async runs(question: RunsQuestion): Promise<RunStatus[]> {
    return ((await this.#sight.runs?.list(question)) ?? []).map(runStatus)
  }

  async #observe(): Promise<Observed> {
    const lags = new Map(
      await Promise.all(
        this.#project.order.flatMap((dataset) =>
          dataset.kind === 'stream' ? [this.#lag(dataset).then((lag) => [dataset.name, lag] as const)] : [],
        ),
      ),
    )
    const lakeTable = (name: string) => this.#tables.get(name)!
    const handlers = await this.#handlers(lakeTable)
    return {
      nowMs: this.#clock.now(),
      lakeTable,
      streamLag: (name) => lags.get(name)!,
      auditsOf: () => [],
      stateOf: () => ({ state: 'ok' }),
      handlersOf: (name) => handlers.flatMap(({ dataset, status }) => (dataset === name ? [status] : [])),
      heldBy: (dataset) => heldBy(dataset, lakeTable),
    }
  }

  /** How far the handlers were when the project last ran. */
  #handlers(lakeTable: (name: string) => LakeTable): Promise<{ dataset: string; status: HandlerStatus }[]> {
    return Promise.all(
      [...this.#project.handlers.values()].map(async (handler) => {
        const { name } = handler.dataset
        const place = await this.#sight.places?.read(handler.name)
        const own = place?.dataset === name ? place : undefined
        return {
          dataset: name,
          status: handlerStatus(handler, own, lakeTable(name), { failures: 0, error: undefined }),
        }
      }),
    )
  }

  async #lag(stream: Stream): Promise<number> {
    const offsets = newestStep(this.#tables.get(stream.name)!)?.record.offsets
    const extents = await this.#sight.extents(stream)
    return extents.reduce((sum, { from, to }, i) => sum + Math.max(0, to - (offsets?.[i] ?? from)), 0)
  }
}

/** Stand-ins for the tables of datasets that have never run, with the columns they will have. */
async function absentTables(project: Project): Promise<Map<string, LakeTable>> {
  const database = await Database.open({
    threads: 1,
    memory: 256 * 1024 ** 2,
    temporary: join(tmpdir(), `millrace-bind-${process.pid}`),
  })
  try {
    const { fields, problems } = await bindProject(project, database)
    if (problems.length > 0) throw new ProjectProblems(project.directory, problems)
    return new Map([...fields].map(([name, columns]) => [name, absentTable(columns)]))
  } finally {
    await database.close()
  }
}

/** Something a dataset reads, however far up, whose newest snapshot its audits hold back. */
function heldBy(
  dataset: Dataset,
  lakeTable: (name: string) => LakeTable,
): { dataset: Dataset; state: StepState } | undefined {
  const seen = new Set<Dataset>()
  const visit = (at: Dataset): { dataset: Dataset; state: StepState } | undefined => {
    for (const input of [...inputsOf(at), ...checkInputsOf(at)]) {
      if (seen.has(input)) continue
      seen.add(input)
      const newest = newestStep(lakeTable(input.name))
      const failed =
        newest && !newest.published
          ? newest.record.audits?.find(({ passed, severity }) => !passed && severity === 'block')
          : undefined
      if (failed) return { dataset: input, state: { state: 'blocked', reason: `${failed.check}: ${failed.message}` } }
      const further = visit(input)
      if (further) return further
    }
    return undefined
  }
  return visit(dataset)
}

function readOnly(): MillraceError {
  return new MillraceError('denied', 'read-only', 'The data is only looked at.', {
    hint: 'Start the project to write to it.',
  })
}

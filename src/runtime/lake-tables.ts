import { MillraceError } from '../base/errors.ts'
import type { Hold } from '../lake/store.ts'
import type { LakeTable } from '../lake/table.ts'
import type { Dataset } from '../project/dataset.ts'
import type { Project } from '../project/project.ts'
import type { BoundProject } from './bind.ts'
import type { EngineStep } from './engine.ts'
import { LAYERS, type Warehouse, relationOf } from './warehouse.ts'

/** The tables of a project's datasets, as this process has them open. */
export class LakeTables {
  readonly #project: Project
  readonly #warehouse: Warehouse
  readonly #tables = new Map<string, LakeTable>()

  constructor(project: Project, warehouse: Warehouse) {
    this.#project = project
    this.#warehouse = warehouse
  }

  /** Opens all, making and evolving them as declared; who only looks takes them as they are. Errors: those of `Warehouse`. */
  async open({ fields }: BoundProject, looking: boolean): Promise<void> {
    const warehouse = this.#warehouse
    await Promise.all(
      this.#project.order.map(async (dataset) => {
        const declared = fields.get(dataset.name)!
        const table = await (looking ? warehouse.present(dataset, declared) : warehouse.tableOf(dataset, declared))
        this.#tables.set(dataset.name, table)
      }),
    )
  }

  /** Errors: `invalid`/`unknown-dataset`. */
  get(name: string): LakeTable {
    const table = this.#tables.get(name)
    if (table) return table
    this.#project.dataset(name)
    throw new MillraceError('internal', 'not-open', `Dataset '${name}' is not open.`)
  }

  /** The table of a dataset that others commit to, opened anew where they have dropped it; undefined while there is none. */
  async followed(dataset: Dataset): Promise<LakeTable | undefined> {
    const known = this.#tables.get(dataset.name)!
    if (!known.dropped) return known
    const found = await this.#warehouse.lake.load({ namespace: LAYERS[dataset.kind], name: dataset.name })
    if (found) this.#tables.set(dataset.name, found)
    return found
  }

  /** A table expression of DuckDB's for the published rows of a dataset, to be used while `hold` keeps their files on this machine. */
  async publishedSql(name: string, hold: Hold): Promise<string> {
    const table = this.get(name)
    const main = table.snapshot('main')
    return relationOf(table, main ? await table.files(main) : [], hold)
  }

  /** The same for a step of any engine. */
  async published(step: EngineStep, name: string): Promise<string> {
    const table = this.get(name)
    const main = table.snapshot('main')
    return step.relation(table, main ? await table.files(main) : [])
  }
}

import { MillraceError, asMillraceError } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import type { WrittenFile } from '../engine/duckdb/parquet.ts'
import { parquetRelation } from '../engine/duckdb/parquet.ts'
import type { DataFile } from '../lake/data-file.ts'
import { evolveFields } from '../lake/evolution.ts'
import type { Lake, TableOptions } from '../lake/lake.ts'
import type { PartitionField } from '../lake/partition.ts'
import type { Hold } from '../lake/store.ts'
import { dataFile } from '../lake/stats.ts'
import type { LakeTable, Snapshot, TableId } from '../lake/table.ts'
import { transformName } from '../lake/transform.ts'
import { type Field, typeName } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import { timeColumn } from '../project/event-time.ts'
import type { PartitionBy } from '../project/stream.ts'
import { QUARANTINE_FIELDS } from '../quality/quarantine.ts'
import { type StepRecord, readRecord } from './record.ts'

/** Branch of snapshots that await, or failed, their audits. */
export const CANDIDATE = 'candidate'

/** Layers of the lake, as namespaces. */
export const LAYERS = { stream: 'processed', table: 'curated', quarantine: 'quarantine' } as const

/** What a declaration asks of a table: `make anew` drops it first, for its rows can be recomputed. */
export type TableAction = 'none' | 'make' | 'evolve' | 'make anew'

/** The lake tables of a project's datasets. */
export class Warehouse {
  readonly lake: Lake
  readonly #quarantines = new SerialQueue()

  constructor(lake: Lake) {
    this.lake = lake
  }

  /**
   * The table of a dataset with the given columns, made or evolved as needed. A derived table whose columns changed in a
   * way Iceberg cannot follow, or whose layout changed, is made anew, for it can be recomputed. A stream's columns are
   * refused then; its layout stays as it was made.
   */
  async tableOf(dataset: Dataset, fields: readonly Field[]): Promise<LakeTable> {
    const id = { namespace: LAYERS[dataset.kind], name: dataset.name }
    const partition = partitionFields(dataset)
    const options = {
      fields,
      partition,
      properties: { 'millrace.dataset': dataset.name, ...(dataset.doc === undefined ? {} : { comment: dataset.doc }) },
    }
    const found = await this.lake.load(id)
    if (!found) return this.#make(id, options)
    if (keepsLayout(dataset, found)) {
      try {
        await found.evolve(fields)
        return found
      } catch (error) {
        if (dataset.kind === 'stream' || asMillraceError(error).code !== 'incompatible-schema') throw error
      }
    }
    await this.lake.drop(id)
    return this.#make(id, options)
  }

  /** What `tableOf` would do. Changes nothing. Errors: `invalid`/`incompatible-schema` for a stream's columns. */
  async planOf(dataset: Dataset, fields: readonly Field[]): Promise<TableAction> {
    const found = await this.lake.load({ namespace: LAYERS[dataset.kind], name: dataset.name })
    if (!found) return 'make'
    if (!keepsLayout(dataset, found)) return 'make anew'
    let id = 1_000_000
    try {
      const evolved = evolveFields(found.fields, fields, () => ++id)
      return JSON.stringify(evolved) === JSON.stringify(found.fields) ? 'none' : 'evolve'
    } catch (error) {
      if (dataset.kind === 'stream' || asMillraceError(error).code !== 'incompatible-schema') throw error
      return 'make anew'
    }
  }

  /** The table of a dataset as it is. Errors: `invalid`/`not-as-declared` when there is none, or with other columns. */
  async present(dataset: Dataset, fields: readonly Field[]): Promise<LakeTable> {
    const found = await this.lake.load({ namespace: LAYERS[dataset.kind], name: dataset.name })
    const columns = (of: readonly Field[]) => of.map(({ name, type }) => `${name} ${typeName(type)}`).join(', ')
    if (found && columns(found.fields) === columns(fields)) return found
    throw new MillraceError(
      'invalid',
      'not-as-declared',
      `${dataset.kind} '${dataset.name}' ${found ? 'has other columns in the lake than are declared' : 'has no table in the lake yet'}.`,
      {
        hint: 'Start the project there first: what is published follows the declarations then.',
        context: { dataset: dataset.name },
      },
    )
  }

  /** The quarantine table of a stream, made when there is none. */
  quarantineOf(stream: string): Promise<LakeTable> {
    const id = { namespace: LAYERS.quarantine, name: stream }
    // One after the other: the lanes of a stream ask at once, and only one may make it.
    return this.#quarantines.run(
      async () => (await this.lake.load(id)) ?? this.#make(id, { fields: QUARANTINE_FIELDS }),
    )
  }

  /** Several processes of a project may start at once: the table is the first one's. */
  async #make(id: TableId, options: TableOptions): Promise<LakeTable> {
    try {
      return await this.lake.create(id, options)
    } catch (error) {
      const made = asMillraceError(error).code === 'table-exists' ? await this.lake.load(id) : undefined
      if (!made) throw error
      return made
    }
  }
}

/** The newest step of a table, published or not. */
export function newestStep(
  table: LakeTable,
): { snapshot: Snapshot; record: StepRecord; published: boolean } | undefined {
  const main = table.snapshot('main')
  const candidate = table.snapshot(CANDIDATE)
  const newest = candidate && (!main || candidate.sequenceNumber > main.sequenceNumber) ? candidate : main
  const record = newest && readRecord(newest.summary)
  return newest && record ? { snapshot: newest, record, published: newest === main } : undefined
}

/**
 * Names the rows of a snapshot: the newest ancestor that changed any. Commits that only move offsets or compact files
 * leave it as it is, so nothing that reads the table is due. Null without a snapshot.
 */
export function rowsVersion(table: LakeTable, snapshot: Snapshot | undefined): string | null {
  let at = snapshot
  while (at?.parentId !== undefined && !changesRows(at)) {
    const parent = table.snapshot(at.parentId)
    if (!parent) return String(at.parentId)
    at = parent
  }
  return at ? String(at.id) : null
}

/** Whether a snapshot came with a change of rows. */
export function changesRows({ operation, summary }: Snapshot): boolean {
  return operation !== 'replace' && (summary['added-records'] !== '0' || (summary['deleted-records'] ?? '0') !== '0')
}

/** Some files of a table, as a commit or this process's lanes know them. */
export type FileRef = Pick<DataFile, 'path'> & Partial<Pick<DataFile, 'bytes'>>

/** The rows of exactly these files as a table expression of DuckDB's, to be used while `hold` keeps them on this machine. */
export async function relationOf(
  table: LakeTable,
  files: readonly FileRef[],
  hold: Hold,
  fileColumn?: string,
): Promise<string> {
  await hold.add(files)
  return parquetRelation(
    files.map((file) => table.local.pathOf(file.path)),
    table.fields,
    fileColumn,
  )
}

/** Keeps files of a table's lake on this machine while work goes on. */
export async function holding<T>(table: LakeTable, work: (hold: Hold) => Promise<T>): Promise<T> {
  const hold = table.local.hold()
  try {
    return await work(hold)
  } finally {
    hold.release()
  }
}

/** What DuckDB wrote on this machine, as a commit takes it. */
export function toDataFiles(table: LakeTable, written: readonly WrittenFile[]): DataFile[] {
  return written.map((file) =>
    dataFile(table.fields, table.partition, { ...file, path: table.local.locationOf(file.path) }),
  )
}

/** Where new data files of a table go. */
export function dataDirectory(table: LakeTable): string {
  return `${table.location}/data`
}

/** The same on this machine. */
export function localDataDirectory(table: LakeTable): string {
  return table.local.pathOf(dataDirectory(table))
}

/** A stream's layout stays as it was made. */
function keepsLayout(dataset: Dataset, { partition }: LakeTable): boolean {
  return dataset.kind === 'stream' || layoutOf(partition) === layoutOf(partitionFields(dataset))
}

function layoutOf(partition: readonly PartitionField[]): string {
  return partition.map(({ column, transform }) => `${column} ${transformName(transform)}`).join(', ')
}

function partitionFields(dataset: Dataset): PartitionField[] {
  const time = timeColumn(dataset)
  return dataset.partitionBy.map((by: PartitionBy): PartitionField => {
    if (typeof by === 'string') return { column: time!, transform: { kind: by } }
    if (by.by === 'bucket') return { column: by.column, transform: { kind: 'bucket', count: by.count } }
    if (by.by === 'truncate') return { column: by.column, transform: { kind: 'truncate', width: by.width } }
    return { column: by.column, transform: { kind: by.by } }
  })
}

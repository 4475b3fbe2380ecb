import { join } from 'node:path'
import { quoteIdentifier } from '../base/identifier.ts'
import { scratchPlace } from '../lake/scratch.ts'
import type { Field } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import { regate } from './replay.ts'
import type { Runtime } from './runtime.ts'
import { datasetStatuses, observe } from './status.ts'
import { holding, relationOf } from './warehouse.ts'

export interface Verification {
  readonly dataset: string
  readonly equal: boolean
  /** Rows published, and rows computed from scratch. */
  readonly published: number
  readonly recomputed: number
  /** Rows that only one side has. */
  readonly missing: number
  readonly extra: number
  /** Some of them, as text: `side` tells which has it. */
  readonly examples: readonly { readonly side: 'missing' | 'extra'; readonly row: string }[]
  /** What could not be looked at. */
  readonly note?: string
}

const EXAMPLES = 5

/**
 * Recomputes a dataset as one batch, a stream from its raw log and a table from the rows of its inputs that it was computed from,
 * and compares with what is published, row by row. Changes nothing.
 */
export async function verify(
  runtime: Runtime,
  name: string,
  onProgress?: (done: number, total: number) => void,
): Promise<Verification> {
  const dataset = runtime.project.dataset(name)
  const { disk, dataDirectory } = runtime.options
  const directory = join(dataDirectory, 'tmp', `verify-${name}`)
  await disk.removeTree(directory)
  await disk.makeDirectory(directory)
  try {
    return dataset.kind === 'stream'
      ? await verifyStream(runtime, dataset, directory, onProgress)
      : await verifyTable(runtime, dataset, directory)
  } finally {
    await disk.removeTree(directory)
  }
}

async function verifyStream(
  runtime: Runtime,
  dataset: Dataset,
  directory: string,
  onProgress?: (done: number, total: number) => void,
): Promise<Verification> {
  const runner = runtime.stream(dataset.name)
  return runner.exclusively(async () => {
    const from = runner.log.partitions.map((partition) => partition.start)
    const results = await regate(runner, {
      database: runtime.database,
      from,
      superseded: runner.committed.superseded,
      lanePrefix: 'verify:',
      directory,
      ...(onProgress === undefined ? {} : { onProgress }),
    })
    const { table } = runner
    const kept = from.map((offset, partition) => `(_partition = ${partition} AND _offset >= ${offset})`).join(' OR ')
    const files = results.flatMap((result) => result.files)
    const fields = table.fields.filter((field) => field.name !== '_partition' && field.name !== '_offset')
    const compared = await holding(table, async (hold) => {
      const published = `(SELECT * FROM ${await runtime.publishedSql(dataset.name, hold)} WHERE ${kept})`
      return compare(runtime, dataset.name, fields, published, await relationOf(table, files, hold))
    })
    return from.every((offset) => offset === 0)
      ? compared
      : {
          ...compared,
          note: `records below offset ${from.join(', ')} are no longer in the log and were not recomputed`,
        }
  })
}

async function verifyTable(runtime: Runtime, dataset: Dataset, directory: string): Promise<Verification> {
  const runner = runtime.tables.get(dataset.name)!
  const [status] = datasetStatuses([dataset], observe(runtime))
  // Another engine reaches what the lake reaches, and may not see this machine.
  const place = runner.engine.name === 'duckdb' ? undefined : await scratchPlace(runtime.warehouse.lake)
  try {
    const { files, snapshot, isAsOf } = await runner.recompute(place?.directory ?? directory)
    const { lakeTable } = runner
    const compared = await holding(lakeTable, async (hold) => {
      const published = await relationOf(lakeTable, snapshot ? await lakeTable.files(snapshot) : [], hold)
      return compare(runtime, dataset.name, lakeTable.fields, published, await relationOf(lakeTable, files, hold))
    })
    if (status!.lag === 0) return compared
    return isAsOf
      ? { ...compared, note: 'compared with what its inputs were then; `millrace run` brings it up to date' }
      : { ...compared, note: 'its inputs have changed since it was computed; `millrace run` brings it up to date' }
  } finally {
    await place?.remove()
  }
}

async function compare(
  runtime: Runtime,
  name: string,
  fields: readonly Field[],
  published: string,
  recomputed: string,
): Promise<Verification> {
  // Sums of doubles depend on their order in the last digits.
  const columns = fields
    .map((field) =>
      field.type.kind === 'double' ? `printf('%.10g', ${quoteIdentifier(field.name)})` : quoteIdentifier(field.name),
    )
    .join(', ')
  const [left, right] = [`SELECT ${columns} FROM ${published}`, `SELECT ${columns} FROM ${recomputed}`]
  const count = async (sql: string) => Number((await runtime.database.rows(`SELECT count(*) AS n FROM (${sql})`))[0]!.n)
  const missing = await count(`${right} EXCEPT ALL ${left}`)
  const extra = await count(`${left} EXCEPT ALL ${right}`)
  const examples = async (side: 'missing' | 'extra', sql: string) =>
    (await runtime.database.rows(`SELECT rows::VARCHAR AS row FROM (${sql}) AS rows ORDER BY 1 LIMIT ${EXAMPLES}`)).map(
      (row) => ({ side, row: String(row.row) }),
    )
  return {
    dataset: name,
    equal: missing === 0 && extra === 0,
    published: await count(left),
    recomputed: await count(right),
    missing,
    extra,
    examples: [
      ...(missing > 0 ? await examples('missing', `${right} EXCEPT ALL ${left}`) : []),
      ...(extra > 0 ? await examples('extra', `${left} EXCEPT ALL ${right}`) : []),
    ],
  }
}

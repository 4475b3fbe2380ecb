import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { scratchPlace } from '../lake/scratch.ts'
import type { Field } from '../project/columns.ts'
import type { EngineName } from '../project/sql.ts'
import { duckdbEngine } from './duckdb-engine.ts'
import type { Engine } from './engine.ts'
import type { Runtime } from './runtime.ts'

export interface EngineVerification {
  readonly dataset: string
  readonly equal: boolean
  /** Rows that each engine gave, in the order in which they are compared. */
  readonly rows: readonly { readonly engine: EngineName; readonly count: number }[]
  /** Rows that only one of them gave. */
  readonly different: number
  /** Some of them, by column where rows of both are otherwise alike. */
  readonly examples: readonly RowDifference[]
}

export interface RowDifference {
  /** The columns in which rows of both agree, or all of a row that only one has. Values as text. */
  readonly row: Readonly<Record<string, string | null>>
  /** Which engine has the row; undefined where both have one like it. */
  readonly only?: EngineName
  /** What differs between the two. */
  readonly columns: readonly { readonly name: string; readonly values: Readonly<Record<string, string | null>> }[]
}

const EXAMPLES = 5
/** Rows of each side among which pairs are looked for. */
const CANDIDATES = 100
/** One file in so many is read for a sample. */
const SAMPLE = 10

/**
 * Computes a table from scratch with two engines, from what its inputs publish, and compares the rows. With `sample`, both
 * read a tenth of the files of each input, the same. Changes nothing.
 *
 * Errors: `invalid` / `not-for-engines` for what only the embedded engine computes; those of the engines.
 */
export async function verifyEngines(
  runtime: Runtime,
  name: string,
  engines: readonly [Engine, Engine],
  { sample = false }: { readonly sample?: boolean } = {},
): Promise<EngineVerification> {
  const runner = runtime.tables.get(name)
  if (!runner || !hasEngines(runtime, name)) {
    throw new MillraceError(
      'invalid',
      'not-for-engines',
      `'${runtime.project.dataset(name).name}' is computed by the embedded engine anywhere; there is nothing to compare.`,
      { hint: 'Name a table that SQL alone computes, or none for all of them.', context: { dataset: name } },
    )
  }
  const { disk, dataDirectory } = runtime.options
  const directory = join(dataDirectory, 'tmp', `engines-${name}`)
  await disk.removeTree(directory)
  await disk.makeDirectory(directory)
  const place = await scratchPlace(runtime.warehouse.lake)
  try {
    const relations: string[] = []
    return await duckdbEngine(runtime.database).step(async (reader) => {
      for (const engine of engines) {
        // Another engine reaches what the lake reaches, and may not see this machine.
        const own = engine.name === 'duckdb' ? directory : place.directory
        const { files } = await runner.recompute(own, sample ? sampled(engine) : engine)
        relations.push(await reader.relation(runner.lakeTable, files))
      }
      const names = [engines[0].name, engines[1].name] as const
      return { dataset: name, ...(await compare(runtime.database, runner.lakeTable.fields, relations, names)) }
    })
  } finally {
    await disk.removeTree(directory)
    await place.remove()
  }
}

/** Whether any engine may compute a dataset: streams are gated, and functions called, beside the embedded one. */
export function hasEngines(runtime: Runtime, name: string): boolean {
  const dataset = runtime.project.dataset(name)
  return dataset.kind === 'table' && dataset.transform === undefined
}

/** An engine to which tables have but some of their files, always the same. */
function sampled(engine: Engine): Engine {
  return {
    name: engine.name,
    dialect: engine.dialect,
    step: (work) =>
      engine.step((step) =>
        work({
          dialect: step.dialect,
          subqueryRows: step.subqueryRows,
          relation: (table, files, fileColumn) => step.relation(table, sampleOf(files), fileColumn),
          rows: (sql) => step.rows(sql),
          describe: (sql) => step.describe(sql),
          shapeOf: (sql) => step.shapeOf(sql),
          keep: (name, sql) => step.keep(name, sql),
          write: (table, sql, directory) => step.write(table, sql, directory),
        }),
      ),
  }
}

function sampleOf<T extends { readonly path: string }>(files: readonly T[]): T[] {
  const drawn = files.map((file) => ({ file, lot: createHash('sha256').update(file.path).digest().readUInt32BE() }))
  const chosen = drawn.filter(({ lot }) => lot % SAMPLE === 0)
  return (chosen.length > 0 ? chosen : drawn.toSorted((a, b) => a.lot - b.lot).slice(0, 1)).map(({ file }) => file)
}

async function compare(
  database: Database,
  fields: readonly Field[],
  relations: readonly string[],
  names: readonly [EngineName, EngineName],
): Promise<Omit<EngineVerification, 'dataset'>> {
  const columns = fields.map(({ name, type }) => {
    const quoted = quoteIdentifier(name)
    // Sums of doubles depend on their order in the last digits.
    return `${type.kind === 'double' ? `printf('%.10g', ${quoted})` : `${quoted}::VARCHAR`} AS ${quoted}`
  })
  const [left, right] = relations.map((relation) => `SELECT ${columns.join(', ')} FROM ${relation}`) as [string, string]
  const count = async (sql: string) => Number((await database.rows(`SELECT count(*) AS n FROM (${sql})`))[0]!.n)
  const only = [`(${left}) EXCEPT ALL (${right})`, `(${right}) EXCEPT ALL (${left})`]
  const different = (await count(only[0]!)) + (await count(only[1]!))
  const order = fields.map((_, i) => i + 1).join(', ')
  const some = async (sql: string) =>
    (await database.rows(`SELECT * FROM (${sql}) ORDER BY ${order} LIMIT ${CANDIDATES}`)) as TextRow[]
  return {
    equal: different === 0,
    rows: [
      { engine: names[0], count: await count(left) },
      { engine: names[1], count: await count(right) },
    ],
    different,
    examples: different === 0 ? [] : pairs(await some(only[0]!), await some(only[1]!), names).slice(0, EXAMPLES),
  }
}

type TextRow = Record<string, string | null>

/** Rows of one side with those of the other that are most alike. */
function pairs(left: readonly TextRow[], right: TextRow[], [a, b]: readonly [EngineName, EngineName]): RowDifference[] {
  const free = new Set(right)
  const found = left.map((row): RowDifference => {
    const alike = (other: TextRow) => Object.keys(row).filter((name) => row[name] === other[name]).length
    const [best] = [...free].map((other) => ({ other, score: alike(other) })).toSorted((x, y) => y.score - x.score)
    if (!best || best.score === 0) return { row, only: a, columns: [] }
    free.delete(best.other)
    const names = Object.keys(row).filter((name) => row[name] !== best.other[name])
    return {
      row: Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name))),
      columns: names.map((name) => ({ name, values: { [a]: row[name]!, [b]: best.other[name]! } })),
    }
  })
  return [...found, ...[...free].map((row): RowDifference => ({ row, only: b, columns: [] }))]
}

import { MillraceError, asMillraceError } from '../base/errors.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { describe } from '../engine/duckdb/describe.ts'
import { DUCKDB } from '../engine/duckdb/dialect.ts'
import { syntaxTree } from '../engine/duckdb/syntax-tree.ts'
import { type Surroundings, unportable } from '../engine/portable/find.ts'
import type { ColumnType, Field } from '../project/columns.ts'
import { typeName } from '../project/columns.ts'
import { checkName } from '../project/check.ts'
import type { Dataset } from '../project/dataset.ts'
import type { SqlTemplate } from '../project/sql.ts'
import { type Table, queryFor } from '../project/table.ts'
import { type BoundProject, emptyRelation, locate, sessionsOver } from './bind.ts'
import type { EngineStep } from './engine.ts'
import { textOf } from './outside.ts'

/**
 * What in a project's SQL Spark does not take, or takes for something else, with the portable spelling; told by the syntax
 * alone. Tables made by functions are computed by DuckDB anywhere, and SQL with an override is Spark's own.
 */
export async function lintProject(bound: BoundProject, database: Database): Promise<MillraceError[]> {
  const problems: MillraceError[] = []
  for (const dataset of bound.project.order) {
    if (dataset.kind === 'table' && !dataset.transform && !dataset.overrides)
      problems.push(...(await lint(dataset, 'sql', dataset.sql, bound, database)))
    for (const check of dataset.checks)
      if (check.rule === 'sql')
        problems.push(...(await lint(dataset, `check ${checkName(check)}`, check.sql, bound, database)))
  }
  return problems
}

async function lint(
  about: Dataset,
  part: string,
  template: SqlTemplate,
  bound: BoundProject,
  database: Database,
): Promise<MillraceError[]> {
  const text = textOf(template)
  const surroundings = surroundingsOf([...template.datasets, ...(part === 'sql' ? [] : [about])], bound)
  return unportable(text, await syntaxTree(database, text), surroundings).map(({ construct, spark, remedy }) =>
    locate(
      new MillraceError(
        'invalid',
        'not-portable',
        spark === 'refuses' ? `Spark does not take: ${construct}.` : `Spark means something else by: ${construct}.`,
        { hint: `For both engines: ${remedy}.`, context: { construct, engine: 'spark' } },
      ),
      about,
      part,
    ),
  )
}

function surroundingsOf(datasets: readonly Dataset[], { fields }: BoundProject): Surroundings {
  const columns = datasets.flatMap(({ name }) => fields.get(name) ?? [])
  const nullable = new Set(columns.filter((field) => field.nullable).map(({ name }) => name.toLowerCase()))
  const names = columns.map(({ name }) => name.toLowerCase())
  return { columns: new Set(names), filled: new Set(names.filter((name) => !nullable.has(name))) }
}

/**
 * What Spark itself says of the queries of a project's tables: those that it refuses, and columns whose type is another than
 * DuckDB's, so that a cast to the table's type may give other values.
 */
export async function compareTypes(
  bound: BoundProject,
  database: Database,
  spark: Pick<EngineStep, 'dialect' | 'describe'>,
): Promise<MillraceError[]> {
  const problems: MillraceError[] = []
  const empty = ({ name }: Dataset) => emptyRelation(bound.fields.get(name)!, spark.dialect)
  for (const table of bound.project.order) {
    if (table.kind !== 'table' || table.transform || !bound.fields.has(table.name)) continue
    const own = await describe(database, bindable(table, bound, { dialect: DUCKDB }))
    try {
      problems.push(...differences(table, own, await spark.describe(bindable(table, bound, spark))))
      if (table.materialization.kind === 'session') await spark.describe(sessionsOver(table, spark.dialect, empty))
    } catch (error) {
      if (asMillraceError(error).kind !== 'invalid') throw error
      problems.push(locate(error, table, 'sql on Spark'))
    }
  }
  return problems
}

/** The query of a table over empty relations. */
function bindable(table: Table, { fields }: BoundProject, { dialect }: Pick<EngineStep, 'dialect'>): string {
  return queryFor(table, dialect.name).render({
    dataset: ({ name }) => emptyRelation(fields.get(name)!, dialect),
    parameter: (name) => dialect.text(name),
  })
}

function differences(table: Table, own: readonly Field[], other: readonly Field[]): MillraceError[] {
  const problem = (message: string, hint: string, column?: string) =>
    locate(new MillraceError('invalid', 'type-differs', message, { hint, context: { column } }), table, 'sql')
  const names = (fields: readonly Field[]) => fields.map(({ name }) => name.toLowerCase()).join(', ')
  if (names(own) !== names(other))
    return [
      problem(`The query returns ${names(own)} in DuckDB, but ${names(other)} in Spark.`, 'Name every column with AS.'),
    ]
  return own.flatMap(({ name, type }, i) =>
    isSame(type, other[i]!.type)
      ? []
      : [
          problem(
            `Column '${name}' is ${typeName(type)} in DuckDB, but ${typeName(other[i]!.type)} in Spark.`,
            'Cast it, or what it is computed from, to one type: for example avg(cast(price as double)).',
            name,
          ),
        ],
  )
}

const WHOLE = ['int', 'long']
const isWhole = (type: ColumnType) => WHOLE.includes(type.kind) || (type.kind === 'decimal' && type.scale === 0)

/** Whether values of both types become the same when they are cast to the first. */
function isSame(own: ColumnType, other: ColumnType): boolean {
  if (isWhole(own) && isWhole(other)) return true
  if (own.kind === 'decimal' && other.kind === 'decimal') return other.scale >= own.scale
  if (own.kind === 'decimal') return isWhole(other)
  // A date and an interval of days are a timestamp to DuckDB: the midnight of that date.
  if (own.kind === 'timestamp' && other.kind === 'date') return true
  if (own.kind === 'json' || other.kind === 'json') return own.kind !== other.kind ? isText(own) && isText(other) : true
  if (own.kind === 'list' && other.kind === 'list') return isSame(own.element, other.element)
  if (own.kind === 'struct' && other.kind === 'struct')
    return (
      own.fields.length === other.fields.length &&
      own.fields.every((field, i) => field.name === other.fields[i]!.name && isSame(field.type, other.fields[i]!.type))
    )
  return own.kind === other.kind
}

function isText({ kind }: ColumnType): boolean {
  return kind === 'json' || kind === 'string'
}

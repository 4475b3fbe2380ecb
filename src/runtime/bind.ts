import { createHash } from 'node:crypto'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { closest } from '../base/suggest.ts'
import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { Database } from '../engine/duckdb/database.ts'
import { describe } from '../engine/duckdb/describe.ts'
import type { Dialect } from '../engine/dialect.ts'
import { DUCKDB } from '../engine/duckdb/dialect.ts'
import { namedColumns } from '../engine/duckdb/named-columns.ts'
import { syntaxTree } from '../engine/duckdb/syntax-tree.ts'
import { duckdbType } from '../engine/duckdb/types.ts'
import type { Field } from '../project/columns.ts'
import { offeredColumns, sameType, typeName } from '../project/columns.ts'
import { checkName } from '../project/check.ts'
import type { Dataset, Declaration } from '../project/dataset.ts'
import type { Project } from '../project/project.ts'
import { type Local, checkCheck } from '../project/check-rules.ts'
import { timeColumn, windowFields } from '../project/event-time.ts'
import { checkLayout } from '../project/rules.ts'
import type { SqlTemplate } from '../project/sql.ts'
import type { Materialization, Table } from '../project/table.ts'
import { ORIGIN_FIELDS, compileGate, streamFields } from '../quality/gate.ts'
import { readsOutside, textOf } from './outside.ts'
import { numberedSql, sessionsSql } from './tables/session-sql.ts'
import { sessionInput, sessionQuery } from './tables/sessions.ts'

/** A project whose SQL has been bound: every dataset's columns are known. */
export interface BoundProject {
  readonly project: Project
  /** Columns by dataset, Millrace's own included. */
  readonly fields: ReadonlyMap<string, readonly Field[]>
  /** Names, in lower case, that the queries of session tables have for columns; of those that read more, none. */
  readonly named: ReadonlyMap<string, ReadonlySet<string>>
  /** Fingerprint of each dataset's declaration. */
  readonly code: ReadonlyMap<string, string>
  /** Everything wrong with the project, declarations and SQL. */
  readonly problems: readonly MillraceError[]
}

/** Binds every query of a project against empty relations of the right types. Reads no data. */
export async function bindProject(project: Project, database: Database): Promise<BoundProject> {
  const problems: MillraceError[] = [...project.problems]
  const fields = new Map<string, readonly Field[]>()
  const named = new Map<string, ReadonlySet<string>>()
  const code = new Map<string, string>()
  const empty = (dataset: Dataset) => emptyRelation(fields.get(dataset.name) ?? dataset.fields ?? [])
  const problemsOf = (dataset: Dataset) => problems.filter((problem) => problem.context.dataset === dataset.name)
  for (const dataset of project.order) {
    if (dataset.kind === 'stream') {
      fields.set(dataset.name, streamFields(dataset))
    } else if (dataset.sql.datasets.every((input) => fields.has(input.name))) {
      try {
        fields.set(dataset.name, await bindTable(dataset, database, empty))
      } catch (error) {
        const found = locate(error, dataset, 'sql', project)
        if (!follows(found, problemsOf(dataset))) problems.push(found)
      }
    }
    const own = fields.get(dataset.name)
    if (own === undefined && dataset.kind === 'table' && dataset.fields === undefined) checkUnbound(dataset, problems)
    if (own === undefined || problemsOf(dataset).length > 0) continue
    problems.push(...(await bindChecks(dataset, own, database, empty)))
    code.set(dataset.name, fingerprint(dataset, own))
    const names = await namesOf(dataset, database)
    if (names) named.set(dataset.name, names)
  }
  for (const endpoint of project.endpoints.values()) {
    if (!endpoint.sql.datasets.every((input) => fields.has(input.name))) continue
    const parameters = new Map(endpoint.params.map((param) => [param.name, duckdbType(param.type)]))
    try {
      await describe(
        database,
        endpoint.sql.render({ dataset: empty, parameter: (name) => `NULL::${parameters.get(name) ?? 'VARCHAR'}` }),
      )
    } catch (error) {
      problems.push(locate(error, endpoint, 'sql', project))
    }
  }
  return { project, fields, named, code, problems }
}

/** Whether a problem with a query follows from one of the declaration: of the same column, or with its parameters. */
function follows({ code, context }: MillraceError, known: readonly MillraceError[]): boolean {
  return known.some((problem) =>
    context.column === undefined
      ? problem.code === code || problem.code === 'bad-sql-part'
      : problem.context.column === context.column,
  )
}

async function bindTable(table: Table, database: Database, empty: (dataset: Dataset) => string): Promise<Field[]> {
  const outside = await readsOutside(database, table.sql)
  if (outside !== undefined)
    throw new MillraceError('invalid', 'reads-outside', `The query reads ${outside}, which is no dataset.`, {
      hint: 'Bring it in with source.files and read that stream: then a change of it is noticed, and the same input gives the same rows.',
    })
  const found = await describe(database, table.sql.render({ dataset: empty, parameter: quoteLiteral }))
  const { materialization } = table
  if (materialization.kind === 'mapReduce') return [...table.fields!]
  if (materialization.kind === 'function') return resultFields(table, found)
  const names = found.map((field) => field.name)
  const lower = names.map((name) => name.toLowerCase())
  const repeated = names.find((_, i) => lower.indexOf(lower[i]!) !== i)
  if (repeated !== undefined)
    throw new MillraceError('invalid', 'duplicate-column', `The query returns two columns called '${repeated}'.`, {
      hint: 'Name one of them otherwise with AS.',
    })
  const unnamed = names.find((name) => !/^[a-z_][a-z0-9_]*$/i.test(name))
  if (unnamed !== undefined)
    throw new MillraceError('invalid', 'bad-name', `The query returns a column called '${unnamed}'.`, {
      hint: 'Name it with AS: letters, digits and underscores.',
      context: { column: unnamed },
    })
  const added = [...windowFields(table), ...(await sessionKeyFields(table, database, empty))]
  const taken = added.find((field) => names.includes(field.name))
  if (taken) {
    throw new MillraceError(
      'invalid',
      'reserved-column',
      `The query returns a column '${taken.name}', which the ${materialization.kind} adds itself.`,
      { hint: `Leave it out, or name it otherwise.`, context: { column: taken.name } },
    )
  }
  if (materialization.kind === 'key') {
    for (const name of [...materialization.columns, materialization.version, materialization.deleted]) {
      if (name !== undefined && !names.includes(name))
        throw new MillraceError(
          'invalid',
          'unknown-column',
          `The query does not return column '${name}', which key, version or deleted names.`,
          { hint: `It returns ${offeredColumns(name, names).join(', ')}.`, context: { column: name } },
        )
    }
  }
  const own = table.fields === undefined ? found : promised(table, found)
  // What is wrong with the key is told by the rules.
  if (
    materialization.kind === 'session' &&
    added.length === windowFields(table).length + Math.max(1, materialization.by.length)
  )
    await bindSessions(table, database, empty)
  return [...added, ...own]
}

/** Sessions are many and short: a query that cannot be computed for all of them at once is refused. */
async function bindSessions(table: Table, database: Database, empty: (dataset: Dataset) => string): Promise<void> {
  try {
    await describe(database, sessionsOver(table, DUCKDB, empty))
  } catch (cause) {
    throw new MillraceError(
      'invalid',
      'not-by-session',
      `The query cannot be computed for many sessions at once: ${asMillraceError(cause).message}`,
      {
        hint: 'Use aggregates, window functions, order by and limit over the session’s rows, without nesting it deeper.',
        cause,
      },
    )
  }
}

/** The query of a table of sessions over relations, for all sessions at once. */
export function sessionsOver(table: Table, dialect: Dialect, relation: (dataset: Dataset) => string): string {
  const { by } = table.materialization as Extract<Materialization, { kind: 'session' }>
  const input = sessionInput(table)
  const shape = { time: timeColumn(input)!, by, gapMs: 1 }
  const numbered = `(${numberedSql(dialect, relation(input), shape)})`
  const whole = new Map(
    table.sql.datasets.filter((other) => other !== input).map((other) => [other.name, relation(other)]),
  )
  return `SELECT * FROM ${sessionQuery(dialect, table, whole, numbered, `(${sessionsSql(dialect, numbered, shape)})`, 'true')}`
}

/** What the query of a session table has for names of columns, in whichever engine; undefined where that says not all that it reads. */
async function namesOf(dataset: Dataset, database: Database): Promise<ReadonlySet<string> | undefined> {
  if (dataset.kind === 'stream' || dataset.materialization.kind !== 'session' || dataset.overrides) return undefined
  return namedColumns(await syntaxTree(database, textOf(dataset.sql)))
}

/** The columns of a session's key, as its input has them. */
async function sessionKeyFields(
  { materialization, sql }: Table,
  database: Database,
  empty: (dataset: Dataset) => string,
): Promise<Field[]> {
  if (materialization.kind !== 'session') return []
  const input = sql.datasets.find((dataset) => timeColumn(dataset) !== undefined)
  const fields = input === undefined ? [] : await describe(database, `SELECT * FROM ${empty(input)}`)
  return fields.filter((field) => materialization.by.includes(field.name))
}

/** The columns of a table that a function makes row by row: its own, and where each row came from. */
function resultFields({ materialization, fields }: Table, found: readonly Field[]): Field[] {
  const { call, span } = materialization as Extract<Materialization, { kind: 'function' }>
  // A filter keeps what a stream has beside its columns.
  const extra = call === 'filter' ? found.filter(({ name }) => name === '_extra') : []
  const index = {
    name: '_index',
    type: { kind: 'long' },
    nullable: false,
    doc: 'Place among the rows of its record.',
  } as const
  return [
    ...fields!,
    ...extra.map((field) => ({ ...field, type: { kind: 'json' } as const })),
    ...ORIGIN_FIELDS,
    ...(span === undefined ? [] : [index]),
  ]
}

/** The promised columns of a table, after comparing them with what its query returns. */
function promised(table: Table, found: readonly Field[]): Field[] {
  const names = found.map((field) => field.name)
  for (const field of table.fields!) {
    const given = found.find((f) => f.name === field.name)
    if (!given)
      throw new MillraceError(
        'invalid',
        'unknown-column',
        `The query does not return the promised column '${field.name}'.`,
        { hint: `It returns ${offeredColumns(field.name, names).join(', ')}.`, context: { column: field.name } },
      )
    if (!sameType(given.type, field.type) && !castable(given, field)) {
      throw new MillraceError(
        'invalid',
        'type-mismatch',
        `Column '${field.name}' is promised as ${typeName(field.type)}, but the query returns ${typeName(given.type)}.`,
        { hint: 'Change the promise, or cast in the query.' },
      )
    }
  }
  const extra = found.find((f) => !table.fields!.some((field) => field.name === f.name))
  if (extra)
    throw new MillraceError(
      'invalid',
      'unpromised-column',
      `The query returns column '${extra.name}', which columns does not promise.`,
      { hint: 'Add it to columns, or leave it out of the query.' },
    )
  return [...table.fields!]
}

// A promise may be wider than what the query returns, or fix the precision of a decimal; a failing cast fails the refresh.
function castable(given: Field, field: Field): boolean {
  const numbers = ['int', 'long', 'decimal', 'double']
  return numbers.includes(given.type.kind) && numbers.includes(field.type.kind)
    ? true
    : given.type.kind === 'string' && field.type.kind === 'json'
}

async function bindChecks(
  dataset: Dataset,
  fields: readonly Field[],
  database: Database,
  empty: (dataset: Dataset) => string,
): Promise<MillraceError[]> {
  const problems: MillraceError[] = []
  // Declared columns have been looked at; those of a query are known only now.
  const local = dataset.kind === 'table' && dataset.fields === undefined ? reportsOf(dataset, problems) : undefined
  if (local && dataset.kind === 'table') checkLayout(dataset, fields, local)
  for (const check of dataset.checks) {
    const before = problems.length
    if (local) checkCheck(check, dataset, fields, local)
    if (problems.length > before) continue
    try {
      if (check.rule === 'sql') await describe(database, renderCheck(check.sql, emptyRelation(fields), empty))
      if (check.rule === 'matches')
        await describe(database, `SELECT regexp_matches('', ${quoteLiteral(check.pattern)}) AS "matches"`)
      if (check.rule === 'predicate')
        await describe(
          database,
          `SELECT 1 FROM ${emptyRelation(fields)} WHERE ${check.sql.render({ dataset: empty, parameter: quoteLiteral })}`,
        )
      if (check.rule === 'sumEquals')
        await describe(
          database,
          `SELECT sum(${quoteIdentifier(check.column)}) - (SELECT sum(${check.other}) FROM ${empty(check.dataset)}) FROM ${emptyRelation(fields)}`,
        )
      if (check.rule === 'reference')
        await describe(
          database,
          `SELECT ${quoteIdentifier(check.column)} IN (SELECT ${quoteIdentifier(check.references)} FROM ${empty(check.dataset)}) FROM ${emptyRelation(fields)}`,
        )
    } catch (error) {
      problems.push(locate(error, dataset, `check ${checkName(check)}`))
    }
  }
  if (dataset.kind === 'stream') {
    const mapped = dataset.sources.flatMap((source) =>
      Object.entries(source.map ?? {}).filter(([, from]) => typeof from !== 'string'),
    )
    if (problems.length === 0 && (mapped.length > 0 || dataset.checks.length > 0))
      problems.push(...(await bindGate(dataset, database, empty)))
  }
  return problems
}

/** Takes down what is wrong with columns that a query returns. */
function reportsOf(dataset: Dataset, problems: MillraceError[]): Local {
  const report: Local['report'] = (code, message, hint, column) =>
    problems.push(locate(new MillraceError('invalid', code, message, { hint, context: { column } }), dataset))
  const column: Local['column'] = (name, fields, what) => {
    if (fields.some((field) => field.name === name)) return true
    const names = fields.map((field) => field.name)
    const message = `${what} names column '${name}', which the query does not return.`
    report('unknown-column', message, `It returns ${offeredColumns(name, names).join(', ')}.`, name)
    return false
  }
  return { report, column }
}

/** What is wrong with a table whose query does not bind, beside that: its columns are not known, so nothing is said of them. */
function checkUnbound(table: Table, problems: MillraceError[]): void {
  const local: Local = { report: reportsOf(table, problems).report, column: () => false }
  checkLayout(table, [], local)
  for (const check of table.checks) checkCheck(check, table, [], local)
}

async function bindGate(
  stream: Extract<Dataset, { kind: 'stream' }>,
  database: Database,
  empty: (dataset: Dataset) => string,
): Promise<MillraceError[]> {
  // The diagnosis evaluates every mapping and rule; reading no file, it only has to bind.
  const sql = compileGate(stream, empty).diagnose()
  try {
    await describe(database, sql)
    return []
  } catch (error) {
    return [locate(error, stream, 'checks or map')]
  }
}

/** A check's query, with the dataset under check as `this`. */
export function renderCheck(template: SqlTemplate, self: string, relation: (dataset: Dataset) => string): string {
  return `WITH this AS (SELECT * FROM ${self}) ${template.render({ dataset: relation, parameter: quoteLiteral })}`
}

export function emptyRelation(fields: readonly Field[], { identifier, type }: Dialect = DUCKDB): string {
  const columns = fields.map((field) => `CAST(NULL AS ${type(field.type)}) AS ${identifier(field.name)}`)
  return `(SELECT ${columns.join(', ')} WHERE false)`
}

/** DuckDB looks for a table of its own, and suggests one of its catalog's; what is meant is a dataset. */
function datasetHint({ message }: MillraceError, project: Project): string | undefined {
  const name = /Table with name (\S+) does not exist/.exec(message)?.[1]
  if (name === undefined) return undefined
  const meant = closest(name, project.datasets.keys())
  return meant === undefined
    ? 'SQL names a dataset by the variable that declares it, as in `from ${orders}`.'
    : `Name dataset '${meant}' by the variable that declares it, as in \`from \${orders}\`: that is how Millrace knows what reads what.`
}

/** DuckDB's regular expressions are RE2's, which says of what it does not have that it is invalid. */
function patternHint({ message }: MillraceError): string | undefined {
  if (!/Invalid Input error: (invalid|bad|missing) /.test(message)) return undefined
  return 'Regular expressions are those of RE2: no look-ahead, look-behind or back-references.'
}

/** Says where an error of a declaration stands. */
export function locate(error: unknown, about: Declaration, part?: string, project?: Project): MillraceError {
  const known = asMillraceError(error)
  const place = about.place ? `${about.place.file}:${about.place.line}` : 'unknown place'
  return new MillraceError(
    'invalid',
    known.code,
    `${about.kind} '${about.name}' (${place})${part === undefined ? '' : `, ${part}`}: ${known.message}`,
    {
      hint:
        (project && datasetHint(known, project)) ??
        known.hint ??
        patternHint(known) ??
        'Correct the SQL; `millrace plan` checks it again.',
      context: { ...known.context, dataset: about.name, file: about.place?.file, line: about.place?.line },
      cause: error,
    },
  )
}

function overridesOf({ overrides }: Table): string[] {
  return overrides ? [overrides.spark.toString()] : []
}

/** Changes when, and only when, the rows a declaration gives may change. */
function fingerprint(dataset: Dataset, fields: readonly Field[]): string {
  const by = (d: Dataset) => quoteIdentifier(d.name)
  const parts =
    dataset.kind === 'stream'
      ? [compileGate(dataset, by).prepare('file', false), dataset.unique, dataset.ahead]
      : [dataset.sql.toString(), dataset.materialization, ...overridesOf(dataset)]
  const shape = fields.map((field) => [field.name, typeName(field.type), field.nullable])
  return createHash('sha256')
    .update(JSON.stringify([parts, shape]))
    .digest('hex')
    .slice(0, 16)
}

import { durationMs } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { type Check, checkName } from './check.ts'
import type { ColumnType, Field } from './columns.ts'
import { type Dataset, type Declaration, isPortableName } from './dataset.ts'
import type { Endpoint } from './endpoint.ts'
import type { Place } from './place.ts'
import type { Source } from './source.ts'
import type { PartitionBy, Stream } from './stream.ts'
import type { Table } from './table.ts'

/** Column names that Millrace adds to streams itself. */
export const RESERVED_COLUMNS = ['_partition', '_offset', '_extra'] as const

/** Everything wrong with a set of declarations, each with file, dataset and remedy. What needs an engine (SQL) is not looked at. */
export function checkDeclarations(declarations: readonly Declaration[]): MillraceError[] {
  const problems: MillraceError[] = []
  const byName = new Map<string, Declaration>()
  const report = (about: Declaration, code: string, message: string, hint: string, column?: string) =>
    problems.push(problem(about, code, message, hint, column))

  for (const declaration of declarations) {
    const group = declaration.kind === 'endpoint' ? 'endpoint ' : ''
    const twin = byName.get(group + declaration.name)
    if (twin) {
      report(
        declaration,
        'duplicate-name',
        `Two ${declaration.kind === 'endpoint' ? 'endpoints' : 'datasets'} are called '${declaration.name}'; the other stands at ${at(twin.place)}.`,
        'Rename one of them.',
      )
    }
    byName.set(group + declaration.name, declaration)
    if (
      declaration.kind === 'endpoint'
        ? !/^[a-z][a-z0-9_-]{0,62}$/.test(declaration.name)
        : !isPortableName(declaration.name)
    ) {
      report(
        declaration,
        'bad-name',
        `'${declaration.name}' is not a usable name.`,
        'Use lower-case letters, digits and underscores, starting with a letter, at most 63.',
      )
    }
  }
  const known = new Set<Declaration>(declarations)
  for (const declaration of declarations) {
    const local = new Reporter(declaration, problems)
    if (declaration.kind === 'stream') checkStream(declaration, local)
    else if (declaration.kind === 'table') checkTable(declaration, local)
    else checkEndpoint(declaration, local)
    checkReferences(declaration, known, local)
  }
  for (const declaration of declarations)
    if (declaration.kind !== 'endpoint') checkCycle(declaration, new Reporter(declaration, problems))
  return problems
}

/** Collects the problems of one declaration. */
class Reporter {
  readonly about: Declaration
  readonly problems: MillraceError[]
  constructor(about: Declaration, problems: MillraceError[]) {
    this.about = about
    this.problems = problems
  }
  report(code: string, message: string, hint: string, column?: string): void {
    this.problems.push(problem(this.about, code, message, hint, column))
  }
  /** Reports a column that does not exist; true when it does. */
  column(name: string, fields: readonly Field[], what: string): boolean {
    if (fields.some((field) => field.name === name)) return true
    this.report(
      'unknown-column',
      `${what} names column '${name}', which ${this.about.kind} '${this.about.name}' does not have.`,
      didYouMean(
        name,
        fields.map((field) => field.name),
      ),
      name,
    )
    return false
  }
  duration(text: string, what: string): void {
    try {
      durationMs(text, what)
    } catch (error) {
      if (error instanceof MillraceError) this.report(error.code, error.message, error.hint ?? '')
    }
  }
}

function checkStream(stream: Stream, local: Reporter): void {
  checkFields(stream.fields, local)
  const { fields } = stream
  if (stream.time !== undefined && local.column(stream.time, fields, 'time')) {
    const field = fields.find((f) => f.name === stream.time)!
    if (field.type.kind !== 'timestamp' && field.type.kind !== 'date') {
      local.report(
        'bad-time',
        `time column '${stream.time}' is ${field.type.kind}.`,
        'Declare it as t.timestamp() or t.date().',
        stream.time,
      )
    }
    if (field.nullable)
      local.report(
        'bad-time',
        `time column '${stream.time}' is nullable.`,
        'Remove .nullable(): a row without a time goes to quarantine.',
        stream.time,
      )
  }
  for (const name of stream.unique?.columns ?? []) local.column(name, fields, 'unique')
  for (const name of stream.key) if (!stream.unique?.columns.includes(name)) local.column(name, fields, 'key')
  if (stream.unique?.horizon !== undefined) {
    local.duration(stream.unique.horizon, 'unique.horizon')
    if (stream.time === undefined)
      local.report('bad-unique', 'unique has a horizon but the stream has no time column.', "Declare time: 'column'.")
  }
  if (stream.lateness !== undefined) local.duration(stream.lateness, 'lateness')
  if (stream.retention !== undefined) local.duration(stream.retention, 'retention')
  if (!Number.isInteger(stream.partitions) || stream.partitions < 1 || stream.partitions > 64) {
    local.report('bad-partitions', `partitions is ${stream.partitions}.`, 'Use a whole number from 1 to 64.')
  }
  if (stream.partitions > 1 && stream.unique && stream.key.some((name) => !stream.unique!.columns.includes(name))) {
    local.report(
      'bad-key',
      'key has columns that are not among the unique ones, so duplicates could land in different partitions.',
      'Let key be some of the unique columns, or use one partition.',
    )
  }
  for (const partition of stream.partitionBy) checkPartition(partition, fields, stream.time, local)
  for (const check of stream.checks) checkCheck(check, stream, fields, local)
  if (stream.sources.length > 0 && stream.partitions > 1) {
    local.report(
      'bad-partitions',
      'a stream with file sources has one partition.',
      'Remove partitions, or load the files into a stream of their own.',
    )
  }
  const names = new Set<string>()
  for (const source of stream.sources) {
    if (names.has(source.name))
      local.report('duplicate-source', `Two sources are called '${source.name}'.`, 'Give each a name of its own.')
    names.add(source.name)
    checkSource(source, fields, local)
  }
}

function checkTable(table: Table, local: Reporter): void {
  if (table.fields) checkFields(table.fields, local)
  if (table.sql.parameters.length > 0) {
    local.report(
      'bad-sql-part',
      `sql has \${'${table.sql.parameters[0]}'}; only endpoints have parameters.`,
      'Refer to a dataset by the variable that declares it; for a text value use sql.literal().',
    )
  }
  const { materialization } = table
  if (materialization.kind === 'interval') {
    const timed = table.sql.datasets.some((input) =>
      input.kind === 'stream' ? input.time !== undefined : input.materialization.kind === 'interval',
    )
    if (!timed) {
      local.report(
        'no-time',
        `interval table '${table.name}' reads nothing that has a time.`,
        "Read a stream with time: 'column' or another interval table, or drop the interval.",
      )
    }
    if (table.fields?.some((field) => field.name === materialization.unit)) {
      local.report(
        'reserved-column',
        `column '${materialization.unit}' is added by the interval itself.`,
        'Leave it out of columns.',
        materialization.unit,
      )
    }
  }
  if (!table.fields) return
  if (materialization.kind === 'key') {
    for (const name of materialization.columns) local.column(name, table.fields, 'key')
    if (materialization.version !== undefined) local.column(materialization.version, table.fields, 'version')
    if (materialization.deleted !== undefined) local.column(materialization.deleted, table.fields, 'deleted')
  }
  const fields =
    materialization.kind === 'interval' ? [...table.fields, intervalField(materialization.unit)] : table.fields
  for (const check of table.checks) checkCheck(check, table, fields, local)
}

/** The column an interval table gets: the start of its interval. */
export function intervalField(unit: string): Field {
  return {
    name: unit,
    type: { kind: unit === 'minute' || unit === 'hour' ? 'timestamp' : 'date' },
    nullable: false,
    doc: `Start of the ${unit}, UTC.`,
  }
}

function checkEndpoint(endpoint: Endpoint, local: Reporter): void {
  const declared = new Set(endpoint.params.map((param) => param.name))
  for (const name of endpoint.sql.parameters) {
    if (!declared.has(name))
      local.report(
        'unknown-parameter',
        `sql uses \${'${name}'}, which is not among params.`,
        didYouMean(name, declared),
        name,
      )
  }
  for (const param of endpoint.params) {
    if (['list', 'struct', 'json'].includes(param.type.kind))
      local.report(
        'bad-parameter',
        `parameter '${param.name}' is ${param.type.kind}.`,
        'Use a scalar type.',
        param.name,
      )
    if (!endpoint.sql.parameters.includes(param.name))
      local.report(
        'unused-parameter',
        `parameter '${param.name}' is not used by sql.`,
        `Write \${'${param.name}'} where it belongs, or remove it.`,
        param.name,
      )
  }
}

/** What checks of a dataset say about columns; tables without declared columns are looked at once their SQL is bound. */
export function checkCheck(
  check: Check,
  dataset: Dataset,
  fields: readonly Field[],
  local: { column: Reporter['column']; report: Reporter['report'] },
): void {
  const what = `check ${checkName(check)}`
  if (check.on === 'row' && dataset.kind === 'table') {
    local.report(
      'bad-check',
      `${what} is a row check; tables take dataset checks.`,
      'Put it on the stream, or use check.sql to find offending rows.',
    )
    return
  }
  switch (check.rule) {
    case 'rowCount':
    case 'freshness':
    case 'sql':
    case 'predicate':
      return
    case 'unique':
      for (const name of check.columns) local.column(name, fields, what)
      return
    case 'matches':
      if (
        local.column(check.column, fields, what) &&
        fields.find((f) => f.name === check.column)!.type.kind !== 'string'
      ) {
        local.report(
          'bad-check',
          `${what} needs a string column.`,
          'Use check.predicate for other types.',
          check.column,
        )
      }
      return
    case 'range':
    case 'oneOf':
      if (local.column(check.column, fields, what))
        checkValues(
          check,
          fields.find((field) => field.name === check.column)!,
          what,
          local,
        )
      return
    default:
      local.column(check.column, fields, what)
  }
}

function checkValues(
  check: Extract<Check, { rule: 'range' | 'oneOf' }>,
  field: Field,
  what: string,
  local: Pick<Reporter, 'report'>,
): void {
  const values = check.rule === 'oneOf' ? check.values : [check.min, check.max].filter((bound) => bound !== undefined)
  if (values.length === 0)
    local.report(
      'bad-check',
      `${what} has nothing to compare with.`,
      check.rule === 'oneOf' ? 'Give at least one value.' : 'Give min, max or both.',
      field.name,
    )
  const wanted = COMPARED_WITH[field.type.kind]
  const wrong = values.find((value) => !wanted?.fits(value))
  if (wrong !== undefined)
    local.report(
      'bad-check',
      `${what} compares a ${field.type.kind} with ${JSON.stringify(wrong)}.`,
      wanted ? `Give ${wanted.what}.` : 'Use check.predicate for other types.',
      field.name,
    )
}

const NUMBER = {
  what: 'a number, or its digits as text',
  fits: (value: string | number) => String(value).trim() !== '' && Number.isFinite(Number(value)),
}
/** What values of a type can be compared with in a check. */
const COMPARED_WITH: Partial<Record<ColumnType['kind'], { what: string; fits(value: string | number): boolean }>> = {
  string: { what: 'text', fits: (value) => typeof value === 'string' },
  int: NUMBER,
  long: NUMBER,
  double: NUMBER,
  decimal: NUMBER,
  date: {
    what: "a date such as '2026-01-31'",
    fits: (value) => /^\d{4}-\d{2}-\d{2}$/.test(String(value)) && !Number.isNaN(Date.parse(String(value))),
  },
  timestamp: {
    what: "an ISO 8601 time such as '2026-01-31T12:00:00Z'",
    fits: (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)),
  },
}

function checkReferences(declaration: Declaration, known: ReadonlySet<Declaration>, local: Reporter): void {
  const used = declaration.kind === 'stream' ? [] : declaration.sql.datasets
  const all =
    declaration.kind === 'endpoint'
      ? used
      : [
          ...used,
          ...declaration.checks.flatMap((check) =>
            'dataset' in check ? [check.dataset] : 'sql' in check ? check.sql.datasets : [],
          ),
        ]
  for (const dataset of new Set(all)) {
    if (!known.has(dataset)) {
      local.report(
        'not-exported',
        `'${declaration.name}' refers to '${dataset.name}' (${at(dataset.place)}), which no project file exports.`,
        `Write \`export const …\` before the declaration of '${dataset.name}'.`,
      )
    }
  }
}

function checkCycle(start: Dataset, local: Reporter): void {
  const path: string[] = []
  const seen = new Set<Dataset>()
  const visit = (dataset: Dataset): boolean => {
    path.push(dataset.name)
    for (const input of dataset.kind === 'table' ? dataset.sql.datasets : []) {
      if (input === start) return true
      if (!seen.has(input)) {
        seen.add(input)
        if (visit(input)) return true
      }
    }
    for (const check of dataset.checks) {
      if (check.rule === 'sumEquals' || check.rule === 'reference') {
        if (check.dataset === start && dataset !== start) return true
        if (!seen.has(check.dataset) && check.dataset !== start) {
          seen.add(check.dataset)
          if (visit(check.dataset)) return true
        }
      }
    }
    path.pop()
    return false
  }
  if (visit(start)) {
    local.report(
      'cycle',
      `Datasets depend on each other in a circle: ${[...path, start.name].join(' ← ')}.`,
      'Break the circle: a dataset cannot read, or be checked against, something computed from it.',
    )
  }
}

function checkFields(fields: readonly Field[], local: Reporter): void {
  if (fields.length === 0) local.report('no-columns', `'${local.about.name}' has no columns.`, 'Declare at least one.')
  for (const field of fields) {
    if (!isPortableName(field.name)) {
      local.report(
        'bad-name',
        `column '${field.name}' is not a usable name.`,
        'Use lower-case letters, digits and underscores, starting with a letter, at most 63.',
        field.name,
      )
    }
    if ((RESERVED_COLUMNS as readonly string[]).includes(field.name))
      local.report(
        'reserved-column',
        `column '${field.name}' is one of Millrace's own.`,
        'Choose another name.',
        field.name,
      )
  }
}

function checkPartition(
  partition: PartitionBy,
  fields: readonly Field[],
  time: string | undefined,
  local: Reporter,
): void {
  if (typeof partition === 'string') {
    if (time === undefined)
      local.report('bad-partition', `partitionBy '${partition}' needs a time column.`, "Declare time: 'column'.")
    return
  }
  if (!local.column(partition.column, fields, 'partitionBy')) return
  const { kind } = fields.find((f) => f.name === partition.column)!.type
  const timed = ['year', 'month', 'day', 'hour'].includes(partition.by)
  if (timed && kind !== 'timestamp' && !(kind === 'date' && partition.by !== 'hour')) {
    local.report(
      'bad-partition',
      `column '${partition.column}' is ${kind}; it cannot be partitioned by ${partition.by}.`,
      'Use a timestamp or date column.',
      partition.column,
    )
  }
  if (!timed && ['double', 'boolean', 'json', 'list', 'struct'].includes(kind)) {
    local.report(
      'bad-partition',
      `column '${partition.column}' is ${kind}; it cannot be partitioned by ${partition.by}.`,
      'Use a string, integer, decimal, date or timestamp column.',
      partition.column,
    )
  }
}

function checkSource(source: Source, fields: readonly Field[], local: Reporter): void {
  for (const column of Object.keys(source.map ?? {})) local.column(column, fields, `map of source '${source.name}'`)
  const excluded = new Set(source.exclude ?? [])
  for (const [column, from] of Object.entries(source.map ?? {})) {
    if (typeof from === 'string' && excluded.has(from))
      local.report(
        'bad-source',
        `map of source '${source.name}' takes '${column}' from '${from}', which is excluded.`,
        'Remove one of the two.',
        column,
      )
  }
  if (source.every !== undefined) local.duration(source.every, `every of source '${source.name}'`)
  if (source.encoding !== undefined && !/^(cp|ibm-?)(437|850)$/i.test(source.encoding)) {
    try {
      new TextDecoder(source.encoding)
    } catch {
      local.report(
        'bad-encoding',
        `source '${source.name}' has encoding '${source.encoding}'.`,
        "Use a label of the WHATWG Encoding Standard, such as 'windows-1252', or the DOS code pages 'cp437' and 'cp850'.",
      )
    }
  }
}

function problem(about: Declaration, code: string, message: string, hint: string, column?: string): MillraceError {
  return new MillraceError('invalid', code, `${about.kind} '${about.name}' (${at(about.place)}): ${message}`, {
    hint,
    context: { dataset: about.name, file: about.place?.file, line: about.place?.line, column },
  })
}

function at(place: Place | undefined): string {
  return place ? `${place.file}:${place.line}` : 'unknown place'
}

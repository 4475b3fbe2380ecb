import { durationMs, parseDuration } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { type Local, checkCheck } from './check-rules.ts'
import type { Field } from './columns.ts'
import { type Dataset, type Declaration, isDataset, isPortableName } from './dataset.ts'
import type { Endpoint } from './endpoint.ts'
import { timeColumn, windowFields } from './event-time.ts'
import type { Handler } from './handler.ts'
import { checkInputsOf, inputsOf } from './inputs.ts'
import type { Place } from './place.ts'
import { type FileFormat, SOURCE_OPTIONS, type Source } from './source.ts'
import { type PartitionBy, STREAM_OPTIONS, type Stream } from './stream.ts'
import type { SqlTemplate } from './sql.ts'
import { TABLE_OPTIONS, type Table } from './table.ts'
import { checkTransform } from './transform-rules.ts'
import { checkTime, checkWindow } from './window-rules.ts'

/** Column names that Millrace adds to streams itself. */
export const RESERVED_COLUMNS = ['_partition', '_offset', '_extra'] as const

/** Everything wrong with a set of declarations, each with file, dataset and remedy. What needs an engine (SQL) is not looked at. */
export function checkDeclarations(declarations: readonly Declaration[]): MillraceError[] {
  const problems: MillraceError[] = []
  const byName = new Map<string, Declaration>()
  const report = (about: Declaration, code: string, message: string, hint: string, column?: string) =>
    problems.push(problem(about, code, message, hint, column))

  for (const declaration of declarations) {
    const group = isDataset(declaration) ? 'dataset' : declaration.kind
    const twin = byName.get(`${group} ${declaration.name}`)
    if (twin) {
      report(
        declaration,
        'duplicate-name',
        `Two ${group}s are called '${declaration.name}'; the other stands at ${at(twin.place)}.`,
        'Rename one of them.',
      )
    }
    byName.set(`${group} ${declaration.name}`, declaration)
    if (
      isDataset(declaration) ? !isPortableName(declaration.name) : !/^[a-z][a-z0-9_-]{0,62}$/.test(declaration.name)
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
    else if (declaration.kind === 'endpoint') checkEndpoint(declaration, local)
    else checkHandler(declaration, local)
    checkReferences(declaration, known, local)
  }
  for (const declaration of declarations)
    if (isDataset(declaration)) checkCycle(declaration, new Reporter(declaration, problems))
  return problems
}

/** Collects the problems of one declaration. */
class Reporter implements Local {
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

/** Options that there are not, or that do not go with the others. */
function checkOptions({ kind, stray = [] }: Dataset, local: Reporter): void {
  const known = kind === 'stream' ? STREAM_OPTIONS : [...new Set(Object.values(TABLE_OPTIONS).flat())]
  for (const option of stray) {
    if (known.includes(option))
      local.report(
        'bad-option',
        `'${option}' does not go with the other options of the table.`,
        'A table is by interval, by window, by key (with version and deleted), or none of these; emit and acceptLate go with windows.',
      )
    else local.report('unknown-option', `there is no option '${option}'.`, didYouMean(option, known))
  }
}

function checkEventTime(stream: Stream, local: Reporter): void {
  for (const name of ['lateness', 'ahead', 'idle'] as const) {
    const duration = stream[name]
    if (duration === undefined) continue
    if (parseDuration(duration) === undefined) local.duration(duration, name)
    else if (stream.time === undefined)
      local.report(
        'no-time',
        `${name} says something of event time, but the stream has no time column.`,
        "Declare time: 'column'.",
      )
  }
}

function checkStream(stream: Stream, local: Reporter): void {
  checkOptions(stream, local)
  checkFields(stream.fields, local)
  const { fields } = stream
  if (stream.time !== undefined) checkTime(stream.time, fields, local)
  for (const name of stream.unique?.columns ?? []) local.column(name, fields, 'unique')
  for (const name of stream.key) if (!stream.unique?.columns.includes(name)) local.column(name, fields, 'key')
  if (stream.unique?.horizon !== undefined) {
    local.duration(stream.unique.horizon, 'unique.horizon')
    if (stream.time === undefined)
      local.report('bad-unique', 'unique has a horizon but the stream has no time column.', "Declare time: 'column'.")
    else if ((parseDuration(stream.lateness ?? '0 s') ?? 0) > (parseDuration(stream.unique.horizon) ?? Infinity))
      local.report(
        'bad-unique',
        `unique looks back ${stream.unique.horizon}, which is less than the lateness of ${stream.lateness}.`,
        'Make the horizon at least as long as the lateness: a late record could not be told from a duplicate.',
      )
  }
  if (stream.unique?.columns.length === 0)
    local.report('bad-unique', 'unique names no column.', 'Name the columns that identify an event, or leave it out.')
  checkEventTime(stream, local)
  if (stream.retention !== undefined) local.duration(stream.retention, 'retention')
  checkPartitions(stream, local)
  oneOf(stream.unknown, ['drop', 'keep', 'quarantine'], 'unknown', 'bad-unknown', local)
  for (const partition of stream.partitionBy) checkPartition(partition, fields, stream.time, local)
  for (const check of stream.checks) checkCheck(check, stream, fields, local)
  const names = new Set<string>()
  for (const source of stream.sources) {
    if (names.has(source.name))
      local.report('duplicate-source', `Two sources are called '${source.name}'.`, 'Give each a name of its own.')
    names.add(source.name)
    checkSource(source, fields, local)
  }
}

/** Records that rest on each other meet in one lane. */
function checkPartitions(stream: Stream, local: Reporter): void {
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
  if (stream.topic !== undefined && stream.partitions > 1 && stream.unique && stream.key.length === 0) {
    local.report(
      'bad-key',
      `a duplicate may lie in another partition of topic '${stream.topic}' than the first, where it is not seen.`,
      `Say by which of the unique columns its producers choose the partition: key: '${stream.unique.columns[0]}'; or use one partition.`,
    )
  }
  if (stream.sources.length > 0 && stream.partitions > 1) {
    local.report(
      'bad-partitions',
      `partitions is ${stream.partitions}, but a stream with file sources has one: a file that comes again replaces what it brought before, and that takes records in one order.`,
      'Remove partitions; or declare the files as a stream of their own, beside the one that takes records over HTTP.',
    )
  }
}

function checkTable(table: Table, local: Reporter): void {
  checkOptions(table, local)
  if (table.fields) checkFields(table.fields, local)
  if (table.sql.parameters.length > 0) {
    local.report(
      'bad-sql-part',
      `sql has \${'${table.sql.parameters[0]}'}; only endpoints have parameters.`,
      'Refer to a dataset by the variable that declares it; for a text value use sql.literal().',
    )
  }
  checkOverrides(table, local)
  if (table.transform) checkTransform(table, table.transform, local)
  const { materialization } = table
  checkWindow(table, local)
  if (materialization.kind === 'key' && materialization.columns.length === 0)
    local.report('bad-key', 'key names no column.', 'Name the columns that identify a row.')
  if (!table.fields) return
  const own = [...table.fields, ...windowFields(table)]
  if (materialization.kind === 'key') {
    for (const name of materialization.columns) local.column(name, table.fields, 'key')
    if (materialization.version !== undefined) local.column(materialization.version, table.fields, 'version')
    if (materialization.deleted !== undefined) local.column(materialization.deleted, table.fields, 'deleted')
  }
  checkLayout(table, own, local)
  for (const check of table.checks) checkCheck(check, table, own, local)
}

/** Who reads what does not depend on the engine. */
function checkOverrides({ sql, overrides }: Table, local: Reporter): void {
  if (!overrides) return
  const read = (template: SqlTemplate) =>
    [...new Set(template.references.map(({ dataset, reach }) => JSON.stringify([dataset.name, reach])))].sort().join()
  if (overrides.spark.parameters.length > 0)
    local.report(
      'bad-sql-part',
      `sql for spark has \${'${overrides.spark.parameters[0]}'}; only endpoints have parameters.`,
      'Refer to a dataset by the variable that declares it; for a text value use sql.literal().',
    )
  if (read(sql) === read(overrides.spark)) return
  const names = (template: SqlTemplate) => template.datasets.map(({ name }) => name).join(', ') || 'nothing'
  local.report(
    'sql-references',
    `sql reads ${names(sql)} by default, and ${names(overrides.spark)} for spark.`,
    'Let both read the same datasets, each within the same reach: what makes the table due does not depend on the engine.',
  )
}

/** What a table's partitioning says about its columns: the declared ones, or those its query turns out to return. */
export function checkLayout(table: Table, fields: readonly Field[], local: Local): void {
  for (const partition of table.partitionBy) checkPartition(partition, fields, timeColumn(table), local)
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

function checkHandler(handler: Handler, local: Reporter): void {
  local.duration(handler.timeout, 'timeout')
  if (parseDuration(handler.timeout) === 0)
    local.report('bad-duration', 'timeout is 0: every call would fail.', "Leave it out for '30 seconds'.")
  if (!Number.isInteger(handler.batch) || handler.batch < 1 || handler.batch > HANDLER_BATCH_MAX)
    local.report(
      'bad-batch',
      `batch is ${handler.batch}.`,
      `Use a whole number of rows from 1 to ${HANDLER_BATCH_MAX}.`,
    )
  if (handler.from !== undefined && handler.from !== 'start')
    local.report(
      'bad-from',
      `from is '${String(handler.from)}'.`,
      "Write from: 'start' to begin with all rows there are, or leave it out to begin with what is published next.",
    )
}

/** Rows of one call are in memory at once. */
const HANDLER_BATCH_MAX = 100_000

function checkReferences(declaration: Declaration, known: ReadonlySet<Declaration>, local: Reporter): void {
  const used =
    declaration.kind === 'stream'
      ? []
      : declaration.kind === 'handler'
        ? [declaration.dataset]
        : declaration.sql.datasets
  const all = isDataset(declaration)
    ? [
        ...used,
        ...declaration.checks.flatMap((check) =>
          'dataset' in check ? [check.dataset] : 'sql' in check ? check.sql.datasets : [],
        ),
      ]
    : used
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
    for (const input of [...inputsOf(dataset), ...checkInputsOf(dataset)]) {
      if (input === start) return true
      if (seen.has(input)) continue
      seen.add(input)
      if (visit(input)) return true
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
    if ((RESERVED_COLUMNS as readonly string[]).includes(field.name))
      local.report(
        'reserved-column',
        `column '${field.name}' is one of Millrace's own.`,
        'Choose another name.',
        field.name,
      )
    else if (!isPortableName(field.name)) {
      local.report(
        'bad-name',
        `column '${field.name}' is not a usable name.`,
        'Use lower-case letters, digits and underscores, starting with a letter, at most 63.',
        field.name,
      )
    }
  }
}

function checkPartition(declared: PartitionBy, fields: readonly Field[], time: string | undefined, local: Local): void {
  const known = typeof declared === 'string' ? TIME_UNITS : Object.keys(PARTITIONED_BY)
  if (!oneOf(typeof declared === 'string' ? declared : declared.by, known, 'partitionBy', 'bad-partition', local))
    return
  if (typeof declared === 'string' && time === undefined) {
    local.report(
      'bad-partition',
      `partitionBy '${declared}' needs a time column.`,
      "Declare time: 'column' of a stream, or the interval of a table; or partition by { column, by }.",
    )
    return
  }
  const partition = typeof declared === 'string' ? { column: time!, by: declared } : declared
  const size = partition.by === 'bucket' ? partition.count : partition.by === 'truncate' ? partition.width : 1
  if (!Number.isInteger(size) || size < 1)
    local.report(
      'bad-partition',
      `column '${partition.column}' is partitioned by ${partition.by} ${size}.`,
      'Use a whole number of at least 1.',
      partition.column,
    )
  if (!local.column(partition.column, fields, 'partitionBy')) return
  const { kind } = fields.find((f) => f.name === partition.column)!.type
  if (!PARTITIONED_BY[partition.by].includes(kind))
    local.report(
      'bad-partition',
      `column '${partition.column}' is ${kind}; it cannot be partitioned by ${partition.by}.`,
      `${partition.by} takes ${PARTITIONED_BY[partition.by].join(', ')}.`,
      partition.column,
    )
}

/** Reports a word that is none of those there are: types, which would have told, are stripped where a project runs. */
function oneOf(given: string, known: readonly string[], what: string, code: string, local: Local): boolean {
  if (known.includes(given)) return true
  local.report(code, `${what} is '${given}'.`, didYouMean(String(given), known))
  return false
}

const TIME_UNITS = ['year', 'month', 'day', 'hour']
const TIMES = ['date', 'timestamp'] as const
const TEXTS_AND_NUMBERS = ['string', 'int', 'long', 'decimal'] as const
/** Types of columns that can be laid out so: what Iceberg allows. */
const PARTITIONED_BY: Record<Exclude<PartitionBy, string>['by'], readonly string[]> = {
  identity: [...TEXTS_AND_NUMBERS, ...TIMES, 'boolean'],
  year: TIMES,
  month: TIMES,
  day: TIMES,
  hour: ['timestamp'],
  bucket: [...TEXTS_AND_NUMBERS, ...TIMES],
  truncate: TEXTS_AND_NUMBERS,
}

const FILE_FORMATS: readonly FileFormat[] = ['csv', 'ndjson', 'json', 'parquet']

function checkSource(source: Source, fields: readonly Field[], local: Reporter): void {
  const what = `source '${source.name}'`
  for (const option of Object.keys(source))
    if (!SOURCE_OPTIONS.includes(option))
      local.report('unknown-option', `${what} has no option '${option}'.`, didYouMean(option, SOURCE_OPTIONS))
  if (source.format !== undefined) oneOf(source.format, FILE_FORMATS, `format of ${what}`, 'bad-source', local)
  for (const column of Object.keys(source.map ?? {})) local.column(column, fields, `map of ${what}`)
  const excluded = new Set(source.exclude ?? [])
  for (const [column, from] of Object.entries(source.map ?? {})) {
    if (typeof from === 'string' && excluded.has(from))
      local.report(
        'bad-source',
        `map of ${what} takes '${column}' from '${from}', which is excluded.`,
        'Remove one of the two.',
        column,
      )
  }
  if (source.every !== undefined) local.duration(source.every, `every of ${what}`)
  if (source.encoding !== undefined && !/^(cp|ibm-?)(437|850)$/i.test(source.encoding)) {
    try {
      new TextDecoder(source.encoding)
    } catch {
      local.report(
        'bad-encoding',
        `${what} has encoding '${source.encoding}'.`,
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

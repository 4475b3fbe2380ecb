import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { RowCheck } from '../project/check.ts'
import type { Field } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import type { Source } from '../project/source.ts'
import { SqlTemplate } from '../project/sql.ts'
import type { Stream } from '../project/stream.ts'
import { type RowRule, rowRule } from './row-checks.ts'
import { canonicalText, textShape, typed, wellTyped } from './typing.ts'

/**
 * The gate of a stream: SQL that types, checks and fingerprints the records of a micro-batch in one streaming pass.
 *
 * Levels, inside out: raw text fields → cleaned text per column → typed columns → state and fingerprint → the verdict
 * of the lane's `gate` function (the offset of an accepted row, NULL for any other) → accepted rows.
 *
 * `gate` is volatile, which keeps the optimizer from pushing the filter below and computing every cast twice.
 */
export interface Gate {
  readonly stream: Stream
  /** The columns of accepted rows, in the order of the lake's schema. */
  readonly fields: readonly Field[]
  /** Rules beside typing. */
  readonly rules: readonly RowRule[]
  /** The SELECT giving accepted rows of an NDJSON file. */
  select(file: string, partition: number): string
  /** A SELECT giving, per record of an NDJSON file and in its order, its failures as a list of [rule, reason]. Without a file: to bind only. */
  diagnose(file?: string): string
  /** Two 64-bit fingerprint halves of the unique key over typed columns; undefined without one. */
  readonly fingerprint: readonly [string, string] | undefined
}

/** What the first argument of the lane's `gate` function says. */
export const STATE = { bad: 0, good: 1, frame: 2 } as const

const FRAME = '$millrace'
const HIDDEN = { source: '$source', file: '$file', line: '$line', reject: '$reject', raw: '$raw' } as const

/** The columns Millrace adds to the rows of a stream. */
export function streamFields(stream: Stream): Field[] {
  return [
    ...stream.fields,
    ...(stream.unknown === 'keep'
      ? [{ name: '_extra', type: { kind: 'json' }, nullable: true, doc: 'Fields that are not columns.' } as const]
      : []),
    { name: '_partition', type: { kind: 'int' }, nullable: false, doc: 'Log partition the record came through.' },
    { name: '_offset', type: { kind: 'long' }, nullable: false, doc: 'Offset of the record in its log partition.' },
  ]
}

export function compileGate(stream: Stream, relation: (dataset: Dataset) => string): Gate {
  const rules = stream.checks
    .filter((check): check is RowCheck => check.on === 'row')
    .map((check) => rowRule(check, stream.fields, relation))
  const fingerprint = stream.unique && fingerprintSql(stream.unique.columns)
  const typedColumns = typedLevel(stream)
  const good = [
    ...(stream.sources.length > 0 ? [`"${HIDDEN.reject}" IS NULL`] : []),
    ...(stream.unknown === 'quarantine' ? ['"$unknown" IS NULL'] : []),
    ...stream.fields.map((field) =>
      wellTyped(textName(field), quoteIdentifier(field.name), field.type, field.nullable),
    ),
    ...rules.map((rule) => rule.condition),
  ].join(' AND ')
  const state = `CASE WHEN "${FRAME}" IS NOT NULL THEN ${STATE.frame}::TINYINT WHEN coalesce(${good}, false) THEN ${STATE.good}::TINYINT ELSE ${STATE.bad}::TINYINT END`
  const time =
    stream.unique?.horizon === undefined ? '0::DOUBLE' : `epoch_ms(${quoteIdentifier(stream.time!)}::TIMESTAMP)::DOUBLE`
  const [first, second] = fingerprint ?? ['0::UBIGINT', '0::UBIGINT']
  return {
    stream,
    fields: streamFields(stream),
    rules,
    fingerprint,
    select(file, partition) {
      const columns = streamFields(stream).map((field) =>
        field.name === '_partition' ? `${partition} AS "_partition"` : quoteIdentifier(field.name),
      )
      return `SELECT ${columns.join(', ')} FROM (SELECT *, gate(${state}, ${first}, ${second}, ${time}) AS "_offset" FROM (${typedColumns(file)})) WHERE "_offset" IS NOT NULL`
    },
    diagnose(file) {
      const failures = [
        ...(stream.unknown === 'quarantine'
          ? [failure('"$unknown" IS NULL', "'unknown_field'", `'fields that are not columns: ' || "$unknown"`)]
          : []),
        ...stream.fields.map((field) => typeFailure(field)),
        ...rules.map((rule) => failure(rule.condition, quoteLiteral(rule.name), rule.reason)),
      ]
      const list = `list_filter([${failures.join(', ')}], lambda f: f IS NOT NULL)`
      const from = `FROM (${typedColumns(file)})`
      if (stream.sources.length === 0) return `SELECT ${list} AS failures ${from}`
      // A record that could not be framed has no fields: that they are missing says nothing.
      const { source, file: name, line, reject, raw } = HIDDEN
      const unreadable = `CASE WHEN "${reject}" IS NOT NULL THEN [['unreadable', "${reject}"]] ELSE ${list} END`
      return `SELECT ${unreadable} AS failures, "${source}", "${name}", "${line}", "${raw}" ${from}`
    },
  }
}

/**
 * Two independent 64-bit hashes of the unique columns. The second hashes other bytes (a prefix), not a combination of
 * the first, so a collision in one says nothing about the other. Nulls compare equal.
 */
export function fingerprintSql(columns: readonly string[]): readonly [string, string] {
  const text = columns.map((name) => `coalesce(${quoteIdentifier(name)}::VARCHAR, chr(30))`)
  const joined = text.length === 1 ? text[0]! : `concat_ws(chr(31), ${text.join(', ')})`
  return [`hash(${joined})`, `hash('x' || ${joined})`]
}

function failure(condition: string, rule: string, reason: string): string {
  return `CASE WHEN NOT coalesce(${condition}, false) THEN [${rule}, ${reason}] END`
}

function typeFailure(field: Field): string {
  const text = textName(field)
  const column = escape(field.name)
  const missing = field.nullable ? '' : `WHEN ${text} IS NULL THEN ['not_null(${column})', '${column} is missing'] `
  const value = `left(${text}::VARCHAR, 100)`
  const wrong = `WHEN NOT coalesce(${wellTyped(text, quoteIdentifier(field.name), field.type, field.nullable)}, false) THEN ['type(${column})', '${column} ''' || ${value} || ''' is not a valid ${field.type.kind}']`
  return `CASE ${missing}${wrong} END`
}

function textName(field: Field): string {
  return quoteIdentifier(`=${field.name}`)
}

function escape(text: string): string {
  return text.replaceAll("'", "''")
}

/** The inner levels: each column as text (`"=name"`) and typed (`"name"`), and the hidden fields the outer level asks for. */
function typedLevel(stream: Stream): (file: string | undefined) => string {
  const raw = rawFields(stream)
  const named = [FRAME, ...(stream.sources.length > 0 ? Object.values(HIDDEN) : [])].map(
    (name) => `${raw.get(name)!.alias} AS "${name}"`,
  )
  const unknown = stream.unknown === 'drop' ? [] : ['"$unknown"']
  const texts = stream.fields.map((field) => `${textOf(field, stream, raw)} AS ${textName(field)}`)
  const values = stream.fields.map((field) => `${typed(textName(field), field.type)} AS ${quoteIdentifier(field.name)}`)
  const kept = stream.unknown === 'keep' ? ['"$unknown" AS "_extra"'] : []
  const read = rawLevel(stream)
  return (file) =>
    `SELECT *, ${[...values, ...kept].join(', ')} FROM (SELECT ${[...named, ...unknown, ...texts].join(', ')} FROM (${read(file)}))`
}

/** Reads the file: every field that any column needs, as text, under an alias (`"@0"`), for DuckDB's names ignore case. */
function rawLevel(stream: Stream): (file: string | undefined) => string {
  const raw = rawFields(stream)
  const distinct = new Set([...raw.keys()].map((name) => name.toLowerCase())).size === raw.size
  if (stream.unknown === 'drop' && distinct) {
    const columns = [...raw].map(
      ([name, { shape }]) => `${quoteLiteral(name)}: ${quoteLiteral(isScalar(shape) ? shape : 'JSON')}`,
    )
    const values = [...raw].map(
      ([name, { shape, alias }]) =>
        `${isScalar(shape) ? quoteIdentifier(name) : `TRY_CAST(${quoteIdentifier(name)} AS ${shape})`} AS ${alias}`,
    )
    const nothing = [...raw].map(
      ([name, { shape }]) => `NULL::${isScalar(shape) ? shape : 'JSON'} AS ${quoteIdentifier(name)}`,
    )
    return (file) => {
      const from =
        file === undefined
          ? `(SELECT ${nothing.join(', ')} WHERE false)`
          : `read_ndjson(${quoteLiteral(file)}, columns = {${columns.join(', ')}}, ignore_errors = true)`
      return `SELECT ${values.join(', ')} FROM ${from}`
    }
  }
  // Unknown fields, and names that differ in case only, can be told from the whole object alone: slower.
  const extracted = [...raw].map(([name, { shape, alias }]) => {
    const path = quoteLiteral(`$."${name.replaceAll('"', '\\"')}"`)
    if (shape === 'VARCHAR') return `json_extract_string(json, ${path}) AS ${alias}`
    return `${shape === 'JSON' ? `json_extract(json, ${path})` : `TRY_CAST(json_extract(json, ${path}) AS ${shape})`} AS ${alias}`
  })
  const erase = quoteLiteral(JSON.stringify(Object.fromEntries([...raw.keys()].map((name) => [name, null]))))
  const unknown =
    stream.unknown === 'drop'
      ? []
      : [
          `CASE WHEN json_type(json) = 'OBJECT' THEN nullif(json_merge_patch(json, ${erase})::VARCHAR, '{}') END AS "$unknown"`,
        ]
  return (file) => {
    const from =
      file === undefined
        ? '(SELECT NULL::JSON AS json WHERE false)'
        : `read_ndjson_objects(${quoteLiteral(file)}, ignore_errors = true)`
    return `SELECT ${[...extracted, ...unknown].join(', ')} FROM ${from}`
  }
}

interface RawField {
  readonly shape: string
  readonly alias: string
}

/** Every JSON field that any column needs. */
function rawFields(stream: Stream): Map<string, RawField> {
  const raw = new Map<string, RawField>()
  const need = (name: string, shape: string) => raw.has(name) || raw.set(name, { shape, alias: `"@${raw.size}"` })
  need(FRAME, 'VARCHAR')
  for (const field of stream.fields) need(field.name, textShape(field.type))
  if (stream.sources.length > 0) for (const name of Object.values(HIDDEN)) need(name, 'VARCHAR')
  for (const source of stream.sources) for (const name of mappedFields(source, stream.fields)) need(name, 'VARCHAR')
  return raw
}

function isScalar(shape: string): boolean {
  return shape === 'VARCHAR' || shape === 'JSON'
}

const QUOTED = /"((?:[^"]|"")+)"/g

/** Fields that a source's mapping reads; in its SQL they are the names in double quotes. */
function mappedFields(source: Source, fields: readonly Field[]): string[] {
  return fields.flatMap((field) => {
    const from = source.map?.[field.name]
    if (!(from instanceof SqlTemplate)) return [from ?? field.name]
    return [...from.toString().matchAll(QUOTED)].map((match) => match[1]!.replaceAll('""', '"'))
  })
}

/** The text of a column: from the field of its name for records over HTTP, from each source's mapping for its own. */
function textOf(field: Field, stream: Stream, raw: ReadonlyMap<string, RawField>): string {
  const own = raw.get(field.name)!.alias
  if (stream.sources.length === 0) return own
  const cases = stream.sources.map(
    (source) => `WHEN ${quoteLiteral(source.name)} THEN ${mappedText(field, source, raw)}`,
  )
  return `CASE ${raw.get(HIDDEN.source)!.alias} ${cases.join(' ')} ELSE ${own} END`
}

function mappedText(field: Field, source: Source, raw: ReadonlyMap<string, RawField>): string {
  const isCsv = source.format === 'csv' || /\.(csv|tsv)(\.gz)?$/i.test(source.path)
  const nulls = source.nulls ?? (isCsv ? [''] : [])
  const hidden = Object.values(HIDDEN) as string[]
  const clean = (name: string) => {
    const { alias } = raw.get(name)!
    return nulls.length === 0 || hidden.includes(name)
      ? alias
      : `CASE WHEN trim(${alias}) NOT IN (${nulls.map(quoteLiteral).join(', ')}) THEN ${alias} END`
  }
  const from = source.map?.[field.name] ?? field.name
  const isNested = field.type.kind === 'list' || field.type.kind === 'struct' || field.type.kind === 'json'
  if (typeof from === 'string')
    return isNested
      ? `TRY_CAST(${raw.get(from)!.alias} AS ${textShape(field.type)})`
      : canonicalText(clean(from), field.type, source)
  const expression = from.toString().replaceAll(QUOTED, (_, name: string) => `(${clean(name.replaceAll('""', '"'))})`)
  return isNested ? `TRY_CAST((${expression}) AS ${textShape(field.type)})` : `CAST((${expression}) AS VARCHAR)`
}

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
  /** The SELECT giving accepted rows of an NDJSON file; `extra` adds computed columns (partition values). */
  select(file: string, partition: number, extra?: readonly string[]): string
  /** A SELECT giving, per record of an NDJSON file and in its order, its failures as a list of [rule, reason]. */
  diagnose(file: string): string
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
    select(file, partition, extra = []) {
      const columns = streamFields(stream).map((field) =>
        field.name === '_partition' ? `${partition} AS "_partition"` : quoteIdentifier(field.name),
      )
      return `SELECT ${[...columns, ...extra].join(', ')} FROM (SELECT *, gate(${state}, ${first}, ${second}, ${time}) AS "_offset" FROM (${typedColumns(file)})) WHERE "_offset" IS NOT NULL`
    },
    diagnose(file) {
      const failures = [
        ...(stream.sources.length > 0
          ? [failure(`"${HIDDEN.reject}" IS NULL`, "'unreadable'", `"${HIDDEN.reject}"`)]
          : []),
        ...(stream.unknown === 'quarantine'
          ? [failure('"$unknown" IS NULL', "'unknown_field'", `'fields that are not columns: ' || "$unknown"`)]
          : []),
        ...stream.fields.map((field) => typeFailure(field)),
        ...rules.map((rule) => failure(rule.condition, quoteLiteral(rule.name), rule.reason)),
      ]
      const origin =
        stream.sources.length > 0
          ? [`"${HIDDEN.source}"`, `"${HIDDEN.file}"`, `"${HIDDEN.line}"`, `"${HIDDEN.raw}"`]
          : []
      return `SELECT list_filter([${failures.join(', ')}], lambda f: f IS NOT NULL) AS failures${origin.map((o) => `, ${o}`).join('')} FROM (${typedColumns(file)})`
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
function typedLevel(stream: Stream): (file: string) => string {
  const hidden = [
    `"${FRAME}"`,
    ...(stream.sources.length > 0 ? Object.values(HIDDEN).map((name) => `"${name}"`) : []),
    ...(stream.unknown === 'quarantine' ? ['"$unknown"'] : []),
  ]
  const texts = stream.fields.map((field) => `${textOf(field, stream)} AS ${textName(field)}`)
  const values = stream.fields.map((field) => `${typed(textName(field), field.type)} AS ${quoteIdentifier(field.name)}`)
  const kept = stream.unknown === 'keep' ? ['"$unknown" AS "_extra"'] : []
  const raw = rawLevel(stream)
  return (file) =>
    `SELECT *, ${values.join(', ')}${kept.map((k) => `, ${k}`).join('')} FROM (SELECT ${[...hidden, ...(stream.unknown === 'keep' ? ['"$unknown"'] : []), ...texts].join(', ')} FROM (${raw(file)}))`
}

/** Reads the file: every field that any column needs, as text. */
function rawLevel(stream: Stream): (file: string) => string {
  const shapes = new Map<string, string>([[FRAME, 'VARCHAR']])
  for (const field of stream.fields) shapes.set(field.name, textShape(field.type))
  for (const source of stream.sources)
    for (const name of rawFieldsOf(source, stream.fields)) if (!shapes.has(name)) shapes.set(name, 'VARCHAR')
  if (stream.sources.length > 0) for (const name of Object.values(HIDDEN)) shapes.set(name, 'VARCHAR')
  const known = [...shapes.keys()]
  if (stream.unknown === 'drop') {
    const columns = [...shapes].map(
      ([name, shape]) => `${quoteLiteral(name)}: ${quoteLiteral(isScalar(shape) ? shape : 'JSON')}`,
    )
    const nested = [...shapes].filter(([, shape]) => !isScalar(shape))
    const select =
      nested.length === 0
        ? '*'
        : `* REPLACE (${nested.map(([name, shape]) => `TRY_CAST(${quoteIdentifier(name)} AS ${shape}) AS ${quoteIdentifier(name)}`).join(', ')})`
    return (file) =>
      `SELECT ${select} FROM read_ndjson(${quoteLiteral(file)}, columns = {${columns.join(', ')}}, ignore_errors = true)`
  }
  // Unknown fields can only be seen in the whole object: slower, so only for streams that ask for it.
  const extracted = [...shapes].map(([name, shape]) => {
    const path = quoteLiteral(`$."${name.replaceAll('"', '\\"')}"`)
    const value = isScalar(shape)
      ? shape === 'JSON'
        ? `json_extract(json, ${path})`
        : `json_extract_string(json, ${path})`
      : `TRY_CAST(json_extract(json, ${path}) AS ${shape})`
    return `${value} AS ${quoteIdentifier(name)}`
  })
  const erase = quoteLiteral(JSON.stringify(Object.fromEntries(known.map((name) => [name, null]))))
  const unknown = `CASE WHEN json_type(json) = 'OBJECT' THEN nullif(json_merge_patch(json, ${erase})::VARCHAR, '{}') END`
  return (file) =>
    `SELECT ${extracted.join(', ')}, ${unknown} AS "$unknown" FROM read_ndjson_objects(${quoteLiteral(file)}, ignore_errors = true)`
}

function isScalar(shape: string): boolean {
  return shape === 'VARCHAR' || shape === 'JSON'
}

/** Raw fields are named in double quotes in the SQL of a mapping. */
function rawFieldsOf(source: Source, fields: readonly Field[]): string[] {
  const names = new Set<string>()
  for (const field of fields) {
    const from = source.map?.[field.name]
    if (from instanceof SqlTemplate)
      for (const match of from.toString().matchAll(/"((?:[^"]|"")+)"/g)) names.add(match[1]!.replaceAll('""', '"'))
    else names.add(from ?? field.name)
  }
  return [...names].filter((name) => !Object.values(HIDDEN).includes(name as never))
}

/** The text of a column: from the field of its name for records over HTTP, from each source's mapping for its own. */
function textOf(field: Field, stream: Stream): string {
  const own = quoteIdentifier(field.name)
  if (stream.sources.length === 0) return own
  const cases = stream.sources.map((source) => `WHEN ${quoteLiteral(source.name)} THEN ${mappedText(field, source)}`)
  return `CASE "${HIDDEN.source}" ${cases.join(' ')} ELSE ${own} END`
}

function mappedText(field: Field, source: Source): string {
  const nulls = source.nulls ?? (source.format === 'csv' || /\.(csv|tsv)(\.gz)?$/i.test(source.path) ? [''] : [])
  const clean = (name: string) =>
    nulls.length === 0
      ? quoteIdentifier(name)
      : `CASE WHEN trim(${quoteIdentifier(name)}) NOT IN (${nulls.map(quoteLiteral).join(', ')}) THEN ${quoteIdentifier(name)} END`
  const from = source.map?.[field.name] ?? field.name
  const isNested = field.type.kind === 'list' || field.type.kind === 'struct' || field.type.kind === 'json'
  if (typeof from === 'string') return isNested ? quoteIdentifier(from) : canonicalText(clean(from), field.type, source)
  const expression = from.toString().replaceAll(/"((?:[^"]|"")+)"/g, (_, name: string) => {
    const plain = name.replaceAll('""', '"')
    return (Object.values(HIDDEN) as string[]).includes(plain) ? quoteIdentifier(plain) : `(${clean(plain)})`
  })
  return isNested ? `TRY_CAST((${expression}) AS ${textShape(field.type)})` : `CAST((${expression}) AS VARCHAR)`
}

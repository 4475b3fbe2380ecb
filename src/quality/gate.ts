import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { RowCheck } from '../project/check.ts'
import { type Field, typeName } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import type { Stream } from '../project/stream.ts'
import { type RowRule, rowRule } from './row-checks.ts'
import { type TextLevel, textLevel } from './mapping.ts'
import { HIDDEN, rawFields, rawLevel } from './raw-fields.ts'
import { BECAUSE, typed, wellTyped } from './typing.ts'

/**
 * The gate of a stream: SQL that types, checks and fingerprints the records of a micro-batch, and then judges them.
 *
 * Levels, inside out: raw text fields → cleaned text per column → typed columns → state and fingerprint | the verdict
 * of the lane's `gate` function (the offset of an accepted row, NULL for any other) → accepted rows. What is left of the
 * bar depends on the records alone, so batches are prepared at once; what is right of it on the batches before.
 *
 * `gate` is volatile, which keeps the optimizer from pushing the filter below and computing every cast twice.
 */
export interface Gate {
  /**
   * The SELECT giving the records of an NDJSON file in their order: typed, checked, fingerprinted. DuckDB's fast reader
   * takes a line that breaks off where a value should follow, such as `{"a":`, together with the next, and spoils that
   * one for itself; the exact reader does not.
   */
  prepare(file: string, exact: boolean): string
  /** The columns of accepted rows, as SQL over judged records. */
  accepted(partition: number): string
  /** A SELECT giving, per record of an NDJSON file and in its order, its failures as a list of [rule, reason]. Without a file: to bind only. */
  diagnose(file?: string): string
  /** Two 64-bit fingerprint halves of the unique key over typed columns; undefined without one. */
  readonly fingerprint: readonly [string, string] | undefined
}

/** The SELECT giving the accepted rows among prepared records, a table or subquery: `verdict` is the name of a lane's `gate` function. */
export function judgeSql(verdict: string, accepted: string, prepared: string): string {
  return `SELECT ${accepted} FROM (SELECT *, ${verdict}("$state", "$first", "$second", "$time") AS "_offset" FROM ${prepared}) WHERE "_offset" IS NOT NULL`
}

/** What the first argument of the lane's `gate` function says. */
export const STATE = { bad: 0, good: 1 } as const

/** The columns Millrace adds to the rows of a stream. */
export function streamFields(stream: Stream): Field[] {
  return [
    ...stream.fields,
    ...(stream.unknown === 'keep'
      ? [{ name: '_extra', type: { kind: 'json' }, nullable: true, doc: 'Fields that are not columns.' } as const]
      : []),
    ...ORIGIN_FIELDS,
  ]
}

/** Where a row came from. */
export const ORIGIN_FIELDS: readonly Field[] = [
  { name: '_partition', type: { kind: 'int' }, nullable: false, doc: 'Log partition the record came through.' },
  { name: '_offset', type: { kind: 'long' }, nullable: false, doc: 'Offset of the record in its log partition.' },
]

/**
 * Compiles a stream's gate. With `sources` only records of those are foreseen: what a statement could do for every other
 * source costs memory as well. The result for a record is the same, so fields unknown to any source keep them all.
 */
export function compileGate(
  declared: Stream,
  relation: (dataset: Dataset) => string,
  sources?: ReadonlySet<string>,
): Gate {
  const stream =
    sources === undefined || declared.unknown !== 'drop'
      ? declared
      : { ...declared, sources: declared.sources.filter((source) => sources.has(source.name)) }
  const rules = stream.checks
    .filter((check): check is RowCheck => check.on === 'row')
    .map((check) => rowRule(check, stream.fields, relation))
  const fingerprint = stream.unique && fingerprintSql(stream.unique.columns)
  const texts = textLevel(stream, rawFields(stream))
  const typedColumns = typedLevel(stream, texts)
  const whole = wholeRules(stream, texts)
  const good = [
    ...(stream.sources.length > 0 ? [`"${HIDDEN.reject}" IS NULL`] : []),
    ...whole.map((rule) => rule.condition),
    ...stream.fields.map((field) =>
      wellTyped(textName(field), quoteIdentifier(field.name), field.type, field.nullable),
    ),
    ...rules.map((rule) => rule.condition),
  ].join(' AND ')
  const state = `CASE WHEN coalesce(${good}, false) THEN ${STATE.good}::TINYINT ELSE ${STATE.bad}::TINYINT END`
  const time = timeMsSql(stream)
  const [first, second] = fingerprint ?? ['0::UBIGINT', '0::UBIGINT']
  return {
    fingerprint,
    prepare(file, exact) {
      const columns = [
        ...stream.fields.map((field) => quoteIdentifier(field.name)),
        ...(stream.unknown === 'keep' ? ['"_extra"'] : []),
      ]
      return `SELECT ${columns.join(', ')}, ${state} AS "$state", ${first} AS "$first", ${second} AS "$second", ${time} AS "$time" FROM (${typedColumns(file, exact)})`
    },
    accepted(partition) {
      const columns = streamFields(stream).map((field) =>
        field.name === '_partition' ? `${partition} AS "_partition"` : quoteIdentifier(field.name),
      )
      return columns.join(', ')
    },
    diagnose(file) {
      const failures = [
        ...whole.map((rule) => failure(rule)),
        ...stream.fields.map((field) => typeFailure(field)),
        ...rules.map((rule) => failure(rule, stream.fields)),
      ]
      const list = `list_filter([${failures.join(', ')}], lambda f: f IS NOT NULL)`
      const from = `FROM (${typedColumns(file, false)})`
      if (stream.sources.length === 0) return `SELECT ${list} AS failures ${from}`
      // A record that could not be framed has no fields: that they are missing says nothing.
      const { source, file: name, line, reject, raw } = HIDDEN
      const unreadable = `CASE WHEN "${reject}" IS NOT NULL THEN [['unreadable', "${reject}"]] ELSE ${list} END`
      return `SELECT ${unreadable} AS failures, "${source}", "${name}", "${line}", "${raw}" ${from}`
    },
  }
}

/** The event time of a stream's row in ms since the epoch; 0 where it has none. */
export function timeMsSql({ time }: Stream): string {
  return time === undefined ? '0::DOUBLE' : `epoch_ms(${quoteIdentifier(time)}::TIMESTAMP)::DOUBLE`
}

/**
 * Two independent 64-bit hashes of the unique columns: a collision in one says nothing about the other. Nulls compare
 * equal. Of several columns one hash is of their joined text, the other a combination of their own: text that joins
 * alike (`a␟b`, `c` and `a`, `b␟c`) differs in the second.
 */
export function fingerprintSql(columns: readonly string[]): readonly [string, string] {
  const names = columns.map(quoteIdentifier)
  if (names.length === 1) return [`hash(${names[0]}::VARCHAR)`, `hash('x' || ${names[0]}::VARCHAR)`]
  const text = names.map((name) => `coalesce(${name}::VARCHAR, chr(30))`)
  return [`hash(concat_ws(chr(31), ${text.join(', ')}))`, `hash(${names.join(', ')})`]
}

/** What must hold of a record before its columns are looked at. */
function wholeRules(stream: Stream, { unmapped }: TextLevel): RowRule[] {
  const rules: RowRule[] = []
  if (stream.unknown === 'quarantine')
    rules.push({
      name: 'unknown_field',
      condition: '"$unknown" IS NULL',
      reason: `'fields that are not columns: ' || "$unknown"`,
    })
  if (unmapped !== undefined)
    rules.push({
      name: 'map',
      condition: '"$unmapped" IS NULL',
      reason: `'the mapping of ' || "$unmapped" || ' fails'`,
    })
  // DuckDB reads a line that is no JSON object as a row of nulls.
  if (stream.fields.every((field) => field.nullable)) {
    const texts = [...stream.fields.map(textName), ...(stream.unknown === 'keep' ? ['"$unknown"'] : [])]
    rules.push({
      name: 'empty',
      condition: `coalesce(${texts.join(', ')}) IS NOT NULL`,
      reason: "'no column has a value'",
    })
  }
  return rules
}

/** A rule that gives no answer because a column it asks about has no value of its type says nothing new. */
function failure({ name, condition, reason }: RowRule, fields: readonly Field[] = []): string {
  const untyped = fields
    .filter((field) => new RegExp(`\\b${field.name}\\b`, 'i').test(condition))
    .map((f) => `NOT coalesce(${wellTyped(textName(f), quoteIdentifier(f.name), f.type, f.nullable)}, false)`)
  const unanswered = untyped.length === 0 ? 'false' : `(${untyped.join(' OR ')})`
  return `CASE WHEN NOT coalesce(${condition}, ${unanswered}) THEN [${quoteLiteral(name)}, ${reason}] END`
}

function typeFailure(field: Field): string {
  const text = textName(field)
  const column = escape(field.name)
  const missing = field.nullable ? '' : `WHEN ${text} IS NULL THEN ['not_null(${column})', '${column} is missing'] `
  const part = (n: number) => `split_part(${text}, ${quoteLiteral(BECAUSE)}, ${n})`
  const kind = field.type.kind === 'decimal' ? typeName(field.type) : field.type.kind
  const why = `CASE WHEN contains(${text}, ${quoteLiteral(BECAUSE)}) THEN ${part(2)} ELSE 'is not a valid ${kind}' END`
  const wrong = `WHEN NOT coalesce(${wellTyped(text, quoteIdentifier(field.name), field.type, field.nullable)}, false) THEN ['type(${column})', '${column} ''' || left(${part(1)}, 100) || ''' ' || ${why}]`
  return `CASE ${missing}${wrong} END`
}

function textName(field: Field): string {
  return quoteIdentifier(`=${field.name}`)
}

function escape(text: string): string {
  return text.replaceAll("'", "''")
}

/** The inner levels: each column as text (`"=name"`) and typed (`"name"`), and the hidden fields the outer level asks for. */
function typedLevel(
  stream: Stream,
  { mapped, textOf, unmapped }: TextLevel,
): (file: string | undefined, exact: boolean) => string {
  const raw = rawFields(stream)
  const named = (stream.sources.length > 0 ? Object.values(HIDDEN) : []).map(
    (name) => `${raw.get(name)!.alias} AS "${name}"`,
  )
  const hidden = [
    ...named,
    ...(stream.unknown === 'drop' ? [] : ['"$unknown"']),
    ...(unmapped === undefined ? [] : [`${unmapped} AS "$unmapped"`]),
  ]
  const texts = stream.fields.map((field) => `${textOf(field)} AS ${textName(field)}`)
  const values = stream.fields.map((field) => `${typed(textName(field), field.type)} AS ${quoteIdentifier(field.name)}`)
  const kept = stream.unknown === 'keep' ? ['"$unknown" AS "_extra"'] : []
  const levels = [rawLevel(stream, false), rawLevel(stream, true)] as const
  const prepared = (file: string | undefined, exact: boolean) => {
    const read = levels[exact ? 1 : 0](file)
    return mapped.length === 0 ? read : `SELECT *, ${mapped.join(', ')} FROM (${read})`
  }
  return (file, exact) =>
    `SELECT *, ${[...values, ...kept].join(', ')} FROM (SELECT ${[...hidden, ...texts].join(', ')} FROM (${prepared(file, exact)}))`
}

import { quoteLiteral } from '../base/identifier.ts'
import type { Field } from '../project/columns.ts'
import type { Source } from '../project/source.ts'
import type { SqlTemplate } from '../project/sql.ts'
import type { Stream } from '../project/stream.ts'
import { HIDDEN, QUOTED, type RawField, isCsv, jsonAlias, takesJson } from './raw-fields.ts'
import { canonicalText, readsJson, textOfJson } from './typing.ts'

/** How the text of each column comes about. */
export interface TextLevel {
  /** Columns to be computed first: the SQL of mappings, each in a list that is NULL where it fails. */
  readonly mapped: readonly string[]
  /** The text of a column, over raw fields and mapped columns. */
  textOf(field: Field): string
  /** Names of the columns whose mapping fails for a record, or NULL; undefined when none can. */
  readonly unmapped: string | undefined
}

/** The text of columns: from the field of a column's name for records over HTTP, from each source's mapping for its own. */
export function textLevel(stream: Stream, raw: ReadonlyMap<string, RawField>): TextLevel {
  const source = raw.get(HIDDEN.source)?.alias
  const mapped: string[] = []
  const failing: string[] = []
  const texts = new Map<Field, string>()
  for (const field of stream.fields) {
    const { alias } = raw.get(field.name)!
    const own = readsJson(field.type) ? textOfJson(jsonAlias(alias), field.type) : alias
    const cases = stream.sources.map((each) => {
      const when = `WHEN ${quoteLiteral(each.name)} THEN`
      const from = each.map?.[field.name] ?? field.name
      if (typeof from === 'string') return `${when} ${renamed(field, from, each, raw)}`
      const box = `"#${mapped.length}"`
      mapped.push(`CASE ${source} ${when} ${boxed(field, from, each, raw)} END AS ${box}`)
      failing.push(
        `CASE WHEN ${source} = ${quoteLiteral(each.name)} AND ${box} IS NULL THEN ${quoteLiteral(field.name)} END`,
      )
      return `${when} ${box}[1]`
    })
    texts.set(field, cases.length === 0 ? own : `CASE ${source} ${cases.join(' ')} ELSE ${own} END`)
  }
  const unmapped = failing.length === 0 ? undefined : `nullif(concat_ws(', ', ${failing.join(', ')}), '')`
  return { mapped, textOf: (field) => texts.get(field)!, unmapped }
}

function renamed(field: Field, from: string, source: Source, raw: ReadonlyMap<string, RawField>): string {
  const { alias } = raw.get(from)!
  const text = takesJson(source, field) ? textOfJson(jsonAlias(alias), field.type) : alias
  return canonicalText(unlessNull(from, text, source, raw), field.type, source)
}

/** The value of a mapping's SQL as text in a list of one; NULL where the SQL fails: that refuses the record, not its batch. */
function boxed(field: Field, from: SqlTemplate, source: Source, raw: ReadonlyMap<string, RawField>): string {
  const expression = from.toString().replaceAll(QUOTED, (_, quoted: string) => {
    const name = quoted.replaceAll('""', '"')
    return `(${unlessNull(name, raw.get(name)!.alias, source, raw)})`
  })
  const isStructured = field.type.kind === 'list' || field.type.kind === 'struct'
  const text = isStructured
    ? `CASE WHEN typeof((${expression})) = 'VARCHAR' THEN CAST((${expression}) AS VARCHAR) ELSE to_json((${expression}))::VARCHAR END`
    : `CAST((${expression}) AS VARCHAR)`
  return tolerant(`[${text}]`)
}

/** NULL where evaluating fails. DuckDB cannot do that for subqueries. */
export function tolerant(expression: string): string {
  return /\bselect\b/i.test(expression) ? `(${expression})` : `TRY(${expression})`
}

function unlessNull(name: string, text: string, source: Source, raw: ReadonlyMap<string, RawField>): string {
  const nulls = source.nulls ?? (isCsv(source) ? [''] : [])
  if (nulls.length === 0 || (Object.values(HIDDEN) as string[]).includes(name)) return text
  return `CASE WHEN trim(${raw.get(name)!.alias}) NOT IN (${nulls.map(quoteLiteral).join(', ')}) THEN ${text} END`
}

import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import type { Field } from '../project/columns.ts'
import type { Source } from '../project/source.ts'
import { SqlTemplate } from '../project/sql.ts'
import type { Stream } from '../project/stream.ts'
import { jsonPath, readsJson } from './typing.ts'

/** Fields of records that came from files: where they stood, and what could not be read. */
export const HIDDEN = { source: '$source', file: '$file', line: '$line', reject: '$reject', raw: '$raw' } as const

/** A field of the records that some column needs. */
export interface RawField {
  /** Name of its text. */
  readonly alias: string
  /** Whether it is read as JSON, and there under `jsonAlias(alias)` too. */
  readonly json: boolean
}

/** Reads the file: every field that any column needs, as text, under an alias (`"@0"`), for DuckDB's names ignore case. */
export function rawLevel(stream: Stream, exact: boolean): (file: string | undefined) => string {
  const raw = rawFields(stream)
  const distinct = new Set([...raw.keys()].map((name) => name.toLowerCase())).size === raw.size
  if (stream.unknown === 'drop' && distinct && !exact) {
    const columns = [...raw].map(([name, { json }]) => `${quoteLiteral(name)}: '${json ? 'JSON' : 'VARCHAR'}'`)
    const values = [...raw].flatMap(([name, field]) => aliased(quoteIdentifier(name), field))
    const nothing = [...raw].map(([name, { json }]) => `NULL::${json ? 'JSON' : 'VARCHAR'} AS ${quoteIdentifier(name)}`)
    return (file) => {
      const from =
        file === undefined
          ? `(SELECT ${nothing.join(', ')} WHERE false)`
          : `read_ndjson(${quoteLiteral(file)}, columns = {${columns.join(', ')}}, records = true, ignore_errors = true)`
      return `SELECT ${values.join(', ')} FROM ${from}`
    }
  }
  // Unknown fields, and names that differ in case only, can be told from the whole object alone: slower, but exact.
  const extracted = [...raw].flatMap(([name, field]) => {
    const path = jsonPath(name)
    if (!field.json) return [`json_extract_string(json, ${path}) AS ${field.alias}`]
    return aliased(`CASE WHEN json_type(json, ${path}) <> 'NULL' THEN json_extract(json, ${path}) END`, field)
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

/** A field as text, and as JSON where a column needs it. */
function aliased(value: string, { alias, json }: RawField): string[] {
  return json ? [`${value} ->> '$' AS ${alias}`, `${value} AS ${jsonAlias(alias)}`] : [`${value} AS ${alias}`]
}

export function jsonAlias(alias: string): string {
  return alias.replace('@', '@@')
}

/** Every JSON field that any column needs. */
export function rawFields(stream: Stream): Map<string, RawField> {
  const raw = new Map<string, RawField>()
  const need = (name: string, json = false) => {
    const { alias = `"@${raw.size}"`, json: before = false } = raw.get(name) ?? {}
    raw.set(name, { alias, json: json || before })
  }
  for (const field of stream.fields) need(field.name, readsJson(field.type))
  if (stream.sources.length > 0) for (const name of Object.values(HIDDEN)) need(name)
  for (const source of stream.sources)
    for (const field of stream.fields)
      for (const name of mappedFields(source, field)) need(name, takesJson(source, field))
  return raw
}

/** Fields in the SQL of a mapping: names in double quotes. */
export const QUOTED = /"((?:[^"]|"")+)"/g

/** Fields that a source's mapping of a column reads; in its SQL they are the names in double quotes. */
function mappedFields(source: Source, field: Field): string[] {
  const from = source.map?.[field.name]
  if (!(from instanceof SqlTemplate)) return [from ?? field.name]
  return [...from.toString().matchAll(QUOTED)].map((match) => match[1]!.replaceAll('""', '"'))
}

/** Whether a column is read from the JSON value of a source's field: in CSV a nested value is text. */
export function takesJson(source: Source, field: Field): boolean {
  return readsJson(field.type) && !isCsv(source) && !(source.map?.[field.name] instanceof SqlTemplate)
}

export function isCsv(source: Source): boolean {
  return source.format === 'csv' || (source.format === undefined && /\.(csv|tsv)(\.gz)?$/i.test(source.path))
}

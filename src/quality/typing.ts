import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import { duckdbType } from '../engine/duckdb/types.ts'
import type { ColumnType } from '../project/columns.ts'
import type { TextFormats } from '../project/source.ts'

/**
 * Strict typing in SQL. DuckDB's own JSON reading is lenient: it rounds 5.7 to 6, drops `+02:00` from a timestamp and
 * turns a wrong type into NULL. Here a value either is of the type, losslessly, or the row fails.
 */

/** The DuckDB type in which the text of a column is read: text for scalars, the same shape with text leaves for nested ones. */
export function textShape(type: ColumnType): string {
  switch (type.kind) {
    case 'list':
      return `${textShape(type.element)}[]`
    case 'struct':
      return `STRUCT(${type.fields.map((f) => `${quoteIdentifier(f.name)} ${textShape(f.type)}`).join(', ')})`
    case 'json':
      return 'JSON'
    default:
      return 'VARCHAR'
  }
}

/** SQL giving the typed value of text (or shaped text); NULL when the text is not of the type. */
export function typed(text: string, type: ColumnType): string {
  switch (type.kind) {
    case 'string':
      return text
    case 'json':
      return `${text}::VARCHAR`
    case 'int':
    case 'long':
      return integer(text, duckdbType(type))
    case 'double':
      return `CASE WHEN isfinite(TRY_CAST(${text} AS DOUBLE)) THEN TRY_CAST(${text} AS DOUBLE) END`
    case 'boolean':
      return `CASE lower(${text}) WHEN 'true' THEN true WHEN 'false' THEN false END`
    case 'date':
      return `CASE WHEN length(${text}) = 10 THEN TRY_CAST(${text} AS DATE) END`
    case 'timestamp':
      return timestamp(text)
    case 'decimal':
      return decimal(text, type.precision, type.scale)
    case 'list':
      return `list_transform(${text}, lambda e: ${typed('e', type.element)})`
    case 'struct':
      return `CASE WHEN ${text} IS NOT NULL THEN struct_pack(${type.fields
        .map(
          (f) => `${quoteIdentifier(f.name)} := ${typed(`struct_extract(${text}, ${quoteLiteral(f.name)})`, f.type)}`,
        )
        .join(', ')}) END`
  }
}

/** SQL that is true when text and typed value agree with type and nullability. Scalars compare the two; nested types look inside. */
export function wellTyped(text: string, value: string, type: ColumnType, nullable: boolean): string {
  const present = nullable ? `(${text} IS NULL OR ${value} IS NOT NULL)` : `${value} IS NOT NULL`
  if (type.kind === 'list') {
    const element = wellTyped('e', typed('e', type.element), type.element, type.elementNullable)
    return `(${present} AND coalesce(len(list_filter(${text}, lambda e: NOT coalesce(${element}, false))), 0) = 0)`
  }
  if (type.kind === 'struct') {
    const inner = type.fields.map((f) => {
      const part = `struct_extract(${text}, ${quoteLiteral(f.name)})`
      return `coalesce(${wellTyped(part, typed(part, f.type), f.type, f.nullable)}, false)`
    })
    return `(${present} AND (${text} IS NULL OR (${inner.join(' AND ')})))`
  }
  return present
}

// Most integers are plain digits; only text with a point or an exponent takes the slow, exact way.
function integer(text: string, type: string): string {
  const exact = `TRY_CAST(${text} AS DOUBLE)`
  return `CASE WHEN contains(${text}, '.') OR contains(${text}, 'e') OR contains(${text}, 'E') THEN CASE WHEN ${exact} = trunc(${exact}) THEN TRY_CAST(${exact} AS ${type}) END ELSE TRY_CAST(${text} AS ${type}) END`
}

// Text with an offset is an instant and is moved to UTC; without one it is UTC already. 'Z' is by far the commonest.
function timestamp(text: string): string {
  const value = `CASE WHEN suffix(${text}, 'Z') THEN TRY_CAST(${text} AS TIMESTAMP) ELSE CAST(TRY_CAST(${text} AS TIMESTAMPTZ) AS TIMESTAMP) END`
  return `CASE WHEN length(${text}) >= 10 THEN ${value} END`
}

// More digits than the scale holds are refused unless they are zeros: an amount is never rounded silently.
function decimal(text: string, precision: number, scale: number): string {
  const type = `DECIMAL(${precision},${scale})`
  const wide = `DECIMAL(38,${Math.min(37, scale + Math.max(1, Math.min(12, 38 - precision)))})`
  const slow = `CASE WHEN TRY_CAST(${text} AS ${wide}) = TRY_CAST(${text} AS ${type}) THEN TRY_CAST(${text} AS ${type}) END`
  return `CASE WHEN (contains(${text}, '.') AND length(${text}) - instr(${text}, '.') > ${scale}) OR contains(${text}, 'e') OR contains(${text}, 'E') THEN ${slow} ELSE TRY_CAST(${text} AS ${type}) END`
}

/** SQL that turns a source's text for a type into the canonical text `typed` reads; the text itself when nothing is declared. */
export function canonicalText(text: string, type: ColumnType, formats: TextFormats): string {
  switch (type.kind) {
    case 'int':
    case 'long':
    case 'double':
    case 'decimal':
      return canonicalNumber(text, formats)
    case 'date':
      return formats.date === undefined ? text : `CAST(CAST(${firstParsed(text, formats.date)} AS DATE) AS VARCHAR)`
    case 'timestamp':
      return canonicalTimestamp(text, formats)
    default:
      return text
  }
}

function canonicalNumber(text: string, { number }: TextFormats): string {
  if (number === undefined) return text
  let result = text
  for (const part of number.strip ?? []) result = `replace(${result}, ${quoteLiteral(part)}, '')`
  if (number.group !== undefined) result = `replace(${result}, ${quoteLiteral(number.group)}, '')`
  if (number.decimal === ',') result = `replace(${result}, ',', '.')`
  return `trim(${result})`
}

function canonicalTimestamp(text: string, { timestamp: format, zone }: TextFormats): string {
  if (format === 'epoch-seconds' || format === 'epoch-milliseconds') {
    const microseconds = format === 'epoch-seconds' ? 1_000_000 : 1_000
    return `CAST(make_timestamp(CAST(TRY_CAST(${text} AS DECIMAL(30,6)) * ${microseconds} AS BIGINT)) AS VARCHAR)`
  }
  if (format === undefined && zone === undefined) return text
  const parsed = format === undefined ? `TRY_CAST(${text} AS TIMESTAMP)` : firstParsed(text, format)
  const utc = zone === undefined ? parsed : `timezone('UTC', timezone(${quoteLiteral(zone)}, ${parsed}))`
  return `CAST(${utc} AS VARCHAR)`
}

function firstParsed(text: string, patterns: readonly string[]): string {
  return `TRY_STRPTIME(${text}, [${patterns.map(quoteLiteral).join(', ')}])`
}

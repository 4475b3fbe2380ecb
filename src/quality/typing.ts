import { quoteIdentifier, quoteLiteral } from '../base/identifier.ts'
import { duckdbType } from '../engine/duckdb/types.ts'
import type { ColumnType } from '../project/columns.ts'
import type { TextFormats } from '../project/source.ts'

/**
 * Strict typing in SQL. DuckDB's own JSON reading is lenient: it rounds 5.7 to 6, drops `+02:00` from a timestamp and
 * turns a wrong type into NULL. Here a value either is of the type, losslessly, or the row fails.
 */

/** Significant decimal digits that a double always keeps. */
const DOUBLE_DIGITS = 15
const ROUNDED = `is a number of more than ${DOUBLE_DIGITS} digits, which JSON may have rounded: send it as a string`

/**
 * Whether a column's text comes from the JSON value as it was sent: what is nested, and decimals that a JSON number may
 * not hold. Everything else is read as text at once.
 */
export function readsJson(type: ColumnType): boolean {
  return isNested(type) || type.kind === 'json' || (type.kind === 'decimal' && type.precision > DOUBLE_DIGITS)
}

function isNested(type: ColumnType): boolean {
  return type.kind === 'list' || type.kind === 'struct'
}

/** SQL giving the text that `typed` reads from a JSON value: the JSON itself for nested types, a scalar's content for others. */
export function textOfJson(json: string, type: ColumnType): string {
  if (isNested(type) || type.kind === 'json') return `CASE WHEN json_type(${json}) <> 'NULL' THEN ${json}::VARCHAR END`
  if (!readsJson(type)) return `(${json} ->> '$')`
  // The reader takes numbers with a point or an exponent for doubles: what it shows of one with more digits than a
  // double keeps is not what was sent. As a string it is exact.
  const text = `${json}::VARCHAR`
  const digits = `length(replace(ltrim(split_part(lower(${text}), 'e', 1), '-0.'), '.', ''))`
  const isDouble = `NOT prefix(${text}, '"') AND regexp_matches(${text}, '[.eE]')`
  return `CASE WHEN ${isDouble} AND ${digits} > ${DOUBLE_DIGITS} THEN ${refused(text, ROUNDED)} ELSE ${json} ->> '$' END`
}

/** Stands between text that is refused and why: no number, date or timestamp holds it. */
export const BECAUSE = '\u001f'

function refused(text: string, why: string): string {
  return `${text} || ${quoteLiteral(BECAUSE + why)}`
}

/** SQL giving the typed value of a column's text; NULL when the text is not of the type. */
export function typed(text: string, type: ColumnType, depth = 0): string {
  switch (type.kind) {
    case 'string':
      return text
    case 'json':
      return `CASE WHEN json_valid(${text}) THEN ${text} END`
    case 'int':
    case 'long':
      return integer(text, duckdbType(type))
    case 'double':
      return `CASE WHEN isfinite(TRY_CAST(${text} AS DOUBLE)) THEN TRY_CAST(${text} AS DOUBLE) END`
    case 'boolean':
      return `CASE lower(${text}) WHEN 'true' THEN true WHEN 'false' THEN false END`
    case 'date':
      // DuckDB also reads 2026/01/31, '  infinity' and 'epoch     ': only what comes back the same is a date.
      return `CASE WHEN length(${text}) = 10 AND CAST(TRY_CAST(${text} AS DATE) AS VARCHAR) = ${text} THEN TRY_CAST(${text} AS DATE) END`
    case 'timestamp':
      return timestamp(text)
    case 'decimal':
      return decimal(text, type.precision, type.scale)
    case 'list': {
      const element = typed(textOfJson(`e${depth}`, type.element), type.element, depth + 1)
      return `list_transform(${elements(text)}, lambda e${depth}: ${element})`
    }
    case 'struct': {
      const fields = type.fields.map(
        (f) => `${quoteIdentifier(f.name)} := ${typed(textOfJson(member(text, f.name), f.type), f.type, depth)}`,
      )
      return `CASE WHEN ${isJson(text, 'OBJECT')} THEN struct_pack(${fields.join(', ')}) END`
    }
  }
}

function isJson(text: string, kind: 'ARRAY' | 'OBJECT'): string {
  return `CASE WHEN json_valid(${text}) THEN json_type(${text}) = '${kind}' ELSE false END`
}

function elements(text: string): string {
  return `CASE WHEN ${isJson(text, 'ARRAY')} THEN json_extract(${text}, '$[*]') END`
}

function member(text: string, name: string): string {
  return `json_extract(${text}, ${jsonPath(name)})`
}

/** The path of an object's field, as a SQL literal. */
export function jsonPath(name: string): string {
  return quoteLiteral(`$."${name.replaceAll('"', '\\"')}"`)
}

/** SQL that is true when text and typed value agree with type and nullability. Scalars compare the two; nested types look inside. */
export function wellTyped(text: string, value: string, type: ColumnType, nullable: boolean, depth = 0): string {
  if (type.kind !== 'list' && type.kind !== 'struct')
    return nullable ? `(${text} IS NULL OR ${value} IS NOT NULL)` : `${value} IS NOT NULL`
  const inside = (json: string, part: ColumnType, partNullable: boolean, at: number) => {
    const inner = textOfJson(json, part)
    return `coalesce(${wellTyped(inner, typed(inner, part, at), part, partNullable, at)}, false)`
  }
  const whole =
    type.kind === 'list'
      ? `${value} IS NOT NULL AND len(list_filter(${elements(text)}, lambda e${depth}: NOT ${inside(`e${depth}`, type.element, type.elementNullable, depth + 1)})) = 0`
      : `${isJson(text, 'OBJECT')} AND ${type.fields.map((f) => inside(member(text, f.name), f.type, f.nullable, depth)).join(' AND ')}`
  return nullable ? `(${text} IS NULL OR (${whole}))` : `(${whole})`
}

/** Below it every double is the one its text names. */
const EXACT_MAX = 2 ** 53

/** By its length, the least integer that plain digits may stand for: one with zeros in front is looked at again. */
const LEAST_OF_LENGTH = `[${[0, ...Array.from({ length: 18 }, (_, i) => 10 ** (i + 1))].join(', ')}]`

// Most integers are plain digits, which have as many as their value. So have some with an exponent, whose value is exact; text
// with a point never has. All else takes the slow way. DuckDB rounds what it casts, so the cast alone proves nothing.
function integer(text: string, type: string): string {
  const cast = `TRY_CAST(${text} AS ${type})`
  return `CASE WHEN ${cast} >= ${LEAST_OF_LENGTH}[strlen(${text})] THEN ${cast} ELSE ${anyInteger(text, type)} END`
}

function anyInteger(text: string, type: string): string {
  const double = `TRY_CAST(${text} AS DOUBLE)`
  const whole = `rtrim(rtrim(${text}, '0'), '.')`
  const exact = `abs(${double}) < ${EXACT_MAX}`
  const scientific = `CASE WHEN ${hasShortMantissa(text)} AND ${exact} AND ${double} = trunc(${double}) THEN TRY_CAST(${double} AS ${type}) END`
  const pointed = `CASE WHEN ${exact} AND NOT contains(${whole}, '.') THEN TRY_CAST(${whole} AS ${type}) END`
  return `CASE WHEN ${hasExponent(text)} THEN ${scientific} WHEN contains(${text}, '.') THEN ${pointed} ELSE TRY_CAST(${text} AS ${type}) END`
}

function hasExponent(text: string): string {
  return `contains(${text}, 'e') OR contains(${text}, 'E')`
}

// No two numbers of so few digits share a double.
function hasShortMantissa(text: string): string {
  return `instr(lower(${text}), 'e') <= ${DOUBLE_DIGITS + 1}`
}

const ISO_INSTANT =
  '\\d{4}-\\d{2}-\\d{2}([T ]\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,6}0*)?)?)?( ?(Z|UTC|[+-](0\\d|1[0-8])(:?[0-5]\\d)?))?'

// Text with an offset is an instant and is moved to UTC; without one it is UTC already. By far the commonest are whole
// seconds, milliseconds or microseconds with a 'Z': they need no pattern to tell that no digits follow the microseconds,
// which DuckDB would cut off.
function timestamp(text: string): string {
  const isCommon = `suffix(${text}, 'Z') AND strlen(${text}) IN (20, 24, 27) AND substr(${text}, 20, 1) IN ('.', 'Z')`
  return `CASE WHEN ${isCommon} THEN TRY_CAST(${text} AS TIMESTAMP) WHEN regexp_full_match(${text}, '${ISO_INSTANT}') THEN CAST(TRY_CAST(${text} AS TIMESTAMPTZ) AS TIMESTAMP) END`
}

// More digits than the scale holds are refused unless they are zeros: an amount is never rounded silently.
function decimal(text: string, precision: number, scale: number): string {
  const type = `DECIMAL(${precision},${scale})`
  const value = `TRY_CAST(${text} AS ${type})`
  const trimmed = `rtrim(${text}, '0')`
  const fraction = (of: string) => `length(${of}) - instr(${of}, '.')`
  const scientific = `CASE WHEN ${hasShortMantissa(text)} AND TRY_CAST(CAST(${value} AS VARCHAR) AS DOUBLE) = TRY_CAST(${text} AS DOUBLE) THEN ${value} END`
  const long = `CASE WHEN ${fraction(trimmed)} <= ${scale} THEN TRY_CAST(${trimmed} AS ${type}) END`
  return `CASE WHEN ${hasExponent(text)} THEN ${scientific} WHEN contains(${text}, '.') AND ${fraction(text)} > ${scale} THEN ${long} ELSE ${value} END`
}

/**
 * SQL that turns a source's text for a type into the canonical text `typed` reads; the text itself when nothing is declared.
 * Text that does not fit the declared formats stays, in a form that no type accepts: it is wrong, not missing.
 */
export function canonicalText(text: string, type: ColumnType, formats: TextFormats): string {
  switch (type.kind) {
    case 'int':
    case 'long':
    case 'double':
    case 'decimal':
      return formats.number === undefined ? text : canonicalNumber(text, formats.number)
    case 'date':
      return formats.date === undefined
        ? text
        : orRefused(text, `CAST(CAST(${anyParsed(text, formats.date)} AS DATE) AS VARCHAR)`)
    case 'timestamp':
      return canonicalTimestamp(text, formats)
    default:
      return text
  }
}

function orRefused(text: string, canonical: string): string {
  return `coalesce(${canonical}, ${refused(text, 'is not in a format declared for its source')})`
}

// Separators in the wrong place mean that the text was written for another locale: '1.5' is no German 15, '1.581,00' no
// English 1.58100.
function canonicalNumber(
  text: string,
  { decimal = '.', group, strip = [] }: NonNullable<TextFormats['number']>,
): string {
  let bare = text
  for (const part of strip) bare = `replace(${bare}, ${quoteLiteral(part)}, '')`
  bare = `trim(${bare})`
  const point = decimal === '.' ? '\\.' : ','
  const other = decimal === '.' ? ',' : '\\.'
  const separator = group === undefined ? undefined : escapePattern(group)
  const foreign = separator === undefined ? other : `${point}.*${separator}|${separator}(\\d{0,2}|\\d{4,})(${point}|$)`
  const ungrouped = group === undefined ? bare : `replace(${bare}, ${quoteLiteral(group)}, '')`
  const canonical = decimal === '.' ? ungrouped : `replace(${ungrouped}, ',', '.')`
  return orRefused(text, `CASE WHEN NOT regexp_matches(${bare}, ${quoteLiteral(foreign)}) THEN ${canonical} END`)
}

function escapePattern(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

function canonicalTimestamp(text: string, { timestamp: format, zone }: TextFormats): string {
  if (format === 'epoch-seconds' || format === 'epoch-milliseconds') {
    const [digits, unit] = format === 'epoch-seconds' ? [6, 1_000_000] : [3, 1_000]
    const instant = `TRY(make_timestamp(CAST(${decimal(text, 20 + digits, digits)} * ${unit} AS BIGINT)))`
    return orRefused(text, `CAST(${instant} AS VARCHAR)`)
  }
  if (zone === undefined) return format === undefined ? text : orRefused(text, asInstant(anyParsed(text, format)))
  const local = (parsed: string) => asInstant(`timezone('UTC', timezone(${quoteLiteral(zone)}, ${parsed}))`)
  if (format === undefined) {
    const hasOffset = `regexp_matches(${text}, '(Z|UTC|:.*[+-]\\d{2}(:?\\d{2})?)$')`
    return orRefused(text, `CASE WHEN ${hasOffset} THEN ${text} ELSE ${local(timestamp(text))} END`)
  }
  const each = format.map((pattern) => {
    const parsed = anyParsed(text, [pattern])
    return /%z/i.test(pattern) ? asInstant(parsed) : local(parsed)
  })
  return orRefused(text, `coalesce(${each.join(', ')})`)
}

function asInstant(parsed: string): string {
  return `CAST(CAST(${parsed} AS TIMESTAMP) AS VARCHAR)`
}

// strptime takes 'infinity' for the year 1900, whatever the pattern.
function anyParsed(text: string, patterns: readonly string[]): string {
  return `CASE WHEN regexp_matches(${text}, '\\d') THEN TRY_STRPTIME(${text}, [${patterns.map(quoteLiteral).join(', ')}]) END`
}

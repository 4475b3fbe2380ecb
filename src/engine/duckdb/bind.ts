import {
  DuckDBDateValue,
  DuckDBDecimalValue,
  type DuckDBPreparedStatement,
  DuckDBTimestampValue,
} from '@duckdb/node-api'
import { MillraceError } from '../../base/errors.ts'
import { didYouMean } from '../../base/suggest.ts'
import { type ColumnType, typeName } from '../../project/columns.ts'

/** A value bound to a parameter. With a type, `value` is text already checked against it. */
export type BoundValue =
  | { readonly type: undefined; readonly value: string | number | bigint | boolean | null }
  | { readonly type: ColumnType; readonly value: string | null }

export type ParameterValues = readonly BoundValue[] | Readonly<Record<string, BoundValue>>

/**
 * Binds values to the parameters of a statement: a list to `?` and `$1`, a record to `$name`. Errors: `invalid` /
 * `missing-parameter` and `unknown-parameter`.
 */
export function bindParameters(statement: DuckDBPreparedStatement, values: ParameterValues): void {
  const wanted = Array.from({ length: statement.parameterCount }, (_, i) => statement.parameterName(i + 1))
  const given: Readonly<Record<string, BoundValue>> = isList(values)
    ? Object.fromEntries(values.map((value, i) => [String(i + 1), value]))
    : values
  for (const name of Object.keys(given)) {
    if (!wanted.includes(name)) {
      throw new MillraceError('invalid', 'unknown-parameter', `The SQL has no parameter $${name}.`, {
        hint: didYouMean(name, wanted),
        context: { parameter: name },
      })
    }
  }
  wanted.forEach((name, i) => {
    const bound = Object.hasOwn(given, name) ? given[name] : undefined
    if (bound === undefined) {
      throw new MillraceError('invalid', 'missing-parameter', `The parameter $${name} has no value.`, {
        hint: 'Give it under "parameters" (a list for ? and $1, an object for $name), or as --param NAME=VALUE.',
        context: { parameter: name },
      })
    }
    bind(statement, i + 1, bound)
  })
}

function isList(values: ParameterValues): values is readonly BoundValue[] {
  return Array.isArray(values)
}

function bind(statement: DuckDBPreparedStatement, index: number, bound: BoundValue): void {
  if (bound.value === null) statement.bindNull(index)
  else if (bound.type !== undefined) bindTyped(statement, index, bound.type, bound.value)
  else if (typeof bound.value === 'boolean') statement.bindBoolean(index, bound.value)
  else if (typeof bound.value === 'string') statement.bindVarchar(index, bound.value)
  else if (typeof bound.value === 'bigint') bindWhole(statement, index, bound.value)
  else if (Number.isSafeInteger(bound.value)) bindWhole(statement, index, BigInt(bound.value))
  else statement.bindDouble(index, bound.value)
}

function bindWhole(statement: DuckDBPreparedStatement, index: number, value: bigint): void {
  if (value >= -(2n ** 31n) && value < 2n ** 31n) statement.bindInteger(index, Number(value))
  else if (value >= -(2n ** 63n) && value < 2n ** 63n) statement.bindBigInt(index, value)
  else statement.bindHugeInt(index, value)
}

function bindTyped(
  statement: DuckDBPreparedStatement,
  index: number,
  type: Exclude<BoundValue['type'], undefined>,
  text: string,
): void {
  switch (type.kind) {
    case 'string':
    case 'json':
      return statement.bindVarchar(index, text)
    case 'int':
      return statement.bindInteger(index, Number(text))
    case 'long':
      return statement.bindBigInt(index, BigInt(text))
    case 'double':
      return statement.bindDouble(index, Number(text))
    case 'boolean':
      return statement.bindBoolean(index, text === 'true')
    case 'date':
      return statement.bindDate(index, new DuckDBDateValue(Date.parse(`${text}T00:00:00Z`) / 86_400_000))
    case 'timestamp':
      return statement.bindTimestamp(index, new DuckDBTimestampValue(microsOf(text)))
    case 'decimal': {
      const [whole = '', fraction = ''] = text.split('.')
      const scaled = BigInt(whole + fraction.padEnd(type.scale, '0'))
      return statement.bindDecimal(index, new DuckDBDecimalValue(scaled, type.precision, type.scale))
    }
    case 'list':
    case 'struct':
      throw new MillraceError('internal', 'bad-parameter-type', `A parameter cannot be a ${typeName(type)}.`)
  }
}

/** Microseconds since the epoch of `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`. */
function microsOf(text: string): bigint {
  const [, seconds = text, fraction = ''] = /^(.{19})(?:\.(\d{1,6}))?Z$/.exec(text) ?? []
  return BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'))
}

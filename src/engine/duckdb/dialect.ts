import { quoteIdentifier, quoteLiteral } from '../../base/identifier.ts'
import { sqlTimestamp } from '../../base/interval.ts'
import type { Dialect } from '../dialect.ts'
import { duckdbType } from './types.ts'

/** SQL of the embedded engine. */
export const DUCKDB: Dialect = {
  name: 'duckdb',
  identifier: quoteIdentifier,
  text: quoteLiteral,
  timestamp: (ms) => `TIMESTAMP '${sqlTimestamp(ms)}'`,
  type: duckdbType,
  later: (time, ms) => `${time} + ${milliseconds(ms)}`,
  epochMs: (time) => `epoch_ms(${time})`,
  truncated: (unit, time) => `date_trunc('${unit}', ${time})::TIMESTAMP`,
  bucket: (time, lengthMs) => `time_bucket(${milliseconds(lengthMs)}, ${time}, TIMESTAMP '1970-01-01')`,
  eachTimestamp(first, last, everyMs, after) {
    const all = `generate_series(${first}, ${last}, ${milliseconds(everyMs)})`
    return `unnest(${after === undefined ? all : `list_filter(${all}, lambda t: t > ${after})`})`
  },
  valuesRelation: (expressions, column) => `(SELECT unnest([${expressions.join(', ')}]) AS ${quoteIdentifier(column)})`,
  allBut: (column) => `* EXCLUDE (${quoteIdentifier(column)})`,
  struct: (fields) =>
    `struct_pack(${fields.map(([name, expression]) => `${quoteIdentifier(name)} := ${expression}`).join(', ')})`,
  rowText: (alias) => `${alias}::VARCHAR`,
}

function milliseconds(ms: number): string {
  return `INTERVAL '${ms} milliseconds'`
}

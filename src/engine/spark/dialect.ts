import { sqlTimestamp } from '../../base/interval.ts'
import type { Dialect } from '../dialect.ts'
import { quoteName, quoteText } from './quote.ts'
import { sparkType } from './types.ts'

/** SQL of Spark 4.1, in sessions as `SparkSession` sets them: ANSI, UTC, double quotes around identifiers. */
export const SPARK: Dialect = {
  name: 'spark',
  identifier: quoteName,
  text: quoteText,
  timestamp: (ms) => `TIMESTAMP_NTZ '${sqlTimestamp(ms)}'`,
  type: sparkType,
  later: (time, ms) => `${time} + ${milliseconds(ms)}`,
  epochMs: (time) => `unix_millis(${zoned(time)})`,
  truncated: (unit, time) => unzoned(`date_trunc('${unit}', ${time})`),
  bucket(time, lengthMs) {
    const micros = `unix_micros(${zoned(time)})`
    return unzoned(`timestamp_micros(${micros} - pmod(${micros}, ${lengthMs * 1_000}))`)
  },
  eachTimestamp(first, last, everyMs, after) {
    const all = `sequence(${first}, ${last}, ${milliseconds(everyMs)})`
    return `explode(${after === undefined ? all : `filter(${all}, t -> t > ${after})`})`
  },
  valuesRelation: (expressions, column) => `(SELECT explode(array(${expressions.join(', ')})) AS ${quoteName(column)})`,
  allBut: (column) => `* EXCEPT (${quoteName(column)})`,
  struct: (fields) =>
    `named_struct(${fields.map(([name, expression]) => `${quoteText(name)}, ${expression}`).join(', ')})`,
  rowText: (alias) => `CAST(struct(${alias}.*) AS STRING)`,
}

function milliseconds(ms: number): string {
  return `INTERVAL ${ms} MILLISECONDS`
}

// Functions of moments take timestamps with a zone only; the session's is UTC.
function zoned(time: string): string {
  return `CAST(${time} AS TIMESTAMP_LTZ)`
}

function unzoned(time: string): string {
  return `CAST(${time} AS TIMESTAMP_NTZ)`
}

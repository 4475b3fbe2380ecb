// Reads Iceberg tables with ClickHouse (chdb) for the interop tests, in a process of its own. Run it in `/`: ClickHouse
// reads local files below its working directory only. One request a line on stdin, {location, where}; one answer a line
// on stdout, {rows} or {error}. Takes the path of the installed chdb package.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { messageOf } from '../../../src/base/errors.ts'
import { quoteLiteral } from '../../../src/base/identifier.ts'

const { query } = createRequire(import.meta.url)(process.argv[2]!) as { query(sql: string, format: string): unknown }

const SETTINGS = [
  'output_format_json_quote_64bit_integers = 1',
  'output_format_json_quote_decimals = 1',
  'output_format_json_quote_denormals = 1',
  'output_format_decimal_trailing_zeros = 1',
  // ClickHouse 26.7 fails with a logical error where it moves a condition on a column that was made optional.
  'optimize_move_to_prewhere = 0',
].join(', ')

for await (const line of createInterface({ input: process.stdin })) {
  const { location, where } = JSON.parse(line) as { location: string; where: string }
  try {
    const sql = `SELECT * FROM icebergLocal(${quoteLiteral(location)}) WHERE ${where} SETTINGS ${SETTINGS}`
    const text = String(query(sql, 'JSONEachRow')).trim()
    console.log(JSON.stringify({ rows: text === '' ? [] : text.split('\n').map((row) => JSON.parse(row) as unknown) }))
  } catch (error) {
    console.log(JSON.stringify({ error: messageOf(error) }))
  }
}

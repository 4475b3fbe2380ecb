import { MillraceError } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { didYouMean } from '../base/suggest.ts'
import { quarantineName } from './platform.ts'
import type { Reader } from './reader.ts'

/** Records of a stream refused for the same rule. */
export interface RefusedGroup {
  readonly stream: string
  readonly rule: string
  readonly records: number
  /** When the oldest and the newest were acknowledged, and why the newest was refused. */
  readonly oldest: string
  readonly newest: string
  readonly reason: string
}

/** A refused record, as its quarantine table holds it. */
export interface Refused {
  readonly rule: string
  readonly reason: string
  readonly raw: string | null
  readonly source: string | null
  readonly file: string | null
  readonly line: number | null
  readonly received_at: string
  readonly _partition: number
  readonly _offset: number
}

/** What is in quarantine, by stream and rule, most first; of one stream or of all. */
export async function listQuarantine(reader: Reader, stream?: string): Promise<RefusedGroup[]> {
  const streams = await streamsOf(reader, stream)
  const groups: RefusedGroup[] = []
  // One after the other: a reader of the lake has one process for queries.
  for (const name of streams) {
    const rows = await rowsOf<Omit<RefusedGroup, 'stream'>>(
      reader,
      `SELECT rule, count(*) AS records, min(received_at) AS oldest, max(received_at) AS newest,
              split_part(arg_max(reason, received_at), chr(10), 1) AS reason
       FROM ${quoteIdentifier(quarantineName(name))} GROUP BY rule ORDER BY records DESC, rule`,
    )
    groups.push(...rows.map((row) => ({ stream: name, ...row })))
  }
  return groups
}

/** The newest refused records of a stream. */
export async function showQuarantine(
  reader: Reader,
  stream: string,
  { rule, limit }: { readonly rule: string | undefined; readonly limit: number },
): Promise<Refused[]> {
  await streamsOf(reader, stream)
  return rowsOf<Refused>(
    reader,
    `SELECT rule, reason, raw, source, file, line, received_at, _partition, _offset
     FROM ${quoteIdentifier(quarantineName(stream))} ${rule === undefined ? '' : 'WHERE rule = ?'}
     ORDER BY received_at DESC, _partition, _offset LIMIT ${limit}`,
    rule === undefined ? [] : [rule],
  )
}

/** Names of the datasets that have a quarantine. Errors: `invalid` / `unknown-dataset`, `not-a-stream`. */
async function streamsOf(reader: Reader, wanted: string | undefined): Promise<string[]> {
  const datasets = await reader.datasets()
  const streams = datasets.filter(({ refuses }) => refuses).map(({ name }) => name)
  if (wanted === undefined) return streams
  if (streams.includes(wanted)) return [wanted]
  const context = { context: { dataset: wanted } }
  if (datasets.some(({ name }) => name === wanted))
    throw new MillraceError(
      'invalid',
      'not-a-stream',
      `'${wanted}' is a table of a query; only streams and functions refuse rows.`,
      {
        hint: `These do: ${streams.join(', ') || 'none'}.`,
        ...context,
      },
    )
  throw new MillraceError('invalid', 'unknown-dataset', `There is no dataset '${wanted}'.`, {
    hint: didYouMean(wanted, streams),
    ...context,
  })
}

async function rowsOf<T>(reader: Reader, sql: string, parameters: readonly (string | number)[] = []): Promise<T[]> {
  const answer = JSON.parse((await reader.query(sql, 'json', parameters)).toString('utf8')) as {
    columns: { name: string }[]
    rows: unknown[][]
  }
  return answer.rows.map((row) => Object.fromEntries(row.map((value, i) => [answer.columns[i]!.name, value])) as T)
}

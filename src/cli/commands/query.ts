import { formatMs } from '../../base/duration.ts'
import { JSON_OPTION, PROJECT_OPTIONS, TARGET_OPTION, command, usageError } from '../command.ts'
import { homeOf } from '../home.ts'
import { openReader } from '../reader.ts'
import { grouped, textTable } from '../text-table.ts'

interface Answer {
  readonly columns: readonly { readonly name: string; readonly type: string }[]
  /** Of SQL lists, of an endpoint objects. */
  readonly rows: readonly (readonly unknown[] | Readonly<Record<string, unknown>>)[]
  readonly truncated?: boolean
}

export default command({
  summary: 'Ask the published data in SQL.',
  usage: '[options] "SELECT …" | --endpoint NAME',
  details: `One SELECT over datasets by their names, in the SQL of DuckDB; the quarantine of stream orders is orders__quarantine.
Beside a running server it sees what the server serves, hot rows included; without one, what is committed. Reads only.
With - the SQL comes from standard input. --endpoint asks one of the project's endpoints instead, and prints what
GET /v1/endpoints/NAME answers.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...JSON_OPTION,
    csv: { type: 'boolean', doc: 'CSV with a header.' },
    endpoint: { type: 'string', value: 'NAME', doc: 'Ask this endpoint of the project.' },
    param: {
      type: 'string',
      value: 'NAME=VALUE',
      multiple: true,
      doc: 'A parameter of the endpoint, or $NAME in the SQL; may be repeated.',
    },
  },
  arguments: { min: 0, max: 1 },
  examples: [
    `millrace query "select country, sum(revenue) as revenue from daily_revenue group by all order by 2 desc"`,
    `millrace query --csv "from orders" > orders.csv`,
    `millrace query --json - < report.sql`,
    `millrace query --endpoint top-countries --param day=2010-12-01`,
    'millrace query --target prod "select count(*) from orders"',
  ],
  async run(options, effects) {
    const { out, err, clock } = effects
    if (options.json && options.csv) throw usageError('--json and --csv exclude each other.', 'Give one of them.')
    if ((options.args[0] === undefined) === (options.endpoint === undefined))
      throw usageError(
        options.endpoint === undefined ? 'millrace query needs SQL.' : 'SQL and --endpoint exclude each other.',
        'Usage: millrace query "SELECT …", or millrace query --endpoint NAME; millrace query --help shows more.',
      )
    const parameters = parametersOf(options.param)
    const sql = options.args[0] === '-' ? await effects.readInput() : options.args[0]!
    const began = clock.monotonic()
    const reader = await openReader(homeOf(options, effects), effects)
    try {
      const format = options.csv ? 'csv' : 'json'
      const bytes =
        options.endpoint === undefined
          ? await reader.query(sql, format, parameters)
          : await reader.endpoint(options.endpoint, format, new URLSearchParams(parameters))
      if (options.json || options.csv) {
        out.write(bytes)
        if (options.json) out.write('\n')
        return 0
      }
      const answer = JSON.parse(bytes.toString('utf8'), exactNumbers) as Answer
      out.write(`${answerTable(answer, out)}\n`)
      const count = `${grouped(answer.rows.length)} ${answer.rows.length === 1 ? 'row' : 'rows'}`
      const more = answer.truncated === true ? ', and more were left out (limits.queryRows)' : ''
      err.write(`${err.style('dim', `${count}${more} · ${formatMs(clock.monotonic() - began)}`)}\n`)
      return 0
    } finally {
      await reader.close()
    }
  },
})

function parametersOf(given: readonly string[]): Record<string, string> {
  const parameters: Record<string, string> = {}
  for (const text of given) {
    const [, name, value] = /^(\w+)=(.*)$/s.exec(text) ?? []
    if (name === undefined) throw usageError(`--param is '${text}'.`, 'Write --param NAME=VALUE.')
    if (Object.hasOwn(parameters, name)) throw usageError(`--param ${name} is given twice.`, 'Give it once.')
    parameters[name] = value!
  }
  return parameters
}

const NUMERIC = /^(int|long|double|decimal)\b/

function answerTable({ columns, rows }: Answer, out: Parameters<typeof textTable>[2]): string {
  return textTable(
    columns.map(({ name, type }) => ({ title: name, subtitle: type, align: NUMERIC.test(type) ? 'right' : 'left' })),
    rows.map((row) =>
      columns.map(({ name }, i) => {
        const value = Array.isArray(row) ? row[i] : (row as Readonly<Record<string, unknown>>)[name]
        return value === null ? { text: 'null', style: 'dim' } : cellText(value)
      }),
    ),
    out,
  )
}

/** Numbers as they were written: no digit of a decimal or a long is lost. */
function exactNumbers(_: string, value: unknown, { source }: { source?: string } = {}): unknown {
  return typeof value === 'number' && source !== undefined ? rawJson(source) : value
}

// Part of ES2026: the compiler's library does not have it yet.
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON

function cellText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

import { MillraceError, messageOf } from '../../base/errors.ts'
import { offeredColumns } from '../../project/columns.ts'

/** The place of a byte position in SQL, both counted from 1. Columns count characters. */
export function lineAndColumn(sql: string, position: number): { line: number; column: number } {
  const before = Buffer.from(sql).subarray(0, position).toString()
  const lines = before.split('\n')
  return { line: lines.length, column: Array.from(lines.at(-1)!).length + 1 }
}

/** DuckDB's report with `errors_as_json` on. */
interface Report {
  readonly exception_type: string
  readonly exception_message: string
  readonly candidates?: string
  readonly position?: string
  readonly error_subtype?: string
  readonly name?: string
}

/** Errors whose cause is the statement or a value in the data, not the engine. */
const CAUSED_BY_SQL = new Set([
  'Binder',
  'Catalog',
  'Conversion',
  'Constraint',
  'Decimal',
  'Dependency',
  'Divide by Zero',
  'Expression',
  'Invalid Input',
  'Invalid',
  'Invalid type',
  'Mismatch Type',
  'Not implemented',
  'Object Size',
  'Out of Range',
  'Parameter Not Allowed',
  'Parameter Not Resolved',
  'Parser',
  'Sequence',
  'Syntax',
])

/** As DuckDB, the C++ allocator, Node's buffers and V8's strings say it; or without words, when there is no memory for them. */
const OUT_OF_MEMORY =
  /Out of Memory|bad_alloc|bad allocation|failed to allocate|allocation failed|Invalid string length/i

/** What an error of DuckDB means for whoever sent the SQL. */
export function sqlError(error: unknown, sql: string): MillraceError {
  if (error instanceof MillraceError) return error
  const text = messageOf(error)
  const report = readReport(text)
  if (report?.exception_type === 'Out of Memory' || OUT_OF_MEMORY.test(text)) {
    return memoryExceeded()
  }
  if (report?.exception_type === 'INTERRUPT' || /Interrupted/i.test(text)) {
    return new MillraceError('unavailable', 'query-cancelled', 'The query was cancelled.')
  }
  if (report?.exception_type === 'Permission') {
    return new MillraceError('invalid', 'forbidden-sql', 'The query tried to reach a file or setting.', {
      hint: 'Select from datasets only.',
    })
  }
  if (report === undefined || !CAUSED_BY_SQL.has(report.exception_type)) {
    if (report?.exception_type === 'IO') {
      return new MillraceError('unavailable', 'query-files', 'The files of a dataset could not be read.', {
        hint: 'Try again; if it persists, run `millrace verify` on the dataset.',
        cause: error,
      })
    }
    return new MillraceError(
      'internal',
      'query-failed',
      `The engine failed on the query: ${report?.exception_message ?? text}`,
      {
        hint: 'This is a bug; please report it with the query.',
      },
    )
  }
  return badSql(report, sql)
}

/** The process or DuckDB ran into its memory limit. */
export function memoryExceeded(): MillraceError {
  return new MillraceError('unavailable', 'query-memory', 'The query needs more memory than one query may use.', {
    hint: 'Filter or aggregate more, select fewer columns, or raise limits.queryMemory.',
  })
}

function badSql(report: Report, sql: string): MillraceError {
  const position = report.position === undefined ? undefined : Number(report.position)
  const place = position === undefined ? undefined : lineAndColumn(sql, position)
  const [first = '', ...rest] = report.exception_message.split('\n')
  const message = first.replace(/[!.]$/, '')
  return new MillraceError(
    'invalid',
    'bad-sql',
    place === undefined ? `${message}.` : `Line ${place.line}, column ${place.column}: ${message}.`,
    {
      hint: hintOf(report, rest.join(' ')),
      context: { ...place, position, candidates: report.candidates?.slice(0, 500) },
    },
  )
}

function hintOf(report: Report, rest: string): string {
  const wrong = report.name ?? ''
  const candidates = offeredColumns(wrong, report.candidates?.split(',').filter((name) => name !== '') ?? [])
  if (report.error_subtype === 'COLUMN_NOT_FOUND' && candidates.length > 0) {
    return `Columns by that name or near it: ${candidates.slice(0, 12).join(', ')}.`
  }
  if (report.error_subtype === 'MISSING_ENTRY' && candidates.length > 0) return `Did you mean '${candidates[0]}'?`
  const advice = rest.replace(/\s+/g, ' ').trim()
  return advice === '' ? 'Correct the SQL; the syntax is that of DuckDB.' : advice.slice(0, 600)
}

function readReport(text: string): Report | undefined {
  const start = text.indexOf('{')
  if (start < 0) return undefined
  try {
    const report = JSON.parse(text.slice(start)) as Partial<Report>
    return typeof report.exception_type === 'string' && typeof report.exception_message === 'string'
      ? (report as Report)
      : undefined
  } catch {
    return undefined
  }
}

import { parseDuration } from '../base/duration.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Local } from './check-rules.ts'
import type { Field } from './columns.ts'
import { isWindowed, timeColumn, windowFields } from './event-time.ts'
import { INTERVAL_UNITS, type Table } from './table.ts'

/** Shortest window, ms. */
const WINDOW_MIN_MS = 1_000
/** Most windows an event may lie in. */
const OVERLAP_MAX = 1_000

/** What is wrong with the intervals, windows and sessions of a table. */
export function checkWindow(table: Table, local: Local): void {
  const { materialization, sql } = table
  if (!isWindowed(table)) {
    if (sql.withins.length > 0)
      local.report(
        'bad-within',
        `within(${sql.withins[0]!.dataset.name}, …) reads around a window, but '${table.name}' has none.`,
        "Declare window: { size: '10 minutes' }, or read the dataset itself.",
      )
    return
  }
  const { kind } = materialization
  const plain = sql.references.filter(({ reach }) => reach === undefined)
  if (!plain.some(({ dataset }) => timeColumn(dataset) !== undefined)) {
    local.report(
      'no-time',
      `${kind} table '${table.name}' reads nothing that has a time.`,
      "Read a stream with time: 'column' or a table by interval or window, or drop the " + `${kind}.`,
    )
  }
  const added = [...windowFields(table).map((field) => field.name), ...(kind === 'session' ? materialization.by : [])]
  for (const name of added) {
    if (table.fields?.some((field) => field.name === name))
      local.report(
        'reserved-column',
        `column '${name}' is added by the ${kind} itself.`,
        'Leave it out of columns.',
        name,
      )
  }
  for (const input of sql.datasets) {
    if (input.kind === 'table' && input.materialization.kind === 'window' && isOverlapping(input.materialization))
      local.report(
        'overlapping-windows',
        `'${table.name}' reads '${input.name}', whose windows overlap: an event would count once for each of them.`,
        'Read what those windows are made of, or windows that do not overlap.',
      )
  }
  if (kind === 'interval' && !INTERVAL_UNITS.includes(materialization.unit))
    local.report(
      'bad-interval',
      `interval is '${String(materialization.unit)}'.`,
      `${didYouMean(String(materialization.unit), INTERVAL_UNITS)} A length is written with its number: '10 seconds'.`,
    )
  if (kind === 'window') checkSliding(materialization, local)
  if (kind === 'session') checkSession(table, materialization, local)
  if (table.acceptLate !== undefined) duration(table.acceptLate, 'acceptLate', local)
  for (const { dataset, reach } of sql.withins) {
    const what = `within(${dataset.name})`
    if (timeColumn(dataset) === undefined)
      local.report(
        'bad-within',
        `${what} reads around a window, but '${dataset.name}' has no time.`,
        'Read it as it is.',
      )
    const before = reach.before === 'always' ? 1 : duration(reach.before, `${what}.before`, local)
    const after = duration(reach.after, `${what}.after`, local)
    if (before === 0 && after === 0)
      local.report(
        'bad-within',
        `${what} has no bound of time.`,
        "Say how far: { before: '1 minute', after: '1 hour' }.",
      )
  }
}

/** What is wrong with the column of an event time. */
export function checkTime(time: string, fields: readonly Field[], local: Local): void {
  if (!local.column(time, fields, 'time')) return
  const { type, nullable } = fields.find(({ name }) => name === time)!
  if (type.kind !== 'timestamp' && type.kind !== 'date')
    local.report('bad-time', `time column '${time}' is ${type.kind}.`, 'Declare it as t.timestamp() or t.date().', time)
  if (nullable)
    local.report(
      'bad-time',
      `time column '${time}' is nullable.`,
      'Remove .nullable(): a row without a time goes to quarantine.',
      time,
    )
}

function isOverlapping({ size, every }: { size: string; every: string }): boolean {
  return (parseDuration(size) ?? 0) > (parseDuration(every) ?? 0)
}

function checkSliding({ size, every }: { size: string; every: string }, local: Local): void {
  const sizeMs = duration(size, 'window.size', local)
  const everyMs = every === size ? sizeMs : duration(every, 'window.every', local)
  if (sizeMs === undefined || everyMs === undefined) return
  for (const [name, text, ms] of [
    ['size', size, sizeMs],
    ['every', every, everyMs],
  ] as const) {
    if (ms < WINDOW_MIN_MS || ms % 1_000 !== 0) {
      local.report('bad-window', `a window's ${name} is ${text}.`, 'Use whole seconds, at least one.')
      return
    }
  }
  if (everyMs > sizeMs)
    local.report(
      'bad-window',
      `windows of ${size} every ${every} leave gaps: events between them would be in none.`,
      'Make every at most as long as size.',
    )
  if (sizeMs / everyMs > OVERLAP_MAX)
    local.report(
      'bad-window',
      `windows of ${size} every ${every} put each event into ${Math.ceil(sizeMs / everyMs)} windows, over ${OVERLAP_MAX}.`,
      'Make every longer.',
    )
}

function checkSession(table: Table, { gap, by }: { gap: string; by: readonly string[] }, local: Local): void {
  const gapMs = duration(gap, 'window.gap', local)
  if (gapMs !== undefined && gapMs < 1)
    local.report('bad-window', `a session's gap is ${gap}.`, 'Make it at least one millisecond.')
  if (by.length === 0)
    local.report(
      'no-key',
      'a session has no key.',
      "Say whose sessions they are: window: { gap: '30 minutes', by: 'user_id' }.",
    )
  const timed = table.sql.datasets.filter((input) => timeColumn(input) !== undefined)
  if (timed.length > 1 || table.sql.withins.length > 0) {
    local.report(
      'bad-window',
      `sessions are of one dataset's events, but '${table.name}' reads ${timed.map(({ name }) => `'${name}'`).join(' and ')}.`,
      'Make sessions of one, and join their result in another table.',
    )
    return
  }
  const [input] = timed
  if (!input?.fields) return
  const names = [...windowFields(input), ...input.fields].map((field) => field.name)
  for (const name of by) {
    if (!names.includes(name))
      local.report(
        'unknown-column',
        `window.by names column '${name}', which ${input.kind} '${input.name}' does not have.`,
        didYouMean(name, names),
        name,
      )
  }
}

function duration(text: string, what: string, local: Local): number | undefined {
  const ms = parseDuration(text)
  if (ms === undefined)
    local.report(
      'bad-duration',
      `${what}: '${text}' is not a duration.`,
      "Write a number and a unit, such as '10 minutes'.",
    )
  return ms
}

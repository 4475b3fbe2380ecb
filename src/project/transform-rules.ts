import { parseDuration } from '../base/duration.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Local } from './check-rules.ts'
import { timeColumn } from './event-time.ts'
import type { Table } from './table.ts'
import type { CallOptions, Transform } from './transform.ts'
import { checkTime } from './window-rules.ts'

const BATCH_MAX = 100_000
const EMIT_MAX = 10_000_000
const CONCURRENCY_MAX = 1_024
const ATTEMPTS_MAX = 100
const ENTRIES_MAX = 10_000_000

/** What is wrong with a table's functions and the options they run by. */
export function checkTransform(table: Table, transform: Transform, local: Local): void {
  const { call, functions, options } = transform
  for (const [name, value] of Object.entries(functions))
    if (typeof value !== 'function')
      local.report(
        'no-function',
        `${call} '${table.name}': ${name} is ${value === undefined ? 'missing' : `a ${typeof value}, not a function`}.`,
        `Write it beside the other options: ${EXAMPLES[name]}.`,
      )
  const shared = ['timeout', 'concurrency', 'retry', 'cache', 'breaker', 'version', 'batch']
  const known = [...shared, ...(call === 'filter' ? [] : ['emit', 'columns', 'time']), call]
  for (const name of transform.unknown)
    local.report('bad-option', `${call} '${table.name}' has no option '${name}'.`, didYouMean(name, known))
  const whole = wholeNumbers(local)
  if (transform.batch !== undefined) whole('batch', transform.batch, BATCH_MAX)
  whole('emit', transform.emit, EMIT_MAX)
  if (options.concurrency !== undefined) whole('concurrency', options.concurrency, CONCURRENCY_MAX)
  checkCalls(options, local)
  const { materialization } = table
  if (materialization.kind === 'function' && materialization.time !== undefined && call !== 'filter') {
    const { input } = transform
    checkTime(materialization.time, table.fields!, local)
    if (timeColumn(input!) === undefined)
      local.report(
        'no-time',
        `its rows have a time, but ${input!.kind} '${input!.name}' has none: nobody could tell up to when all have come.`,
        `Declare time: 'column' of '${input!.name}', or leave it out here.`,
        materialization.time,
      )
  }
  if (materialization.kind === 'function' && (materialization.span ?? 1) > Number.MAX_SAFE_INTEGER)
    local.report(
      'bad-option',
      `the flatMaps up to '${table.name}' may give ${materialization.span} rows for one record, more than can be numbered.`,
      'Lower emit to what one call really gives.',
    )
}

function checkCalls({ timeout, retry, cache, breaker }: CallOptions, local: Local): void {
  const whole = wholeNumbers(local)
  const duration = (name: string, text: string | undefined) => {
    if (text === undefined || (parseDuration(text) ?? 0) > 0) return
    local.report('bad-duration', `${name}: '${text}' is no length of time.`, "Write, for example, '10 seconds'.")
  }
  duration('timeout', timeout)
  if (retry !== undefined) {
    whole('retry.attempts', retry.attempts, ATTEMPTS_MAX)
    duration('retry.wait', retry.wait)
    checkFilter('retry.on', retry.on, local)
  }
  if (cache !== undefined) {
    if (cache.entries !== undefined) whole('cache.entries', cache.entries, ENTRIES_MAX)
    duration('cache.for', cache.for)
  }
  if (breaker !== undefined) {
    whole('breaker.failures', breaker.failures, ENTRIES_MAX)
    duration('breaker.rest', breaker.rest ?? '')
    checkFilter('breaker.on', breaker.on, local)
  }
}

function checkFilter(name: string, filter: unknown, local: Local): void {
  const isNames = Array.isArray(filter) && filter.every((item) => typeof item === 'string')
  if (filter === undefined || typeof filter === 'function' || isNames) return
  local.report(
    'bad-option',
    `${name} is neither a function nor a list of names.`,
    "Write (error) => boolean, or names of errors: ['TimeoutError'].",
  )
}

function wholeNumbers(local: Local): (name: string, value: unknown, max: number) => void {
  return (name, value, max) => {
    if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max) return
    local.report('bad-option', `${name} is ${String(value)}.`, `Use a whole number from 1 to ${max}.`)
  }
}

const EXAMPLES: Readonly<Record<string, string>> = {
  map: 'map: (row) => ({ … })',
  flatMap: 'flatMap: (row) => [ … ]',
  filter: 'filter: (row) => boolean',
  reduce: 'reduce: (key, values) => ({ … })',
  combine: 'combine: (key, values) => value',
}

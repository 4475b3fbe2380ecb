import { formatMs } from '../../base/duration.ts'
import { act } from '../act.ts'
import {
  JSON_OPTION,
  PROJECT_OPTIONS,
  TARGET_OPTION,
  WAIT_OPTION,
  command,
  moment,
  usageError,
  waitOf,
} from '../command.ts'
import type { RunReport } from '../verbs/run.ts'
import type { Output } from '../effects.ts'
import { homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { type Cell, grouped, textTable, visible } from '../text-table.ts'

export default command({
  summary: 'Load files, process what was received and refresh tables, once.',
  usage: '[options]',
  details: `Brings in new and changed files of all sources, takes every acknowledged record through the checks into the lake, and
refreshes the tables that this makes due, and calls the handlers of what was published. What has not changed costs nothing.
Beside a running server the server does it; on a target the processes that run hand over all work meanwhile. Exit code 1 when a file, a table, a blocking check or a handler fails, with the
reason.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...WAIT_OPTION,
    table: {
      type: 'string',
      value: 'NAME',
      multiple: true,
      doc: 'Recompute this table though it is not due; may be repeated.',
    },
    from: {
      type: 'string',
      value: 'TIME',
      doc: 'Recompute intervals from this one on, of --table or of all interval tables.',
    },
    to: { type: 'string', value: 'TIME', doc: 'Recompute intervals that start before.' },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 0 },
  examples: [
    'millrace run --project examples/shop',
    'millrace run --table daily_revenue --from 2010-12-01 --to 2010-12-08',
    'millrace run --target prod',
  ],
  async run(options, effects) {
    const fromMs = options.from === undefined ? undefined : moment('from', options.from)
    const toMs = options.to === undefined ? undefined : moment('to', options.to)
    if (fromMs !== undefined && toMs !== undefined && fromMs >= toMs)
      throw usageError(
        `--from ${options.from} is not before --to ${options.to}.`,
        'The range is from (inclusive) to (exclusive).',
      )
    const input = {
      ...(options.table.length === 0 ? {} : { tables: options.table }),
      ...(fromMs === undefined ? {} : { fromMs }),
      ...(toMs === undefined ? {} : { toMs }),
    }
    const progress = progressView(effects, options.json)
    const home = homeOf(options, effects)
    const report = await act('run', input, { home, json: options.json, progress, ...waitOf(options) }, effects)
    const failures = failuresOf(report, effects.out)
    if (options.json) effects.out.write(`${JSON.stringify({ ok: failures.length === 0, ...report })}\n`)
    else effects.out.write(`${reportText(report, failures, effects.out)}\n`)
    return failures.length === 0 ? 0 : 1
  },
})

function reportText({ streams, tables, handlers, ms }: RunReport, failures: readonly string[], out: Output): string {
  const parts: string[] = []
  if (streams.length > 0) parts.push(streamsTable(streams, out))
  if (tables.length > 0) parts.push(tablesTable(tables, out))
  if (handlers.length > 0) parts.push(handlersTable(handlers, out))
  const notes = [...notesOf(streams, tables, out), ...failures]
  if (notes.length > 0) parts.push(notes.join('\n'))
  parts.push(`${failures.length === 0 ? out.style('green', 'done') : out.style('red', 'failed')} in ${formatMs(ms)}`)
  return parts.join('\n\n')
}

/** received = accepted + duplicates + quarantined, for this run and since the beginning. */
function streamsTable(streams: RunReport['streams'], out: Output): string {
  const number = (value: number): Cell => (value === 0 ? { text: '0', style: 'dim' } : grouped(value))
  return textTable(
    [
      { title: 'stream' },
      { title: 'files', align: 'right' },
      ...['received', 'accepted', 'duplicates', 'quarantined', 'in all'].map((title) => ({
        title,
        align: 'right' as const,
      })),
    ],
    streams.map(({ name, received, accepted, duplicates, quarantined, total, files }) => [
      { text: name, style: 'cyan' },
      files === undefined ? '' : filesText(files),
      number(received),
      number(accepted),
      number(duplicates),
      quarantined === 0 ? number(0) : { text: grouped(quarantined), style: 'yellow' },
      number(total.received),
    ]),
    out,
  )
}

function filesText(files: NonNullable<RunReport['streams'][number]['files']>): string {
  const loaded = files.loaded.length + files.changed.length
  return files.changed.length === 0
    ? `${loaded} of ${loaded + files.unchanged + files.failed.length}`
    : `${loaded} (${files.changed.length} changed)`
}

function tablesTable(tables: RunReport['tables'], out: Output): string {
  const styles = {
    refreshed: 'green',
    unchanged: 'dim',
    empty: 'dim',
    blocked: 'yellow',
    held: 'yellow',
    failed: 'red',
  } as const
  return textTable(
    [{ title: 'table' }, { title: 'result' }, { title: 'rows', align: 'right' }],
    tables.map(({ name, outcome, rows }) => [name, { text: outcome, style: styles[outcome] }, grouped(rows)]),
    out,
  )
}

function handlersTable(handlers: RunReport['handlers'], out: Output): string {
  return textTable(
    [{ title: 'handler' }, { title: 'follows' }, { title: 'result' }, { title: 'rows', align: 'right' }],
    handlers.map(({ name, dataset, state, rows }) => [
      name,
      dataset,
      { text: state, style: state === 'ok' ? 'green' : 'red' },
      grouped(rows),
    ]),
    out,
  )
}

function notesOf(streams: RunReport['streams'], tables: RunReport['tables'], out: Output): string[] {
  const note = (text: string) => `${out.style('yellow', 'note')} ${visible(text)}`
  return [
    ...streams.flatMap(({ name, files, quarantined }) => [
      ...(files?.unmatched ?? []).map((path) => note(`${name}: no file matches ${path}.`)),
      ...(files?.removed ?? []).map((file) => note(`${name}: ${file} is gone; its records stay.`)),
      ...(quarantined > 0
        ? [note(`${name}: ${grouped(quarantined)} refused; \`millrace quarantine list\` says why.`)]
        : []),
    ]),
    ...tables.flatMap(({ name, failedChecks }) =>
      failedChecks
        .filter(({ severity }) => severity === 'warn')
        .map(({ check, message }) => note(`${name}: check ${check}: ${message}`)),
    ),
  ]
}

function failuresOf({ streams, tables, handlers }: RunReport, out: Output): string[] {
  const failed = (text: string) => `${out.style('red', 'failed')} ${visible(text)}`
  return [
    ...streams.flatMap(({ name, state, reason, files }) => [
      ...(files?.failed ?? []).map(({ file, message, hint }) =>
        failed(
          `${name}: ${message.startsWith(file) ? '' : `${file}: `}${message}${hint === undefined ? '' : ` ${hint}`}`,
        ),
      ),
      ...(state === 'failed' || state === 'blocked' ? [failed(`${name} is ${state}: ${reason ?? ''}`)] : []),
    ]),
    ...tables.flatMap(({ name, outcome, reason }) =>
      outcome === 'failed' || outcome === 'blocked' || outcome === 'held'
        ? [failed(`${name} is ${outcome}: ${reason ?? ''}`)]
        : [],
    ),
    ...handlers.flatMap(({ reason }) => (reason === undefined ? [] : [failed(reason)])),
  ]
}

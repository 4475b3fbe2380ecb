import { formatMs } from '../base/duration.ts'
import type { RunStatus } from '../project/status.ts'
import type { Run } from '../state/runs.ts'
import type { Output, Style } from './effects.ts'
import { grouped, textTable, visible } from './text-table.ts'

/** A run as it is told. */
export function runStatus({ id, kind, dataset, holder, startedMs, endedMs, outcome, counts, error }: Run): RunStatus {
  return {
    id,
    kind,
    ...(dataset === undefined ? {} : { dataset }),
    holder,
    started_at: new Date(startedMs).toISOString(),
    ended_at: endedMs === undefined ? null : new Date(endedMs).toISOString(),
    outcome: outcome ?? null,
    ...(counts === undefined ? {} : { counts }),
    ...(error === undefined ? {} : { error: errorOf(error) }),
  }
}

function errorOf({ code, message, hint }: NonNullable<Run['error']>): NonNullable<RunStatus['error']> {
  return { code, message, ...(hint === undefined ? {} : { hint }) }
}

const STYLES: Readonly<Record<string, Style>> = { succeeded: 'green', failed: 'red', stopped: 'yellow' }

/** Runs as a table, with the reasons of those that failed below it. */
export function runsTable(runs: readonly RunStatus[], out: Output): string {
  if (runs.length === 0)
    return 'No run is known here: a server remembers its own, and a target with a state keeps those of a month.'
  const table = textTable(
    [
      { title: 'began' },
      { title: 'dataset' },
      { title: 'outcome' },
      ...['took', 'rows', 'added', 'removed'].map((title) => ({ title, align: 'right' as const })),
      { title: 'process' },
    ],
    runs.map(({ started_at: began, ended_at: ended, dataset = '', outcome, counts, holder }) => [
      began.replace('T', ' ').replace(/(\.\d+)?Z$/, ''),
      { text: dataset, style: 'cyan' as const },
      { text: outcome ?? 'not ended', style: STYLES[outcome ?? ''] ?? 'dim' },
      ended === null ? '' : formatMs(Date.parse(ended) - Date.parse(began)),
      ...['rows', 'added', 'removed'].map((name) => (counts?.[name] === undefined ? '' : grouped(counts[name]))),
      holder,
    ]),
    out,
  )
  const reasons = runs.flatMap(({ dataset = '', error }) =>
    error === undefined ? [] : [`${out.style('red', 'failed')} ${dataset}: ${visible(error.message)}`],
  )
  return [table, ...(reasons.length === 0 ? [] : ['', ...new Set(reasons)])].join('\n')
}

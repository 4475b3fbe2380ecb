import { formatMs } from '../base/duration.ts'
import type { DatasetStatus } from '../project/status.ts'
import type { Output, Style } from './effects.ts'
import { nearby } from './report-error.ts'
import { type Cell, grouped, textTable, visible } from './text-table.ts'

const STATE_STYLES: Readonly<Record<DatasetStatus['state'], Style>> = {
  ok: 'green',
  empty: 'dim',
  held: 'yellow',
  blocked: 'yellow',
  failed: 'red',
}

/** The state of datasets as a table, with the reasons of those that are not well below it. */
export function statusTable(datasets: readonly DatasetStatus[], out: Output): string {
  const number = (value: number): Cell => (value === 0 ? { text: '0', style: 'dim' } : grouped(value))
  const table = textTable(
    [
      { title: 'dataset' },
      { title: 'kind' },
      { title: 'state' },
      ...['rows', 'received', 'accepted', 'duplicates', 'quarantined', 'lag', 'age'].map((title) => ({
        title,
        align: 'right' as const,
      })),
    ],
    datasets.map((status) => {
      const { state, name, kind, rows, received, accepted, duplicates, quarantined, lag, freshness_ms: age } = status
      return [
        name,
        kind,
        { text: state, style: STATE_STYLES[state] },
        number(rows),
        ...(status.refuses
          ? [
              number(received),
              number(accepted),
              number(duplicates),
              quarantined === 0 ? number(0) : { text: grouped(quarantined), style: 'yellow' as const },
            ]
          : ['', '', '', '']),
        lag === null ? '' : number(lag),
        age === null ? { text: '–', style: 'dim' as const } : formatMs(age),
      ]
    }),
    out,
  )
  const reasons = datasets.flatMap(({ name, state, reason }) =>
    reason === undefined ? [] : [`${out.style(STATE_STYLES[state], state)} ${name}: ${visible(reason)}`],
  )
  const handlers = handlersTable(datasets, out)
  return [table, ...(reasons.length === 0 ? [] : ['', ...reasons]), ...handlers].join('\n')
}

/** The handlers, with what went wrong with them below. */
function handlersTable(datasets: readonly DatasetStatus[], out: Output): string[] {
  const handlers = datasets.flatMap(({ name, handlers: own = [] }) =>
    own.map((handler) => ({ ...handler, dataset: name })),
  )
  if (handlers.length === 0) return []
  const table = textTable(
    [
      { title: 'handler' },
      { title: 'follows' },
      { title: 'state' },
      { title: 'lag', align: 'right' },
      { title: 'failures', align: 'right' },
    ],
    handlers.map(({ name, dataset, state, lag, failures }) => [
      name,
      dataset,
      { text: state, style: STATE_STYLES[state] },
      grouped(lag),
      grouped(failures),
    ]),
    out,
  )
  const errors = handlers.flatMap(({ last_error: error }) =>
    error === undefined ? [] : [`${out.style('red', 'failed')} ${visible(error)}`],
  )
  return ['', table, ...(errors.length === 0 ? [] : ['', ...errors])]
}

/** A change of state as one line. */
export function stateLine(
  { dataset, state, reason }: { readonly dataset: string; readonly state: string; readonly reason?: string },
  out: Output,
  cwd: string,
): string {
  const style = state === 'ok' ? 'green' : state === 'blocked' ? 'yellow' : 'red'
  return `${out.style(style, state)} ${dataset}: ${reason === undefined ? 'again' : visible(nearby(reason, cwd))}`
}

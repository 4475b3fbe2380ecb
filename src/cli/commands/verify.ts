import { act } from '../act.ts'
import { JSON_OPTION, PROJECT_OPTIONS, command } from '../command.ts'
import type { ResultOf } from '../control.ts'
import type { Output } from '../effects.ts'
import { homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { grouped, textTable, visible } from '../text-table.ts'

export default command({
  summary: 'Recompute datasets from scratch and compare with what is published, row by row.',
  usage: '[DATASET …] [options]',
  details: `A stream is computed from its raw log as one batch, a table from what its inputs publish. Changes nothing. Without names
all datasets are verified. Exit code 1 when a row differs.`,
  options: { ...PROJECT_OPTIONS, ...JSON_OPTION },
  arguments: { min: 0, max: Infinity },
  examples: ['millrace verify', 'millrace verify orders daily_revenue --json'],
  async run(options, effects) {
    const progress = progressView(effects, options.json)
    const home = homeOf(options, effects)
    const found = await act('verify', { datasets: options.args }, { home, json: options.json, progress }, effects)
    effects.out.write(`${options.json ? JSON.stringify({ datasets: found }) : verifyText(found, effects.out)}\n`)
    return found.every(({ equal }) => equal) ? 0 : 1
  },
})

function verifyText(found: ResultOf<'verify'>, out: Output): string {
  const table = textTable(
    [
      { title: 'dataset' },
      { title: 'result' },
      ...['published', 'recomputed', 'missing', 'extra'].map((title) => ({ title, align: 'right' as const })),
    ],
    found.map(({ dataset, equal, published, recomputed, missing, extra }) => [
      dataset,
      equal ? { text: 'equal', style: 'green' } : { text: 'differs', style: 'red' },
      grouped(published),
      grouped(recomputed),
      grouped(missing),
      grouped(extra),
    ]),
    out,
  )
  const notes = found.flatMap(({ dataset, note }) =>
    note === undefined ? [] : [`${out.style('yellow', 'note')} ${dataset}: ${note}.`],
  )
  const examples = found.flatMap(({ dataset, examples: rows }) =>
    rows.map(
      ({ side, row }) =>
        `${out.style('red', side === 'missing' ? '- missing' : '+ extra  ')} ${dataset} ${visible(row)}`,
    ),
  )
  return [
    table,
    ...(notes.length === 0 ? [] : ['', ...notes]),
    ...(examples.length === 0 ? [] : ['', ...examples]),
  ].join('\n')
}

import { act } from '../act.ts'
import { JSON_OPTION, PROJECT_OPTIONS, TARGET_OPTION, command, usageError } from '../command.ts'
import type { ResultOf } from '../control.ts'
import type { Output } from '../effects.ts'
import { ENGINES_OPTION, enginesOf } from '../engines.ts'
import { homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { grouped, textTable, visible } from '../text-table.ts'

export default command({
  summary: 'Recompute datasets from scratch and compare with what is published, row by row.',
  usage: '[DATASET …] [options]',
  details: `A stream is computed from its raw log as one batch, a table from what its inputs publish. Changes nothing. Without names
all datasets are verified. With --engines duckdb,spark each table is computed by both engines instead, and their rows are
compared; that needs a target whose engine is Spark. Exit code 1 when a row differs.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...ENGINES_OPTION,
    sample: { type: 'boolean', doc: 'With --engines: read a tenth of the files of each input.' },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: Infinity },
  examples: [
    'millrace verify',
    'millrace verify orders daily_revenue --json',
    'millrace verify orders --target prod',
    'millrace verify --engines duckdb,spark --target prod --sample',
  ],
  async run(options, effects) {
    const progress = progressView(effects, options.json)
    const home = homeOf(options, effects)
    const engines = enginesOf(options.engines)
    if (engines.length === 1 || (options.sample && engines.length === 0))
      throw usageError('There are two engines to compare.', 'Write --engines duckdb,spark.')
    if (engines.length > 1) {
      const input = { datasets: options.args, sample: options.sample }
      const compared = await act('verify-engines', input, { home, json: options.json, progress }, effects)
      effects.out.write(
        `${options.json ? JSON.stringify({ datasets: compared }) : enginesText(compared, effects.out)}\n`,
      )
      return compared.every(({ equal }) => equal) ? 0 : 1
    }
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

function enginesText(found: ResultOf<'verify-engines'>, out: Output): string {
  const engines = found[0]?.rows.map(({ engine }) => engine) ?? []
  const table = textTable(
    [
      { title: 'dataset' },
      { title: 'result' },
      ...[...engines, 'different'].map((title) => ({ title, align: 'right' as const })),
    ],
    found.map(({ dataset, equal, rows, different }) => [
      dataset,
      equal ? { text: 'equal', style: 'green' } : { text: 'differs', style: 'red' },
      ...rows.map(({ count }) => grouped(count)),
      grouped(different),
    ]),
    out,
  )
  const text = (values: Readonly<Record<string, string | null>>) =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${value === null ? 'null' : visible(value)}`)
      .join(', ')
  const examples = found.flatMap(({ dataset, examples: rows }) =>
    rows.map(({ row, only, columns }) =>
      only === undefined
        ? `${out.style('red', '≠')} ${dataset} (${text(row)}): ${columns.map(({ name, values }) => `${name}: ${text(values)}`).join('; ')}`
        : `${out.style('red', `only ${only}`)} ${dataset} (${text(row)})`,
    ),
  )
  return [table, ...(examples.length === 0 ? [] : ['', ...examples])].join('\n')
}

import { act } from '../act.ts'
import {
  JSON_OPTION,
  PROJECT_OPTIONS,
  TARGET_OPTION,
  WAIT_OPTION,
  command,
  duration,
  waitOf,
  wholeNumber,
} from '../command.ts'
import type { ResultOf } from '../control.ts'
import type { Output } from '../effects.ts'
import { homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { type Cell, grouped, textTable } from '../text-table.ts'

export default command({
  summary: 'Compact small files, expire old snapshots, delete what nothing refers to.',
  usage: '[options]',
  details: `Changes no row. Snapshots younger than lake.snapshotAge stay, and those that a table still has to compare with. The log's
small files are merged into compressed ones, and its oldest removed where a stream declares a retention. On a target the processes
that run hand over the tables meanwhile.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...WAIT_OPTION,
    'min-files': { type: 'string', value: 'N', doc: 'Compact where at least so many files are small. Default: 4.' },
    orphans: {
      type: 'string',
      value: 'AGE',
      doc: "Delete files no snapshot refers to when they are older. Default: '1 day'.",
    },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 0 },
  examples: [
    'millrace maintain',
    "millrace maintain --min-files 2 --orphans '1 hour'",
    'millrace maintain --target prod',
  ],
  async run(options, effects) {
    const minFiles = wholeNumber('min-files', options['min-files'] ?? '4', 2, 1_000_000)
    const orphanAgeMs = duration('orphans', options.orphans ?? '1 day')
    const progress = progressView(effects, options.json)
    const home = homeOf(options, effects)
    const how = { home, json: options.json, progress, ...waitOf(options) }
    const reports = await act('maintain', { minFiles, orphanAgeMs }, how, effects)
    effects.out.write(`${options.json ? JSON.stringify({ tables: reports }) : maintainText(reports, effects.out)}\n`)
    return 0
  },
})

function maintainText(reports: ResultOf<'maintain'>, out: Output): string {
  const number = (value: number): Cell => (value === 0 ? { text: '0', style: 'dim' } : grouped(value))
  return textTable(
    [
      { title: 'table' },
      ...['files compacted', 'into', 'snapshots expired', 'files deleted', 'log files merged'].map((title) => ({
        title,
        align: 'right' as const,
      })),
    ],
    reports.map(({ table, compacted, into, expiredSnapshots, deletedFiles, mergedSegments }) => [
      table,
      number(compacted),
      number(into),
      number(expiredSnapshots),
      number(deletedFiles),
      number(mergedSegments),
    ]),
    out,
  )
}

import { didYouMean } from '../../base/suggest.ts'
import { act } from '../act.ts'
import {
  JSON_OPTION,
  PROJECT_OPTIONS,
  TARGET_OPTION,
  WAIT_OPTION,
  command,
  usageError,
  waitOf,
  wholeNumber,
} from '../command.ts'
import type { Effects, Output } from '../effects.ts'
import { type Home, homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { type Refused, type RefusedGroup, listQuarantine, showQuarantine } from '../quarantine.ts'
import { openReader } from '../reader.ts'
import { replayText } from '../replay-text.ts'
import { grouped, textTable, visible } from '../text-table.ts'

const ACTIONS = ['list', 'show', 'replay']

export default command({
  summary: 'List, show or replay the records that streams and functions have refused.',
  usage: 'list | show DATASET | replay DATASET  [options]',
  details: `A record that does not fit its stream's columns or row checks goes to quarantine, with its bytes as received, the rule and
the reason. list counts them by stream and rule, show prints them with file and line, replay takes them through the present
code again: those that pass leave quarantine and join the stream, and none can arrive twice. Correct the declaration first.
A row that a table's function fails for goes to the quarantine of that table, and is replayed through the function.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...WAIT_OPTION,
    rule: { type: 'string', value: 'RULE', doc: 'show, replay: only records refused for this rule, as list names it.' },
    limit: { type: 'string', value: 'N', doc: 'show: at most so many records, newest first. Default: 20.' },
    ...JSON_OPTION,
  },
  arguments: { min: 1, max: 2 },
  examples: [
    'millrace quarantine list',
    'millrace quarantine show orders --rule priced --limit 5',
    'millrace quarantine replay orders',
    'millrace quarantine replay orders --target prod',
  ],
  async run(options, effects) {
    const [action, stream] = options.args
    const home = homeOf(options, effects)
    if (!ACTIONS.includes(action!))
      throw usageError(`There is no 'millrace quarantine ${action}'.`, didYouMean(action!, ACTIONS))
    if (action !== 'list' && stream === undefined)
      throw usageError(`millrace quarantine ${action} needs a dataset.`, `Usage: millrace quarantine ${action} DATASET`)
    if (action !== 'show' && options.limit !== undefined)
      throw usageError(`millrace quarantine ${action} takes no --limit.`, 'Only show does.')
    if (action !== 'replay' && options.wait !== undefined)
      throw usageError(`millrace quarantine ${action} takes no --wait.`, 'It only reads, and waits for nobody.')
    if (action === 'list' && options.rule !== undefined)
      throw usageError('millrace quarantine list takes no --rule.', 'It counts the records of every rule.')
    if (action === 'replay') return replay(home, stream!, options, effects)
    const limit = wholeNumber('limit', options.limit ?? '20', 1, 100_000)
    const reader = await openReader(home, effects)
    try {
      if (action === 'list') {
        const groups = await listQuarantine(reader, stream)
        effects.out.write(`${options.json ? JSON.stringify({ quarantine: groups }) : listText(groups, effects.out)}\n`)
      } else {
        const records = await showQuarantine(reader, stream!, { rule: options.rule, limit })
        effects.out.write(`${options.json ? JSON.stringify({ stream, records }) : showText(records, effects.out)}\n`)
      }
      return 0
    } finally {
      await reader.close()
    }
  },
})

async function replay(
  home: Home,
  stream: string,
  options: { rule: string | undefined; wait: string | undefined; json: boolean },
  effects: Effects,
): Promise<number> {
  const progress = progressView(effects, options.json)
  const input = { stream, ...(options.rule === undefined ? {} : { rule: options.rule }) }
  const how = { home, json: options.json, progress, ...waitOf(options) }
  const report = await act('quarantine-replay', input, how, effects)
  effects.out.write(`${options.json ? JSON.stringify(report) : replayText(report, effects.out)}\n`)
  return 0
}

function listText(groups: readonly RefusedGroup[], out: Output): string {
  if (groups.length === 0) return 'Nothing is in quarantine.'
  return textTable(
    [
      { title: 'dataset' },
      { title: 'rule' },
      { title: 'records', align: 'right' },
      { title: 'newest' },
      { title: 'reason of the newest' },
    ],
    groups.map(({ stream, rule, records, newest, reason }) => [
      { text: stream, style: 'cyan' },
      rule,
      { text: grouped(records), style: 'yellow' },
      newest.replace('T', ' ').replace(/(\.\d+)?Z$/, ''),
      reason,
    ]),
    out,
  )
}

function showText(records: readonly Refused[], out: Output): string {
  if (records.length === 0) return 'Nothing of that is in quarantine.'
  return records
    .map(({ rule, reason, raw, file, line, received_at, _partition, _offset }) => {
      const origin =
        file === null ? `partition ${_partition}, offset ${_offset}` : `${file}${line === null ? '' : `:${line}`}`
      return [
        `${out.style('yellow', visible(rule))}  ${reason.split('\n').map(visible).join('\n  ')}`,
        `  ${out.style('dim', `${visible(origin)} · ${received_at}`)}`,
        `  ${raw === null ? out.style('dim', 'its bytes were not kept') : visible(raw)}`,
      ].join('\n')
    })
    .join('\n\n')
}

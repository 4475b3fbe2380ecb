import type { ReplayReport } from './verbs/replay.ts'
import type { Output } from './effects.ts'
import { grouped, textTable } from './text-table.ts'

/** What a replay changed: counts before and after. */
export function replayText({ stream, records, before, after, withheld }: ReplayReport, out: Output): string {
  const names = ['received', 'accepted', 'duplicates', 'quarantined'] as const
  const change = (name: (typeof names)[number]) => {
    const difference = after[name] - before[name]
    return difference === 0
      ? { text: '0', style: 'dim' as const }
      : { text: `${difference > 0 ? '+' : '−'}${grouped(Math.abs(difference))}`, style: 'yellow' as const }
  }
  const table = textTable(
    [{ title: stream }, ...names.map((title) => ({ title, align: 'right' as const }))],
    [
      ['before', ...names.map((name) => grouped(before[name]))],
      ['after', ...names.map((name) => grouped(after[name]))],
      [{ text: 'change', style: 'dim' }, ...names.map(change)],
    ],
    out,
  )
  const said = `${grouped(records)} ${records === 1 ? 'record' : 'records'} processed again.`
  return [
    table,
    '',
    withheld === 0 ? said : `${said} ${grouped(withheld)} could not be: their bytes were not kept.`,
  ].join('\n')
}

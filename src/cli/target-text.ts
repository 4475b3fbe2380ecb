import type { Output } from './effects.ts'
import type { TargetPlan } from './plan-target.ts'
import { textTable } from './text-table.ts'

/** The plan for people: what would be done, and what should be known. */
export function targetText({ target, steps }: TargetPlan, out: Output): string {
  const due = steps.filter(({ action }) => action !== 'none').length
  const table = textTable(
    [{ title: 'part' }, { title: 'what' }, { title: 'to be done' }],
    steps.map(({ part, what, action }) => [
      part,
      { text: what, style: 'cyan' as const },
      {
        text: action === 'none' ? 'nothing' : action,
        style: action === 'none' ? ('dim' as const) : ('yellow' as const),
      },
    ]),
    out,
  )
  const notes = steps.flatMap((step) => step.notes.map((note) => `${out.style('yellow', 'note')} ${note}`))
  const said = due === 0 ? 'all is there' : `starting does what follows, and nothing is done now`
  return [
    `${out.style('bold', `target ${target}`)}: ${said}.`,
    '',
    table,
    ...(notes.length === 0 ? [] : ['', ...notes]),
  ].join('\n')
}

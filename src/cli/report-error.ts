import { relative } from 'node:path'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { USAGE } from './command.ts'
import type { Effects } from './effects.ts'

/** Everything wrong with a project, to be shown at once. */
export class ProjectProblems extends MillraceError {
  readonly problems: readonly MillraceError[]

  constructor(directory: string, problems: readonly MillraceError[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
    super('invalid', 'bad-project', `The project in ${directory} has ${count}.`, {
      hint: 'Correct the files named; `millrace plan` checks them again.',
    })
    this.problems = problems
  }
}

export function exitCodeOf(error: unknown): number {
  return error instanceof MillraceError && error.code === USAGE ? 2 : 1
}

/** Tells what went wrong, where, and what to do: for people, or as one line of JSON. */
export function reportError(error: unknown, effects: Effects, json: boolean): void {
  const known = asMillraceError(error)
  if (json) {
    const { err } = effects
    const problems = known instanceof ProjectProblems ? { problems: known.problems } : {}
    err.write(`${JSON.stringify({ error: { ...known.toJSON(), ...problems } })}\n`)
    return
  }
  if (known instanceof ProjectProblems) {
    const texts = known.problems.map((problem) => errorText(problem, effects))
    const count = known.problems.length === 1 ? '' : `\n${known.problems.length} problems\n`
    effects.err.write(`${texts.join('\n')}${count}`)
    return
  }
  effects.err.write(errorText(known, effects))
}

/** An error as a few lines, the last one ended. */
export function errorText(error: MillraceError, { err, env, cwd }: Effects): string {
  const label = (text: string) => `  ${err.style('dim', text.padEnd(5))} `
  const { file, line } = error.context
  // The place has a line of its own.
  const message = nearby(error.message.replace(` (${file}:${line})`, ''), cwd)
  const lines = [`${err.style(['red', 'bold'], 'error:')} ${message}`]
  if (typeof file === 'string')
    lines.push(`${label('where')}${nearby(file, cwd)}${line === undefined ? '' : `:${line}`}`)
  if (error.hint !== undefined) lines.push(`${label('hint')}${nearby(error.hint, cwd)}`)
  if (error.kind === 'internal')
    lines.push(
      `${label('note')}This looks like a bug in Millrace (${error.code}); please report it. MILLRACE_DEBUG=1 shows where it happened.`,
    )
  if (env['MILLRACE_DEBUG'] === '1') lines.push(stacks(error))
  return `${lines.join('\n')}\n`
}

/** Paths below the working directory as people would type them. */
export function nearby(text: string, cwd: string): string {
  return text.replaceAll(`${cwd}/`, '')
}

export function nearPath(path: string, cwd: string): string {
  const near = relative(cwd, path)
  return near === '' ? '.' : near.startsWith('../..') ? path : near
}

function stacks(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? (error.stack ?? '') : `${error.stack}\ncaused by ${stacks(error.cause)}`
}

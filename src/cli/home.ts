import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import type { Effects } from './effects.ts'

/** Where a project and its data are. Absolute paths. */
export interface Home {
  readonly project: string
  readonly data: string
  /** Name of the target that the project runs on; this machine alone without. */
  readonly target?: string
}

/** Errors: `invalid`/`not-a-directory`. */
export function homeOf(
  options: {
    readonly project?: string | undefined
    readonly data?: string | undefined
    readonly target?: string | undefined
  },
  { cwd }: Effects,
): Home {
  const project = resolve(cwd, options.project ?? '.')
  const { target } = options
  const own = target === undefined ? '.millrace' : `.millrace/${target}`
  const data = options.data === undefined ? join(project, own) : resolve(cwd, options.data)
  if (statSync(data, { throwIfNoEntry: false })?.isDirectory() === false)
    throw new MillraceError('invalid', 'not-a-directory', `The data directory ${data} is no directory.`, {
      hint: 'Name a directory, which may be new (--data).',
      context: { path: data },
    })
  return { project, data, ...(target === undefined ? {} : { target }) }
}

import { join, resolve } from 'node:path'
import type { Effects } from './effects.ts'

/** Where a project and its data are. Absolute paths. */
export interface Home {
  readonly project: string
  readonly data: string
}

export function homeOf(
  options: { readonly project?: string | undefined; readonly data?: string | undefined },
  { cwd }: Effects,
): Home {
  const project = resolve(cwd, options.project ?? '.')
  return { project, data: options.data === undefined ? join(project, '.millrace') : resolve(cwd, options.data) }
}

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import type { Project } from '../project/project.ts'
import { type BoundProject, bindProject } from '../runtime/bind.ts'
import { readProject } from './load-project.ts'

export interface Plan {
  readonly project: Project
  readonly bound: BoundProject
  /** The project's own files that it is made of. */
  readonly files: readonly string[]
  /** Everything wrong with files, declarations and SQL. */
  readonly problems: readonly MillraceError[]
}

const MEMORY_BYTES = 256 * 1024 ** 2

/** Finds everything that is wrong with a project, without data. Errors: `invalid`/`no-project`. */
export async function planProject(directory: string): Promise<Plan> {
  const { project, problems, files } = await readProject(directory)
  const database = await Database.open({
    threads: 1,
    memory: MEMORY_BYTES,
    temporary: join(tmpdir(), `millrace-plan-${process.pid}`),
  })
  try {
    const bound = await bindProject(project, database)
    // bindProject starts from the project's own problems, some of which follow from files that do not load.
    const sql = bound.problems.filter((problem) => !project.problems.includes(problem))
    return { project, bound, files, problems: distinct([...problems, ...sql]) }
  } finally {
    await database.close()
  }
}

/** In the order people read files; one mistake may be found in several ways, and the first tells it best. */
function distinct(problems: readonly MillraceError[]): MillraceError[] {
  const seen = new Set<string>()
  const once = problems.filter(({ message, context }) => {
    const said = `${String(context['dataset'])}: ${message.split(': ').at(-1)}`
    return !seen.has(said) && seen.add(said)
  })
  const place = ({ context }: MillraceError) => ({
    file: String(context['file'] ?? ''),
    line: Number(context['line'] ?? 0),
  })
  return once.toSorted((a, b) => place(a).file.localeCompare(place(b).file) || place(a).line - place(b).line)
}

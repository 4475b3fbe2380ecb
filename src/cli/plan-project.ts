import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import { SPARK } from '../engine/spark/dialect.ts'
import { SparkSession } from '../engine/spark/session.ts'
import type { Project } from '../project/project.ts'
import type { EngineName } from '../project/sql.ts'
import { type BoundProject, bindProject } from '../runtime/bind.ts'
import { compareTypes, lintProject } from '../runtime/portability.ts'
import { readProject } from './load-project.ts'

export interface Plan {
  readonly project: Project
  readonly bound: BoundProject
  /** The project's own files that it is made of. */
  readonly files: readonly string[]
  /** Everything wrong with files, declarations and SQL. */
  readonly problems: readonly MillraceError[]
}

export interface PlanOptions {
  /** Engines that are to give the same rows, beside those of the project's targets; Spark, when named, is asked itself. */
  readonly engines?: readonly EngineName[]
}

const MEMORY_BYTES = 256 * 1024 ** 2

/** Finds everything that is wrong with a project, without data. Errors: `invalid`/`no-project`. */
export async function planProject(directory: string, { engines = [] }: PlanOptions = {}): Promise<Plan> {
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
    const portability = await portabilityOf(bound, database, engines)
    return { project, bound, files, problems: distinct([...problems, ...sql, ...portability]) }
  } finally {
    await database.close()
  }
}

/**
 * What of the project's SQL does not mean the same to Spark: where it runs on Spark, or is to. Errors: those of a Spark that
 * was asked for and cannot be reached.
 */
async function portabilityOf(
  bound: BoundProject,
  database: Database,
  engines: readonly EngineName[],
): Promise<MillraceError[]> {
  const spark = Object.values(bound.project.config.targets ?? {}).find(({ engine }) => engine?.kind === 'spark')?.engine
  const isAsked = engines.includes('spark')
  if (bound.problems.length > 0 || (!isAsked && !spark)) return []
  const found = await lintProject(bound, database)
  if (!isAsked || !spark) return found
  const session = await SparkSession.open({ url: spark.url })
  try {
    const told = await compareTypes(bound, database, { dialect: SPARK, describe: (sql) => session.analyze(sql) })
    // What a construct has explained needs no other explanation.
    const explained = new Set(found.map(({ context }) => context['dataset']))
    return [...found, ...told.filter(({ context }) => !explained.has(context['dataset']))]
  } finally {
    await session.close()
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

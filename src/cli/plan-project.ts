import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { Database } from '../engine/duckdb/database.ts'
import { SPARK } from '../engine/spark/dialect.ts'
import { SparkSession } from '../engine/spark/session.ts'
import type { Project } from '../project/project.ts'
import type { EngineName } from '../project/sql.ts'
import { type BoundProject, bindProject } from '../runtime/bind.ts'
import { compareTypes, lintProject } from '../runtime/portability.ts'
import { readProject } from './load-project.ts'
import { ProjectProblems } from './report-error.ts'
import { targetNamed } from './target.ts'

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
  /** A target of the project whose engine is meant; one that cannot be asked is a problem then. */
  readonly target?: string | undefined
}

const MEMORY_BYTES = 256 * 1024 ** 2

/** Finds everything that is wrong with a project, without data. Errors: `invalid`/`no-project`. */
export async function planProject(directory: string, options: PlanOptions = {}): Promise<Plan> {
  const { project, problems, files } = await readProject(directory)
  return withDatabase(async (database) => {
    const bound = await bindProject(project, database)
    // bindProject starts from the project's own problems, some of which follow from files that do not load.
    const sql = bound.problems.filter((problem) => !project.problems.includes(problem))
    const portability = await portabilityOf(bound, database, options)
    return { project, bound, files, problems: distinct([...problems, ...sql, ...portability]) }
  })
}

/**
 * What of the project's SQL does not mean the same to Spark: where it runs on Spark, or is to. Errors: those of a Spark that
 * was asked for and cannot be reached.
 */
async function portabilityOf(
  bound: BoundProject,
  database: Database,
  { engines = [], target }: PlanOptions,
): Promise<readonly MillraceError[]> {
  const { config } = bound.project
  const targets = target === undefined ? Object.values(config.targets ?? {}) : [targetNamed(config, target)]
  const spark = targets.find(({ engine }) => engine?.kind === 'spark')?.engine
  const isAsked = engines.includes('spark') || target !== undefined
  if (bound.problems.length > 0 || (!engines.includes('spark') && !spark)) return []
  const found = await lintProject(bound, database)
  if (!isAsked || !spark) return found
  try {
    const told = await askSpark(bound, database, spark.url)
    // What a construct has explained needs no other explanation.
    const explained = new Set(found.map(({ context }) => context['dataset']))
    return [...found, ...told.filter(({ context }) => !explained.has(context['dataset']))]
  } catch (error) {
    if (target === undefined) throw error
    return [...found, asMillraceError(error)]
  }
}

/** Somebody waits to hear that Spark is not there. */
const RECONNECT_MS = 5_000

async function askSpark(bound: BoundProject, database: Database, url: string): Promise<MillraceError[]> {
  const session = await SparkSession.open({ url, reconnectMs: RECONNECT_MS })
  try {
    return await compareTypes(bound, database, { dialect: SPARK, describe: (sql) => session.analyze(sql) })
  } finally {
    await session.close()
  }
}

/**
 * Asks a target's Spark for the types of all columns before anything is computed by it. Errors: `invalid`/`bad-project` with what Spark refuses, and
 * columns whose type is another than DuckDB's; those of a Spark that cannot be reached.
 */
export async function checkSpark(project: Project, url: string): Promise<void> {
  const problems = await withDatabase(async (database) => {
    const bound = await bindProject(project, database)
    return bound.problems.length > 0 ? [] : askSpark(bound, database, url)
  })
  if (problems.length > 0) throw new ProjectProblems(project.directory, problems)
}

async function withDatabase<T>(work: (database: Database) => Promise<T>): Promise<T> {
  const database = await Database.open({
    threads: 1,
    memory: MEMORY_BYTES,
    temporary: join(tmpdir(), `millrace-plan-${process.pid}`),
  })
  try {
    return await work(database)
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

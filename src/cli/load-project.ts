import { registerHooks } from 'node:module'
import { basename, join, relative, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { glob } from 'tinyglobby'
import { MillraceError, messageOf } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { check } from '../project/check.ts'
import { t } from '../project/columns.ts'
import type { Config } from '../project/config.ts'
import { type Declaration, isDeclaration } from '../project/dataset.ts'
import { Project } from '../project/project.ts'
import { source } from '../project/source.ts'
import { sql } from '../project/sql.ts'
import { systemDisk } from '../storage/disk.ts'
import { checkConfig } from './check-config.ts'
import { ProjectProblems } from './report-error.ts'

export const CONFIG_FILE = 'millrace.config.ts'
/** Globs of files that may declare something, unless the configuration says otherwise. */
export const DEFAULT_INCLUDE: readonly string[] = ['**/*.ts']

/** A project as far as its files load, and what is wrong with the files or the declarations. */
export interface LoadedProject {
  readonly project: Project
  readonly problems: readonly MillraceError[]
  /** Every file of the folder that was imported on the way. Absolute paths. */
  readonly files: readonly string[]
}

/**
 * Loads a project folder: its configuration, and everything its TypeScript files export for Millrace.
 *
 * Errors: `invalid`/`no-project`; `invalid`/`bad-project` with all files that do not load. What is wrong with the
 * declarations is in the project's `problems`.
 */
export async function loadProject(directory: string): Promise<Project> {
  const { project, fileProblems } = await load(directory)
  if (fileProblems.length > 0) throw new ProjectProblems(project.directory, fileProblems)
  return project
}

/** As `loadProject`, but goes on with the files that load. Errors: `invalid`/`no-project`. */
export async function readProject(directory: string): Promise<LoadedProject> {
  const { project, fileProblems } = await load(directory)
  const files = [...imported].filter((file) => file.startsWith(`${directory}${sep}`))
  if (fileProblems.length === 0) return { project, problems: project.problems, files }
  // A file that does not load leaves gaps that are no mistakes of the others.
  const problems = [...fileProblems, ...project.problems.filter(({ code }) => code !== 'not-exported')]
  return { project, problems, files }
}

/** The files of a project that declare something. Absolute paths, sorted. */
export async function projectFiles(root: string, include = DEFAULT_INCLUDE): Promise<string[]> {
  const files = await glob([...include], {
    cwd: root,
    absolute: true,
    ignore: ['**/node_modules/**', '**/dist/**', '**/.*/**', '**/*.test.ts', '**/*.d.ts', CONFIG_FILE],
  })
  return files.sort()
}

/** Errors: `invalid`/`no-project` when a folder has no configuration. */
export async function requireProject(root: string): Promise<void> {
  if ((await systemDisk.stat(join(root, CONFIG_FILE))) === undefined) {
    throw new MillraceError('invalid', 'no-project', `${root} is not a Millrace project: it has no ${CONFIG_FILE}.`, {
      hint: 'Name a project with --project DIR, or make one with `millrace init DIR`.',
      context: { path: root },
    })
  }
}

async function load(root: string): Promise<{ project: Project; fileProblems: readonly MillraceError[] }> {
  await requireProject(root)
  hookModules(root)
  const problems: MillraceError[] = []
  const config = await loadConfig(join(root, CONFIG_FILE), root, problems)
  const declarations = new Set<Declaration>()
  for (const file of await projectFiles(root, config.include)) {
    const exported = await exportsOf(file, root, problems)
    for (const value of Object.values(exported))
      for (const item of Array.isArray(value) ? value : [value]) if (isDeclaration(item)) declarations.add(item)
  }
  if (declarations.size === 0 && problems.length === 0) {
    const hint = "Write `export const events = stream('events', { … })` in a .ts file of the project."
    problems.push(
      new MillraceError(
        'invalid',
        'empty-project',
        `No file of ${root} exports a stream, table, endpoint or handler.`,
        {
          hint,
          context: { path: root },
        },
      ),
    )
  }
  const name = config.name ?? basename(root)
  return {
    project: new Project({ name, directory: root, config, declarations: [...declarations] }),
    fileProblems: problems,
  }
}

async function loadConfig(path: string, root: string, problems: MillraceError[]): Promise<Config> {
  const before = problems.length
  const exported = await exportsOf(path, root, problems)
  if (problems.length > before) return {}
  const found = checkConfig(exported['default'], path)
  problems.push(...found)
  return found.length === 0 ? (exported['default'] as Config) : {}
}

/** What a file exports; nothing, and a problem more, when it does not load. */
async function exportsOf(file: string, root: string, problems: MillraceError[]): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>
  } catch (error) {
    const problem = await fileProblem(error, file, root)
    // Everything that imports a broken file fails with its error.
    const isNew = problems.every((known) => known.message !== problem.message)
    if (isNew) problems.push(problem)
    return {}
  }
}

async function fileProblem(error: unknown, file: string, root: string): Promise<MillraceError> {
  const place = placeOf(error) ?? { file, line: undefined }
  const context = { file: place.file, line: place.line }
  const name = relative(root, place.file)
  if (error instanceof MillraceError)
    return new MillraceError(error.kind, error.code, `${name}: ${error.message}`, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      context: { ...error.context, ...context },
      cause: error,
    })
  const cycle = error instanceof ReferenceError && /before initialization/.test(error.message)
  return new MillraceError(
    'invalid',
    cycle ? 'cycle' : 'bad-project-file',
    `${name} cannot be loaded: ${reasonOf(error)}.`,
    {
      hint: cycle
        ? 'Two files import each other, or a declaration is used above the line that makes it. Move one of the declarations.'
        : await hintOf(error, place.file),
      context,
      cause: error,
    },
  )
}

/** The first line of the message; TypeScript's errors go on with a picture of the line. */
function reasonOf(error: unknown): string {
  const lines = messageOf(error)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const first = lines.find((line) => !/^[│╭╰─x×\d\s|`,.]*$/.test(line)) ?? messageOf(error)
  return first.replace(/^[x×]\s+/, '').replace(/\.$/, '')
}

/** What the SDK's words that hold others hold. */
const SDK: Readonly<Record<string, object>> = { t, check, source, sql }

async function hintOf(error: unknown, importer: string): Promise<string> {
  const [, module, name] =
    /requested module '([^']+)' does not provide an export named '(\w+)'/.exec(messageOf(error)) ?? []
  if (module !== undefined && name !== undefined) {
    const url = module.startsWith('.') ? new URL(module, pathToFileURL(importer)).href : module
    return didYouMean(name, Object.keys((await import(url)) as object))
  }
  const [, group, method] = /^(t|check|source|sql)\.(\w+) is not a function/.exec(messageOf(error)) ?? []
  if (group !== undefined && method !== undefined)
    return didYouMean(
      `${group}.${method}`,
      Object.keys(SDK[group]!).map((name) => `${group}.${name}`),
    )
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ERR_MODULE_NOT_FOUND')
    return 'Check the path, with its extension (.ts), or install the package in the project.'
  if (code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX')
    return 'Node strips types and does no more: write a union or an object instead of an enum, a module instead of a namespace.'
  return 'Correct the file.'
}

/** Where an error came from: the first project file in its stack. */
function placeOf(error: unknown): { file: string; line: number } | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const here = new URL('..', import.meta.url).pathname
  for (const [, file, line] of stack.matchAll(/(?:file:\/\/)?(\/[^\s():]+?\.[mc]?[tj]s):(\d+)/g))
    if (!file!.startsWith(here) && !file!.includes('/node_modules/'))
      return { file: decodeURI(file!), line: Number(line) }
  return undefined
}

const hooked = new Set<string>()
const imported = new Set<string>()

/**
 * Project files get the SDK of the Millrace that runs them, whether or not they have it installed, and are modules,
 * whatever a package.json around them says or does not say.
 */
function hookModules(root: string): void {
  if (hooked.has(root)) return
  hooked.add(root)
  const sdk = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url).href
  const folder = `${pathToFileURL(root).href}/`
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'millrace') return { url: sdk, shortCircuit: true }
      const found = next(specifier, context)
      const own = found.url.startsWith(folder) && !found.url.includes('/node_modules/')
      if (own) imported.add(fileURLToPath(found.url))
      return own && found.url.endsWith('.ts') ? { ...found, format: 'module-typescript' } : found
    },
  })
}

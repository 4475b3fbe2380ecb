import { registerHooks } from 'node:module'
import { basename, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { glob } from 'tinyglobby'
import { MillraceError, messageOf } from '../base/errors.ts'
import type { Config } from '../project/config.ts'
import { type Declaration, isDeclaration } from '../project/dataset.ts'
import { Project } from '../project/project.ts'
import { systemDisk } from '../storage/disk.ts'

const CONFIG = 'millrace.config.ts'

/**
 * Loads a project folder: its configuration, and everything its TypeScript files export for Millrace.
 *
 * Errors: `invalid`/`no-project`, `invalid`/`bad-project-file` naming the file that does not load.
 */
export async function loadProject(directory: string): Promise<Project> {
  const root = resolve(directory)
  const configPath = join(root, CONFIG)
  if ((await systemDisk.stat(configPath)) === undefined) {
    throw new MillraceError('invalid', 'no-project', `${root} is not a Millrace project: it has no ${CONFIG}.`, {
      hint: 'Name a project with --project DIR, or make one with `millrace init DIR`.',
    })
  }
  useThisMillrace()
  const config = ((await load(configPath, root)).default ?? {}) as Config
  const include = config.include ?? ['**/*.ts']
  const files = await glob([...include], {
    cwd: root,
    absolute: true,
    ignore: ['**/node_modules/**', '**/dist/**', '**/.*/**', '**/*.test.ts', '**/*.d.ts', CONFIG],
  })
  const declarations = new Set<Declaration>()
  for (const file of files.sort()) {
    for (const value of Object.values(await load(file, root))) {
      for (const item of Array.isArray(value) ? value : [value]) if (isDeclaration(item)) declarations.add(item)
    }
  }
  if (declarations.size === 0) {
    throw new MillraceError('invalid', 'empty-project', `No file of ${root} exports a stream, table or endpoint.`, {
      hint: "Write `export const events = stream('events', { … })` in a .ts file of the project.",
    })
  }
  return new Project({ name: config.name ?? basename(root), directory: root, config, declarations: [...declarations] })
}

async function load(file: string, root: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>
  } catch (error) {
    if (error instanceof MillraceError) throw error
    const name = relative(root, file)
    const cycle = error instanceof ReferenceError && /before initialization/.test(error.message)
    const place = error instanceof Error ? /(?:file:\/\/)?(\/[^\s()]+?\.ts):(\d+)/.exec(error.stack ?? '') : null
    throw new MillraceError('invalid', cycle ? 'cycle' : 'bad-project-file', `${name} cannot be loaded: ${messageOf(error)}`, {
      hint: cycle
        ? 'Two files import each other, or a declaration is used above the line that makes it. Move one of the declarations.'
        : 'Correct the file; only TypeScript that Node can strip types from is allowed (no enums, no namespaces).',
      context: { file: place?.[1] ?? file, line: place?.[2] === undefined ? undefined : Number(place[2]) },
      cause: error,
    })
  }
}

let hooked = false

/** Project files get the SDK of the Millrace that runs them, whether or not they have it installed. */
function useThisMillrace(): void {
  if (hooked) return
  hooked = true
  const sdk = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url).href
  registerHooks({
    resolve: (specifier, context, next) => (specifier === 'millrace' ? { url: sdk, shortCircuit: true } : next(specifier, context)),
  })
}

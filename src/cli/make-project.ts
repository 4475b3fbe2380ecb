import { existsSync, statSync } from 'node:fs'
import { cp, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MillraceError, messageOf } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { usageError } from './command.ts'
import { version } from './version.ts'

/** What `millrace init` can begin with. Each is a folder of `templates/`. */
export const TEMPLATES: Readonly<Record<string, string>> = {
  clicks: 'Events over HTTP, counted by hour.',
  files: 'CSV files, cleaned and summed by day.',
}

const FOLDER = fileURLToPath(new URL('../../templates/', import.meta.url))

/** What npm or Node would take for their own has another name in the template. */
const TARGETS: Readonly<Record<string, string>> = { _gitignore: '.gitignore', '_package.json': 'package.json' }
const target = (file: string) => TARGETS[file] ?? file

/** Text with places to fill in; other files are copied as they are. */
const FILLED = /\.(ts|json|md)$/

/**
 * Writes a project of a template into a folder, which may exist. Returns the files, relative to it.
 *
 * Errors: `conflict`/`exists` when one of the files, or a file instead of the folder, is there already (and then nothing is written); `denied`/`no-access`; `invalid`/`usage`.
 */
export async function makeProject(directory: string, template: string): Promise<string[]> {
  if (!Object.hasOwn(TEMPLATES, template))
    throw usageError(`There is no template '${template}'.`, didYouMean(template, Object.keys(TEMPLATES)))
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === false)
    throw new MillraceError('conflict', 'exists', `${directory} is a file, not a folder.`, {
      hint: 'Name a folder, which may be new: millrace init DIR.',
      context: { path: directory },
    })
  const from = join(FOLDER, template)
  const entries = await readdir(from, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(from, join(entry.parentPath, entry.name)))
    .sort()
  const taken = files.map(target).filter((file) => existsSync(join(directory, file)))
  if (taken.length > 0) {
    throw new MillraceError('conflict', 'exists', `${directory} has ${taken.join(', ')} already.`, {
      hint: 'Nothing was written. Name an empty folder: millrace init DIR.',
      context: { path: directory },
    })
  }
  const name = nameOf(directory)
  for (const file of files) {
    const to = join(directory, target(file))
    await makeFolder(dirname(to))
    if (!FILLED.test(file)) {
      await cp(join(from, file), to, { errorOnExist: true, force: false })
      continue
    }
    const text = (await readFile(join(from, file), 'utf8'))
      .replaceAll('__name__', name)
      .replaceAll('__version__', version())
    await writeFile(to, text, { flag: 'wx' })
  }
  return files.map(target)
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (error) {
    throw new MillraceError('denied', 'no-access', `${path} cannot be made: ${messageOf(error)}.`, {
      hint: 'Name a folder that this user may write in.',
      context: { path },
      cause: error,
    })
  }
}

/** A name that a package and a lake namespace can both have. */
function nameOf(directory: string): string {
  const name = basename(directory)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^[^a-z]+|_+$/g, '')
  return name === '' ? 'my_project' : name
}

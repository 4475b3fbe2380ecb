import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SOURCE = join(ROOT, 'src')

export interface Import {
  readonly from: string
  readonly to: string
  /** When it takes effect: at load, never (types are erased), at a call of `import()`, or when a thread or process starts from the file. */
  readonly kind: 'static' | 'type' | 'dynamic' | 'started'
}

/** Paths of all source files, relative to `src/`. */
export function sourceFiles(): string[] {
  return readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .toSorted()
}

/** The code of a source file without its comments. */
export function codeOf(path: string): string {
  const text = readFileSync(join(SOURCE, path), 'utf8')
  return text.replaceAll(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$|\s\/\/ .*$/gm, '')
}

const STATIC = /^(?:import|export)\s+(?!type\b)(?:[^'"`;=]*?\s*from\s+)?'(\.[^']+)'/gm
const TYPE = /^(?:import|export)\s+type\b[^'"`;=]*?\s*from\s+'(\.[^']+)'/gm
const DYNAMIC = /\bimport\(\s*'(\.[^']+)'\s*\)/g
const URL_OF_FILE = /\bnew URL\(([\s\S]*?), import\.meta\.url\)/g
const FILE_NAME = /['`](\.{1,2}\/[^'`]+?)\.(?:ts|js|\$\{\w+\})['`]/g

/**
 * The imports of a source file that lead to others of `src/`, of types too. Statements begin at the beginning of a line
 * (prettier sees to that), so patterns find them.
 */
export function importsOf(path: string): Import[] {
  const code = codeOf(path)
  const named = (pattern: RegExp, kind: Import['kind'], text = code): Import[] =>
    [...text.matchAll(pattern)].map(([, specifier]) => ({ from: path, to: resolved(path, specifier!), kind }))
  const urls = [...code.matchAll(URL_OF_FILE)].flatMap(([, inner]) => named(FILE_NAME, 'started', inner))
  return [
    ...named(STATIC, 'static'),
    ...named(TYPE, 'type'),
    ...named(DYNAMIC, 'dynamic'),
    ...urls.map((url) => ({ ...url, to: `${url.to}.ts` })),
  ].filter(({ to }) => !to.startsWith('..') && existsSync(join(SOURCE, to)))
}

function resolved(path: string, specifier: string): string {
  return relative(SOURCE, resolve(SOURCE, dirname(path), specifier))
}

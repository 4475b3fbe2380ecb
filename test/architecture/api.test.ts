import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ROOT } from './source-tree.ts'

const types = mkdtempSync(join(tmpdir(), 'millrace-api-'))
afterAll(() => rmSync(types, { recursive: true }))

// A difference is no mistake by itself: look whether it breaks a project, tell of it in CHANGELOG.md, and run
// `npx vitest run --project unit test/architecture --update`.
test('the public interface is the one that was reviewed', async () => {
  const compiler = join(ROOT, 'node_modules/.bin/tsc')
  const options = ['-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--noCheck', '--outDir', types]
  execFileSync(compiler, options, { cwd: ROOT })
  await expect(publicInterface('index.d.ts')).toMatchFileSnapshot('public-api.txt')
})

/** The exported names of a declaration file with their declarations, and those that they are made of in their own file. */
function publicInterface(index: string): string {
  const exported = [...read(index).matchAll(/^export (?:type )?\{ (.+?),? \} from '(.+)\.ts';$/gm)]
  const modules = Map.groupBy(exported, ([, , specifier]) =>
    relative(types, resolve(types, dirname(index), `${specifier!}.d.ts`)),
  )
  return [...modules]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, statements]) => {
      const names = statements.flatMap(([, list]) => list!.replace(/,$/, '').split(', '))
      return `// ${path.replace('.d.ts', '.ts')}: ${names.toSorted().join(', ')}\n${declarationsOf(path, names)}`
    })
    .join('\n')
}

function declarationsOf(path: string, names: readonly string[]): string {
  const declarations = new Map<string, string>()
  const withoutComments = read(path).replaceAll(/^\s*\/\*\*[\s\S]*?\*\/\n/gm, '')
  for (const text of withoutComments.split(/\n(?=\S)(?!\})/)) {
    const name = /^(?:export )?(?:declare )?(?:abstract )?(?:const|function|class|interface|type) (\w+)/.exec(text)?.[1]
    if (name !== undefined) declarations.set(name, `${declarations.get(name) ?? ''}${text.trimEnd()}\n`)
  }
  const missing = names.filter((name) => !declarations.has(name))
  if (missing.length > 0) throw new Error(`${path} declares no ${missing.join(', ')}`)
  const wanted = new Set(names)
  for (const name of wanted) {
    for (const other of declarations.keys())
      if (new RegExp(`\\b${other}\\b`).test(declarations.get(name)!)) wanted.add(other)
  }
  return [...declarations].flatMap(([name, text]) => (wanted.has(name) ? [text] : [])).join('')
}

function read(path: string): string {
  return readFileSync(join(types, path), 'utf8')
}

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from './source-tree.ts'

interface Package {
  bin: Record<string, string>
  exports: Record<string, string | Record<string, string>>
  files: string[]
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Package

/** What a path of the package is made from: the build turns `src/x.ts` into `dist/x.js` and `dist/x.d.ts`. */
function origin(path: string): string {
  return path.replace(/^(?:\.\/)?dist\/(.*?)(?:\.d\.ts|\.js)$/, 'src/$1.ts').replace(/^dist$/, 'src')
}

test('every path that package.json names is there, or comes from a file that is', () => {
  const paths = [
    ...Object.values(manifest.bin),
    ...Object.values(manifest.exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    ),
    ...manifest.files,
  ]
  expect(paths.filter((path) => !existsSync(join(ROOT, origin(path))))).toEqual([])
})

test('what is published holds every exported path', () => {
  const published = (path: string): boolean =>
    path === './package.json' || manifest.files.some((folder) => path.startsWith(`./${folder}/`))
  const targets = Object.values(manifest.exports).flatMap((target) =>
    // millrace-source is for this repository alone: it runs the sources without a build.
    typeof target === 'string'
      ? [target]
      : Object.entries(target).flatMap(([on, path]) => (on === 'millrace-source' ? [] : [path])),
  )
  expect(targets.filter((path) => !published(path))).toEqual([])
})

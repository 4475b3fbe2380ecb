import { readdir } from 'node:fs/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { ORACLE } from '../../benchmarks/nexmark/oracle.ts'
import { type Declaration, isDeclaration } from '../../src/project/dataset.ts'
import { expectOracle } from './run.ts'

const PROJECT = new URL('../../benchmarks/nexmark/project/', import.meta.url)
const declarations: Declaration[] = []

beforeAll(async () => {
  // Repetitions are told by whole rows.
  process.env['NEXMARK_UNIQUE'] = '1'
  const files = (await readdir(fileURLToPath(PROJECT))).filter((file) => /^(streams|q\d+)\.ts$/.test(file))
  for (const file of files) {
    const exported = (await import(pathToFileURL(fileURLToPath(new URL(file, PROJECT))).href)) as object
    declarations.push(...Object.values(exported).filter(isDeclaration))
  }
})

test('every query has an oracle', () => {
  for (const { kind, name } of declarations) if (kind === 'table') expect(Object.keys(ORACLE)).toContain(name)
})

test.for([1, 2, 3])(
  'however events arrive, every query publishes what one bulk statement gives: seed %i',
  { timeout: 180_000 },
  (seed) => expectOracle(declarations, seed, 20_000),
)

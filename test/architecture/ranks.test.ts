import { expect, test } from 'vitest'
import { type Import, codeOf, importsOf, sourceFiles } from './source-tree.ts'

/** A folder may import only from folders of a lower rank, and from itself: ARCHITECTURE.md. */
const RANKS: Readonly<Record<string, number>> = {
  base: 0,
  project: 1,
  security: 1,
  storage: 1,
  log: 2,
  lake: 2,
  engine: 2,
  state: 2,
  quality: 3,
  connectors: 3,
  runtime: 4,
  serving: 4,
  observability: 5,
  cli: 6,
  'index.ts': 6,
}

/** Where the program begins: the package, the command line, threads and processes of their own. */
const ENTRIES = ['index.ts', 'cli/main.ts']

/** Places that touch clock, chance, timers or the environment themselves, and why. */
const EFFECTS: Readonly<Record<string, string>> = {
  'lake/lake.ts': 'the default source of random bytes, which tests replace',
  'engine/spark/session.ts': 'the default source of random ids, which tests replace',
  'engine/duckdb/parquet.ts': 'names of files that DuckDB writes: unique, and nothing depends on their order',
  'serving/sandbox/sql-process.ts': 'the child gets PATH and nothing else of the environment',
  'serving/sandbox/child.ts': 'a process of its own: watches that its parent lives',
  'serving/sandbox/engine.ts': 'a process of its own: watches its memory',
}

const files = sourceFiles()
const imports = files.flatMap(importsOf)
const folderOf = (path: string): string => path.split('/')[0]!

test('every folder has a rank', () => {
  const unknown = [...new Set(files.map(folderOf))].filter((folder) => RANKS[folder] === undefined)
  expect(unknown).toEqual([])
})

test('folders import only from lower ranks', () => {
  const wrong = imports.filter(({ from, to, kind }) => {
    const [own, other] = [folderOf(from), folderOf(to)]
    return kind !== 'started' && own !== other && RANKS[other]! >= RANKS[own]!
  })
  expect(wrong.map(shown)).toEqual([])
})

// Types may refer to each other: nothing of them is left when the code runs.
test('no file depends on itself', () => {
  expect(cycles(imports.filter(({ kind }) => kind === 'static'))).toEqual([])
})

test('every file is reached from where the program begins', () => {
  const reached = new Set(ENTRIES)
  for (const path of reached) for (const { to } of importsOf(path)) reached.add(to)
  expect(files.filter((path) => !reached.has(path))).toEqual([])
})

test('clock, chance, timers and environment are touched at the edge only', () => {
  const effect =
    /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bMath\.random\b|\brandomUUID\b|\brandomBytes\b(?=[,}\s]+from|.*'node:crypto')|\bprocess\.env\b|\bset(?:Timeout|Interval)\(/
  const touching = files.filter((path) => !/^(?:base|cli)\//.test(path) && effect.test(codeOf(path)))
  expect(touching).toEqual(Object.keys(EFFECTS).sort())
})

test('the domain sees neither the engine nor the web server', () => {
  const allowed: Readonly<Record<string, RegExp>> = {
    '@duckdb/node-api':
      /^(?:engine\/duckdb|serving\/sandbox)\/|^quality\/verdict\.ts$|^connectors\/files\/parquet\.ts$|^runtime\/(?:partitioned|streams\/(?:lane-worker|refused))\.ts$/,
    fastify: /^serving\//,
    avsc: /^lake\//,
    kysely: /^state\//,
    pg: /^state\/postgres\.ts$/,
  }
  const wrong = files.flatMap((path) =>
    Object.entries(allowed)
      .filter(([name, where]) => codeOf(path).includes(`from '${name}'`) && !where.test(path))
      .map(([name]) => `${path} imports ${name}`),
  )
  expect(wrong).toEqual([])
})

function shown({ from, to }: Import): string {
  return `${from} (rank ${RANKS[folderOf(from)]}) → ${to} (rank ${RANKS[folderOf(to)]})`
}

/** Cycles, each as the files one after another, found by walking depth first. */
function cycles(edges: readonly Import[]): string[] {
  const next = Map.groupBy(edges, ({ from }) => from)
  const state = new Map<string, 'open' | 'done'>()
  const found: string[] = []
  const path: string[] = []
  const visit = (file: string): void => {
    if (state.get(file) === 'done') return
    if (state.get(file) === 'open') {
      found.push([...path.slice(path.indexOf(file)), file].join(' → '))
      return
    }
    state.set(file, 'open')
    path.push(file)
    for (const { to } of next.get(file) ?? []) visit(to)
    path.pop()
    state.set(file, 'done')
  }
  for (const file of next.keys()) visit(file)
  return found
}

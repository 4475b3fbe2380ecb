import { fileURLToPath } from 'node:url'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { mapReduce, sql, stream, t, table } from '../../src/index.ts'
import type { FunctionTable } from '../../src/index.ts'
import type { MillraceError } from '../../src/base/errors.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { Project } from '../../src/project/project.ts'
import { bindProject } from '../../src/runtime/bind.ts'

const HERE = fileURLToPath(import.meta.url)
const clicks = stream('clicks', { columns: { id: t.string(), n: t.int(), big: t.long(), note: t.string().nullable() } })
const columns = { id: t.string(), n: t.int().nullable() }

async function bound(declarations: readonly Declaration[]) {
  const project = new Project({ name: 'p', directory: '/p', config: {}, declarations })
  const database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: '/nonexistent' })
  try {
    return await bindProject(project, database)
  } finally {
    await database.close()
  }
}

const problemsOf = async (declarations: readonly Declaration[]): Promise<readonly MillraceError[]> =>
  (await bound(declarations)).problems

describe('what is wrong with functions is found by plan, with place and remedy', () => {
  const map = (options: object) => clicks.map('bad', { columns, map: () => ({ id: 'x' }), ...options })
  const reduce = (options: object) =>
    mapReduce('bad', { from: clicks, columns, map: () => [], reduce: () => undefined, ...options })

  test.each<[string, () => Declaration, code: string, message: RegExp, hint: RegExp]>([
    ['no function', () => map({ map: undefined }), 'no-function', /map 'bad': map is missing/, /map: \(row\)/],
    ['what is none', () => map({ map: 'x' }), 'no-function', /map is a string, not a function/, /map: \(row\)/],
    ['no columns', () => map({ columns: undefined }), 'no-columns', /'bad' has no columns/, /at least one/],
    ['no reduce', () => reduce({ reduce: undefined }), 'no-function', /reduce is missing/, /reduce: \(key, values\)/],
    ['a combine that is none', () => reduce({ combine: 1 }), 'no-function', /combine is a number/, /combine: /],
    ['a mistyped option', () => map({ timout: '1 s' }), 'bad-option', /no option 'timout'/, /'timeout'/],
    ['emit of a map', () => map({ emit: 0 }), 'bad-option', /no option 'emit'/, /./],
    ['a bad timeout', () => map({ timeout: 'soon' }), 'bad-duration', /timeout: 'soon'/, /'10 seconds'/],
    ['no time at all', () => map({ timeout: '0 s' }), 'bad-duration', /timeout: '0 s'/, /'10 seconds'/],
    ['no call at once', () => map({ concurrency: 0 }), 'bad-option', /concurrency is 0/, /from 1 to 1024/],
    ['half a batch', () => map({ batch: 1.5 }), 'bad-option', /batch is 1.5/, /whole number/],
    ['no attempts', () => map({ retry: {} }), 'bad-option', /retry.attempts is undefined/, /whole number/],
    ['a wait that is none', () => map({ retry: { attempts: 2, wait: 5 } }), 'bad-duration', /retry.wait/, /./],
    [
      'errors by a text',
      () => map({ retry: { attempts: 2, on: 'x' } }),
      'bad-option',
      /retry.on/,
      /\['TimeoutError'\]/,
    ],
    ['a cache of nothing', () => map({ cache: { entries: 0 } }), 'bad-option', /cache.entries is 0/, /whole number/],
    ['a breaker that never rests', () => map({ breaker: { failures: 3 } }), 'bad-duration', /breaker.rest/, /./],
    ['a time that is no column', () => map({ time: 'at' }), 'unknown-column', /time names column 'at'/, /./],
    ['a text for a time', () => map({ time: 'id' }), 'bad-time', /time column 'id' is string/, /t.timestamp\(\)/],
    [
      'a time that may be missing',
      () => map({ time: 'at', columns: { at: t.timestamp().nullable() } }),
      'bad-time',
      /'at' is nullable/,
      /Remove .nullable/,
    ],
    [
      'a time where the stream has none',
      () => map({ time: 'at', columns: { at: t.timestamp() } }),
      'no-time',
      /its rows have a time, but stream 'clicks' has none/,
      /Declare time: 'column' of 'clicks'/,
    ],
    ['a column that is ours', () => map({ columns: { _offset: t.long() } }), 'reserved-column', /_offset/, /./],
  ])('%s', async (_, declare, code, message, hint) => {
    const problems = await problemsOf([clicks, declare()])
    expect(problems[0]).toMatchObject({
      kind: 'invalid',
      code,
      message: expect.stringMatching(message) as string,
      hint: expect.stringMatching(hint) as string,
      context: { dataset: 'bad', file: HERE, line: expect.any(Number) as number },
    })
  })

  test('more rows of one record than can be numbered', async () => {
    const one = { columns: { id: t.string() }, emit: 10_000_000, flatMap: () => [] }
    const first = clicks.flatMap('first', one)
    const second = first.flatMap('second', one)
    const third = second.flatMap('third', one)
    const problems = await problemsOf([clicks, first, second, third])
    expect(problems).toMatchObject([{ code: 'bad-option', context: { dataset: 'third' } }])
    expect(problems[0]!.message).toMatch(/more than can be numbered/)
  })

  test('a dataset that no file exports, and one that is not there', async () => {
    const hidden = clicks.map('hidden', { columns, map: ({ id }) => ({ id }) })
    expect(await problemsOf([clicks, hidden.filter('kept', { filter: () => true })])).toMatchObject([
      { code: 'not-exported', context: { dataset: 'kept' } },
    ])
    expect(() => reduce({ from: undefined })).toThrow(
      expect.objectContaining({ code: 'bad-input', message: "mapReduce 'bad': from is undefined." }) as Error,
    )
  })
})

test('rows come with where they came from, and several of one record with their place', async () => {
  const words = clicks.flatMap('words', { columns: { word: t.string() }, emit: 5, flatMap: () => [] })
  const kept = stream('kept', { columns: { id: t.string() }, unknown: 'keep' })
  const { fields, problems } = await bound([
    clicks,
    words,
    clicks.map('mapped', { columns, map: ({ id }) => ({ id }) }),
    words.filter('short', { filter: ({ word }) => word.length < 3 }),
    kept,
    kept.filter('good', { filter: () => true }),
    mapReduce('counts', { from: words, columns, map: ({ word }) => [[word, 1]], reduce: (id) => ({ id }) }),
  ])
  expect(problems).toEqual([])
  const names = (name: string) => fields.get(name)!.map((field) => field.name)
  expect(names('mapped')).toEqual(['id', 'n', '_partition', '_offset'])
  expect(names('words')).toEqual(['word', '_partition', '_offset', '_index'])
  expect(names('short')).toEqual(['word', '_partition', '_offset', '_index'])
  expect(names('good')).toEqual(['id', '_extra', '_partition', '_offset'])
  expect(names('counts')).toEqual(['id', 'n'])
})

test('the code changes with the function, what it may give and its version, and not with how it is run', async () => {
  const codeOf = async (options: object) => {
    const mapped = clicks.flatMap('m', { columns, flatMap: () => [], ...options })
    return (await bound([clicks, mapped])).code.get('m')
  }
  const code = await codeOf({})
  for (const options of [
    { timeout: '1 s' },
    { concurrency: 2 },
    { retry: { attempts: 2 } },
    { breaker: { failures: 1, rest: '1 s' } },
  ])
    expect(await codeOf(options)).toBe(code)
  for (const options of [
    { flatMap: () => [{ id: 'x' }] },
    { version: 2 },
    { emit: 5 },
    { batch: 2, flatMap: () => [] },
  ])
    expect(await codeOf(options)).not.toBe(code)
})

// The compiler is what runs these: `npm run types`.
test('types of rows flow through functions', () => {
  const mapped = clicks.map('mapped', {
    columns: { id: t.string(), ratio: t.double().nullable() },
    map: (row) => {
      expectTypeOf(row).toEqualTypeOf<{ id: string; n: number; big: number | bigint; note: string | null }>()
      return { id: row.id }
    },
  })
  expectTypeOf(mapped.row).toEqualTypeOf<{ id: string; ratio: number | null }>()
  expectTypeOf(mapped).toExtend<FunctionTable>()
  const batched = mapped.map('batched', {
    columns,
    batch: 10,
    map: async (rows, { signal }) => {
      expectTypeOf(rows).toEqualTypeOf<readonly { id: string; ratio: number | null }[]>()
      expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
      return rows.map(({ id }) => ({ id, n: 1 }))
    },
  })
  const short = batched.filter('short', { filter: ({ id }) => id.length < 3 })
  expectTypeOf(short.row).toEqualTypeOf<{ id: string; n: number | null }>()
  mapReduce('m', {
    from: short,
    columns: { id: t.string(), n: t.int() },
    map: ({ id, n }) => [[id, n ?? 0]],
    reduce: (key, values) => {
      expectTypeOf(key).toEqualTypeOf<string>()
      expectTypeOf(values).toEqualTypeOf<Iterable<number>>()
      return { id: key, n: 1 }
    },
  })
  mapReduce('q', {
    from: sql`select 1 as x from ${clicks}`,
    columns: { x: t.int() },
    map: (row) => {
      expectTypeOf(row).toEqualTypeOf<Record<string, unknown>>()
      return []
    },
    reduce: () => ({ x: 1 }),
  })
  // @ts-expect-error a column is missing
  clicks.map('a', { columns, map: () => ({ n: 1 }) })
  // @ts-expect-error it has another type
  clicks.map('a', { columns, map: ({ n }) => ({ id: n }) })
  // @ts-expect-error one row for each row
  clicks.map('a', { columns, map: ({ id }) => [{ id }] })
  // @ts-expect-error true or false
  clicks.filter('a', { filter: ({ id }) => id })
  // @ts-expect-error a batch has a result for each row
  clicks.map('a', { columns, batch: 2, map: (rows) => ({ id: rows[0]!.id }) })
  // @ts-expect-error tables of queries have no functions: their rows come and go
  expect(() => table('x', { sql: sql`select 1` }).map('a', {})).toThrow(TypeError)
})

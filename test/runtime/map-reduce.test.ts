import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Declaration } from '../../src/project/dataset.ts'
import { LineReader, lineRanges } from '../../src/runtime/functions/line-file.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { clicks, counts, failing, heavy, lists, numbers, upper } from './functions/project.ts'
import { Home, query, send, statusOf } from './home.ts'

const LOADER = new URL('./functions/loader.ts', import.meta.url).href

function open(home: Home, declarations: readonly Declaration[], limits = {}): Promise<Runtime> {
  return home.open(declarations, { loader: LOADER, config: { limits: { functionWorkers: 2, ...limits } } })
}

test('words are counted, again as a whole when there are more', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, counts])
  await send(runtime, 'clicks', [
    { id: 1, text: 'to be or not to be' },
    { id: 2, text: 'to\ttab "quote" ü' },
  ])
  await runtime.settle()
  const counted = () => query(runtime, 'SELECT word, n FROM {counts} ORDER BY n DESC, word')
  expect(await counted()).toEqual([
    { word: 'be', n: 2 },
    { word: 'to', n: 2 },
    { word: '"quote"', n: 1 },
    { word: 'not', n: 1 },
    { word: 'or', n: 1 },
    { word: 'to\ttab', n: 1 },
    { word: 'ü', n: 1 },
  ])
  await send(runtime, 'clicks', [{ id: 3, text: 'not' }])
  await runtime.settle()
  expect((await counted())[1]).toEqual({ word: 'not', n: 2 })
  expect(statusOf(runtime, 'counts')).toMatchObject({ rows: 7, received: 3, accepted: 3, quarantined: 0 })
  expect(await verify(runtime, 'counts')).toMatchObject({ equal: true })
})

test('a row whose map throws, or gives too many pairs, is refused with all its pairs', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, counts])
  const many = Array.from({ length: 51 }, (_, i) => `w${i}`).join(' ')
  await send(runtime, 'clicks', [
    { id: 1, text: 'a a b' },
    { id: 2, text: 'a throw b' },
    { id: 3, text: many },
  ])
  await runtime.settle()
  expect(await query(runtime, 'SELECT word, n FROM {counts} ORDER BY word')).toEqual([
    { word: 'a', n: 2 },
    { word: 'b', n: 1 },
  ])
  expect(await query(runtime, `SELECT rule, raw->>'id' AS id FROM {quarantine.counts} ORDER BY id`)).toEqual([
    { rule: 'function', id: '2' },
    { rule: 'emit', id: '3' },
  ])
  expect(statusOf(runtime, 'counts')).toMatchObject({ received: 3, accepted: 1, quarantined: 2 })
  // Computed again, quarantine is that of the new step alone.
  await send(runtime, 'clicks', [{ id: 4, text: 'throw' }])
  await runtime.settle()
  expect(statusOf(runtime, 'counts')).toMatchObject({ received: 4, accepted: 1, quarantined: 3 })
  expect(await query(runtime, 'SELECT 1 FROM {quarantine.counts}')).toHaveLength(3)
})

test('keys of several parts, rows for some, over a query', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, upper, lists])
  await send(
    runtime,
    'clicks',
    Array.from({ length: 7 }, (_, id) => ({ id, text: 'x' })),
  )
  await runtime.settle()
  expect(await query(runtime, 'SELECT rest, id FROM {lists} ORDER BY rest, id')).toEqual([
    { rest: 0, id: 0 },
    { rest: 0, id: 3 },
    { rest: 0, id: 6 },
    { rest: 2, id: 2 },
    { rest: 2, id: 5 },
  ])
})

test('pairs larger than the engine may hold are sorted on disk, and a key with nearly all of them is reduced as it is read', async () => {
  const home = await Home.make()
  // Some 290 MB of pairs.
  const runtime = await open(home, [numbers, heavy], { engineMemory: 128 * 1024 ** 2, functionMemory: 64 * 1024 ** 2 })
  const ids = Array.from({ length: 1_000 }, (_, id) => ({ id }))
  await send(runtime, 'numbers', ids)
  await runtime.settle()
  expect(statusOf(runtime, 'heavy').reason).toBe(undefined)
  expect(statusOf(runtime, 'heavy')).toMatchObject({ state: 'ok', received: 1_000, accepted: 1_000 })
  const expected = new Map<string, { key: string; n: number; sum: string }>()
  for (const { id } of ids)
    for (let i = 0; i < 1_000; i++) {
      const key = i % 10 === 0 ? `k${(id * 7 + i) % 1_000}` : 'skewed'
      const { n, sum } = expected.get(key) ?? { n: 0, sum: '0' }
      expected.set(key, { key, n: n + 1, sum: String(Number(sum) + i) })
    }
  const rows = await query(runtime, 'SELECT key, n, sum FROM {heavy} ORDER BY key')
  expect(rows).toEqual([...expected.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1)))
  expect(rows.length).toBe(1_001)
})

test('a reduce that throws leaves what was published, says for which key, and is done when it no longer does', async () => {
  const home = await Home.make()
  const runtime = await open(home, [numbers, failing])
  await send(runtime, 'numbers', [{ id: 1 }, { id: 2 }])
  await runtime.settle()
  expect(statusOf(runtime, 'failing')).toMatchObject({ state: 'ok', rows: 2 })
  await send(runtime, 'numbers', [{ id: 5 }])
  await runtime.settle()
  expect(statusOf(runtime, 'failing')).toMatchObject({ state: 'failed', rows: 2, received: 2 })
  expect(statusOf(runtime, 'failing').reason).toMatch(/reduce of 'failing' fails for key 2: RangeError: too much/)
})

test('ranges of a file hold each of its lines once, wherever they are cut', async () => {
  const home = await Home.make()
  const path = join(home.dataDirectory, 'lines')
  await mkdir(home.dataDirectory, { recursive: true })
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ''))),
      fc.integer({ min: 1, max: 40 }),
      async (lines, bytes) => {
        await writeFile(
          path,
          lines.map((line) => `${line}\n`),
        )
        const read: string[] = []
        for await (const range of lineRanges(path, bytes)) {
          const reader = new LineReader(range)
          while (reader.inRange) read.push(reader.next()!)
          reader.close()
        }
        expect(read).toEqual(lines.map((line) => line.toWellFormed()))
      },
    ),
  )
})

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Declaration } from '../../src/project/dataset.ts'
import { check, sql } from '../../src/index.ts'
import { readRecord } from '../../src/runtime/record.ts'
import { replayQuarantine, replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import * as declared from './functions/project.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, type OpenOptions, query, send, statusOf, value } from './home.ts'

const LOADER = new URL('./functions/loader.ts', import.meta.url).href
const { clicks, enriched } = declared

function open(home: Home, declarations: readonly Declaration[], options: OpenOptions = {}): Promise<Runtime> {
  return home.open(declarations, {
    loader: LOADER,
    ...options,
    config: { ...options.config, limits: { functionWorkers: 2, ...options.config?.limits } },
  })
}

async function filesOf(runtime: Runtime, name: string): Promise<string[]> {
  const table = runtime.lakeTable(name)
  return (await table.files(table.snapshot()!)).map(({ path }) => path)
}

const click = (id: number, text = `t${id}`, more: object = {}) => ({ id, text, ...more })

test('a row of every type goes through a function and comes back the same', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, enriched])
  await send(runtime, 'clicks', [
    click(1, 'ä😀\t"\n', {
      at: '2026-01-31T13:00:00.123456+01:00',
      big: '-9223372036854775808',
      price: '12345678901234567.100',
      data: '{"a":1.50}',
      tags: [
        { day: '2024-02-29', n: '9007199254740993' },
        { day: '0001-01-01', n: null },
      ],
    }),
    click(2, '', { at: '2026-01-31T12:00:00Z', big: 5, price: '-0.001', tags: [] }),
  ])
  await runtime.settle()
  expect(statusOf(runtime, 'enriched')).toMatchObject({ state: 'ok', received: 2, accepted: 2, quarantined: 0 })
  const columns = 'id, "at", big, price, data, tags, _partition, _offset'
  expect(await query(runtime, `SELECT ${columns} FROM {enriched} ORDER BY id`)).toEqual(
    await query(runtime, `SELECT ${columns} FROM {clicks} ORDER BY id`),
  )
  expect(await query(runtime, 'SELECT upper FROM {enriched} ORDER BY id')).toEqual([
    { upper: 'Ä😀\t"\n' },
    { upper: '' },
  ])
})

describe('each row once', () => {
  test('new rows are appended, and those there are never taken again', async () => {
    const home = await Home.make()
    const declarations = [clicks, declared.words]
    const runtime = await open(home, declarations)
    await send(runtime, 'clicks', [click(1, 'a b'), click(2, 'c')])
    await runtime.settle()
    const files = await filesOf(runtime, 'words')
    await send(runtime, 'clicks', [click(3, 'd e f')])
    await runtime.settle()
    expect(await filesOf(runtime, 'words')).toEqual(expect.arrayContaining(files))
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 6, received: 3, accepted: 3, quarantined: 0 })
    // A duplicate changes nothing, and neither does starting again.
    await send(runtime, 'clicks', [click(3, 'x y')])
    await runtime.settle()
    await home.stop(runtime)
    const again = await open(home, declarations)
    await again.settle()
    expect(statusOf(again, 'words')).toMatchObject({ rows: 6, received: 3 })
    expect(await query(again, 'SELECT word FROM {words} ORDER BY _partition, _offset, _index')).toHaveLength(6)
    expect(await verify(again, 'words')).toMatchObject({ equal: true, published: 6 })
  })

  test('a check of the whole table is declared, and taken back: it is one process’s work for that time', async () => {
    const home = await Home.make()
    const { words, letters } = declared
    const checked = { ...words, checks: [check.rowCount({ min: 1 })] }
    const over = { ...letters, transform: { ...letters.transform, input: checked }, sql: sql`select * from ${checked}` }
    let n = 0
    for (const declarations of [
      [clicks, words, letters],
      [clicks, checked, over],
      [clicks, words, letters],
    ]) {
      const runtime = await open(home, declarations, { start: false })
      expect(statusOf(runtime, 'letters')).toMatchObject({ state: n === 0 ? 'empty' : 'ok', rows: 3 * n })
      runtime.start()
      await send(runtime, 'clicks', [click(++n, 'ab c')])
      await runtime.settle()
      expect(statusOf(runtime, 'words')).toMatchObject({ state: 'ok', rows: 2 * n, lag: 0 })
      expect(statusOf(runtime, 'letters')).toMatchObject({ state: 'ok', rows: 3 * n, lag: 0 })
      await home.stop(runtime)
    }
  })

  test('killed between quarantine and rows, a step is done again and leaves nothing twice', async () => {
    const home = await Home.make()
    const disk = new FaultyDisk(join(home.dataDirectory, 'limbo'))
    const runtime = await open(home, [clicks, enriched], { disk })
    await send(runtime, 'clicks', [click(1, 'throw'), click(2)])
    await runtime.settle()
    disk.arm({ at: /^link .*curated\/enriched\/metadata/, error: 'EIO', lasting: false })
    await send(runtime, 'clicks', [click(3, 'throw'), click(4, 'throw'), click(5)])
    await runtime.settle()
    expect(statusOf(runtime, 'enriched').state).toBe('failed')
    expect(await value(runtime, 'SELECT count(*)::INT FROM {quarantine.enriched}')).toBe(3)
    await home.crash(runtime)
    const again = await open(home, [clicks, enriched])
    await again.settle()
    expect(statusOf(again, 'enriched')).toMatchObject({
      state: 'ok',
      rows: 2,
      received: 5,
      accepted: 2,
      quarantined: 3,
    })
    expect(await query(again, `SELECT raw->>'id' AS id FROM {quarantine.enriched} ORDER BY 1`)).toEqual([
      { id: '1' },
      { id: '3' },
      { id: '4' },
    ])
  })

  test('what a replay lets into the input is taken by itself', async () => {
    const home = await Home.make()
    const strict = { ...clicks, checks: [check.oneOf('text', ['a b', 'throw'])] }
    const before = await open(home, [strict])
    await send(before, 'clicks', [click(1, 'a b'), click(2, 'c'), click(3, 'throw'), click(4, 'd throw')])
    await before.settle()
    await home.stop(before)
    const runtime = await open(home, [clicks, declared.words])
    await runtime.settle()
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 2, received: 2, quarantined: 1 })
    const files = await filesOf(runtime, 'words')
    await replayQuarantine(runtime.stream('clicks'), runtime.database, 'true')
    await runtime.scheduler.settled()
    expect(await filesOf(runtime, 'words')).toEqual(expect.arrayContaining(files))
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 3, received: 4, accepted: 2, quarantined: 2, lag: 0 })
    expect(await verify(runtime, 'words')).toMatchObject({ equal: true })
    await send(runtime, 'clicks', [click(5, 'e')])
    await runtime.settle()
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 4, received: 5, accepted: 3, quarantined: 2 })
  })

  test('a table whose steps recorded snapshots goes on at the offsets that these were at', async () => {
    const home = await Home.make()
    // What is checked as a whole is computed as a whole.
    const checked = { ...declared.words, checks: [check.rowCount({ min: 1 })] }
    const before = await open(home, [clicks, checked])
    await send(before, 'clicks', [click(1, 'a b'), click(2, 'throw')])
    await before.settle()
    expect(readRecord(before.lakeTable('words').snapshot()!.summary)).toMatchObject({ steps: 1 })
    const files = await filesOf(before, 'words')
    await send(before, 'clicks', [click(3, 'c'), click(4, 'throw')])
    await before.stream('clicks').drain()
    await home.crash(before)
    const runtime = await open(home, [clicks, declared.words])
    await runtime.settle()
    expect(await filesOf(runtime, 'words')).toEqual(expect.arrayContaining(files))
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 3, received: 4, accepted: 2, quarantined: 2, lag: 0 })
    expect(await value(runtime, 'SELECT count(*)::INT FROM {quarantine.words}')).toBe(2)
    await home.stop(runtime)
    // And back again, computed anew.
    const after = await open(home, [clicks, checked])
    await after.settle()
    expect(statusOf(after, 'words')).toMatchObject({ rows: 3, received: 4, accepted: 2, quarantined: 2, lag: 0 })
    expect(await value(after, 'SELECT count(*)::INT FROM {quarantine.words}')).toBe(2)
  })

  test('when the input loses rows, everything is computed again', async () => {
    const home = await Home.make()
    const runtime = await open(home, [clicks, enriched])
    await send(runtime, 'clicks', [click(1, 'throw'), click(2)])
    await runtime.settle()
    await replayStream(runtime.stream('clicks'), { database: runtime.database, from: [0, 0], superseded: [] })
    await runtime.scheduler.settled()
    expect(statusOf(runtime, 'enriched')).toMatchObject({ rows: 1, received: 2, accepted: 1, quarantined: 1 })
    expect(await value(runtime, 'SELECT count(*)::INT FROM {quarantine.enriched}')).toBe(1)
  })
})

test('what throws is in quarantine with message, stack and row, and the others go on', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, enriched])
  await send(runtime, 'clicks', [click(1), click(2, 'throw'), click(3)])
  await runtime.settle()
  expect(statusOf(runtime, 'enriched')).toMatchObject({ state: 'ok', received: 3, accepted: 2, quarantined: 1 })
  const [row] = await query(runtime, 'SELECT rule, reason, raw, _offset::INT AS _offset FROM {quarantine.enriched}')
  expect(row).toMatchObject({ rule: 'function' })
  expect(row!['reason']).toMatch(/^TypeError: it was told to throw\n +at obey .*project\.ts/)
  expect(JSON.parse(String(row!['raw']))).toMatchObject({ id: 2, text: 'throw', at: null })
})

test.each([
  ['loop', 'timeout', /more than 300 ms/],
  ['exit', 'thread', /ended with code 3/],
])('a row that makes a thread %s is found, and the others of its task go on', async (text, rule, reason) => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, enriched])
  await send(
    runtime,
    'clicks',
    [...Array(50).keys()].map((id) => click(id, id === 20 || id === 31 ? text : `t${id}`)),
  )
  await runtime.settle()
  expect(statusOf(runtime, 'enriched')).toMatchObject({ state: 'ok', received: 50, accepted: 48, quarantined: 2 })
  const rows = await query(runtime, `SELECT rule, reason, raw->>'id' AS id FROM {quarantine.enriched} ORDER BY id`)
  expect(rows).toMatchObject([
    { rule, id: '20' },
    { rule, id: '31' },
  ])
  expect(rows[0]!['reason']).toMatch(reason)
})

test('calls that wait are given up in time, and one that hangs its thread is told from those beside it', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, declared.waited])
  const texts: Record<number, string> = { 3: 'slow', 11: 'throw', 17: 'loop' }
  await send(
    runtime,
    'clicks',
    [...Array(40).keys()].map((id) => click(id, texts[id] ?? `t${id}`)),
  )
  await runtime.settle()
  expect(await query(runtime, `SELECT (raw->>'id')::INT AS id, rule FROM {quarantine.waited} ORDER BY 1`)).toEqual([
    { id: 3, rule: 'timeout' },
    { id: 11, rule: 'function' },
    { id: 17, rule: 'timeout' },
  ])
  // In the order they came, whichever was faster.
  const { length } = await query(runtime, 'SELECT 1 FROM {waited}')
  expect(length).toBe(37)
  for (const partition of [0, 1]) {
    const rows = await query(runtime, `SELECT _offset::INT AS o FROM {waited} WHERE _partition = ${partition}`)
    expect(rows.map(({ o }) => o)).toEqual(rows.map(({ o }) => Number(o)).toSorted((a, b) => a - b))
  }
})

describe('results', () => {
  test('a row that does not fit its columns is refused, and says what is wrong', async () => {
    const cases: readonly (readonly [json: string, rule: string | undefined, reason: RegExp])[] = [
      ['{"id":1,"n":2,"extra":true}', undefined, /^$/],
      ['{"id":1,"n":2.5}', 'type(n)', /^n is 2.5, which is not a valid int$/],
      ['{"id":1,"n":"2"}', 'type(n)', /^n is '2', which/],
      ['{"id":1}', 'not_null(n)', /^n is missing$/],
      ['{"id":1,"n":3,"note":7}', 'type(note)', /^note is 7/],
      ['{"id":1,"n":3,"note":"\\ud800"}', 'type(note)', /^note is '\ufffd'/],
      ['[]', 'result', /returned an array, which is no row/],
      ['null', 'result', /returned null/],
      ['"text"', 'result', /returned 'text'/],
      ['{', 'function', /^SyntaxError: .*JSON/],
    ]
    const home = await Home.make()
    const runtime = await open(home, [clicks, declared.misfits])
    await send(
      runtime,
      'clicks',
      cases.map(([text], id) => click(id, text)),
    )
    await runtime.settle()
    expect(statusOf(runtime, 'misfits')).toMatchObject({ rows: 1, received: cases.length, accepted: 1 })
    const refused = await query(runtime, `SELECT (raw->>'id')::INT AS id, rule, reason FROM {quarantine.misfits}`)
    for (const [id, [json, rule, reason]] of cases.entries()) {
      const found = refused.find((row) => row['id'] === id)
      expect(found?.['rule'], json).toBe(rule)
      expect((found?.['reason'] as string | undefined) ?? '').toMatch(reason)
    }
  })

  test('a flatMap gives as many rows as it may, and not one more', async () => {
    const home = await Home.make()
    const runtime = await open(home, [clicks, declared.words])
    await send(runtime, 'clicks', [
      click(1, 'many 100'),
      click(2, 'many 101'),
      click(3, 'many 1000000'),
      click(4, 'a b throw'),
    ])
    await runtime.settle()
    expect(statusOf(runtime, 'words')).toMatchObject({ rows: 100, received: 4, accepted: 1, quarantined: 3 })
    expect(await query(runtime, `SELECT (raw->>'id')::INT AS id, rule FROM {quarantine.words} ORDER BY 1`)).toEqual([
      { id: 2, rule: 'emit' },
      { id: 3, rule: 'emit' },
      // A generator that throws: none of its rows stay.
      { id: 4, rule: 'function' },
    ])
    expect(await query(runtime, 'SELECT DISTINCT word FROM {words} WHERE _index = 99')).toEqual([{ word: 'w99' }])
  })

  test('functions follow one another, and rows keep their order within a record', async () => {
    const home = await Home.make()
    const runtime = await open(home, [clicks, declared.words, declared.letters, declared.vowels])
    await send(runtime, 'clicks', [click(1, 'hello world'), click(2, 'education muchlongerthanten')])
    await runtime.settle()
    const text = async (name: string) =>
      query(
        runtime,
        `SELECT string_agg(letter, '' ORDER BY _index) AS text FROM {${name}} GROUP BY _partition, _offset ORDER BY text`,
      )
    expect(await text('letters')).toEqual([{ text: 'education' }, { text: 'helloworld' }])
    expect(await text('vowels')).toEqual(
      [{ text: 'eoo' }, { text: 'euaio' }].toSorted((a, b) => (a.text < b.text ? -1 : 1)),
    )
    expect(await query(runtime, `SELECT raw->>'word' AS word, raw->>'_index' AS i FROM {quarantine.letters}`)).toEqual([
      { word: 'muchlongerthanten', i: '1' },
    ])
    await send(runtime, 'clicks', [click(3, 'aha')])
    await runtime.settle()
    expect(await value(runtime, 'SELECT count(*)::INT FROM {vowels}')).toBe(10)
    for (const name of ['words', 'letters', 'vowels'])
      expect(await verify(runtime, name)).toMatchObject({ equal: true })
  })

  test('a row that spoils its batch is refused alone', async () => {
    const home = await Home.make()
    const runtime = await open(home, [clicks, declared.even])
    await send(
      runtime,
      'clicks',
      [...Array(30).keys()].map((id) => click(id, id === 8 ? 'throw' : 'x')),
    )
    await runtime.settle()
    expect(statusOf(runtime, 'even')).toMatchObject({ rows: 14, received: 30, accepted: 29, quarantined: 1 })
  })
})

test('what fails with a named error is called again, and nothing else', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, declared.retried])
  const path = (id: number) => join(home.dataDirectory, `calls${id}`)
  await send(
    runtime,
    'clicks',
    [0, 1, -1].map((id) => click(id, path(id))),
  )
  await runtime.settle()
  expect(await query(runtime, 'SELECT id, calls FROM {retried} ORDER BY id')).toEqual([
    { id: 0, calls: 1 },
    { id: 1, calls: 3 },
  ])
  expect(await query(runtime, `SELECT rule, raw->>'id' AS id FROM {quarantine.retried}`)).toEqual([
    { rule: 'function', id: '-1' },
  ])
})

test('while a service is down its rows wait: none is lost, and none refused', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, declared.guarded])
  const path = join(home.dataDirectory, 'down')
  writeFileSync(path, '')
  await send(
    runtime,
    'clicks',
    [...Array(10).keys()].map((id) => click(id, path)),
  )
  await runtime.settle()
  expect(statusOf(runtime, 'guarded')).toMatchObject({ state: 'failed', rows: 0, quarantined: 0 })
  expect(statusOf(runtime, 'guarded').reason).toMatch(/fails again and again: Error: the service is down/)
  rmSync(path)
  await send(runtime, 'clicks', [click(10, path)])
  await runtime.settle()
  expect(statusOf(runtime, 'guarded')).toMatchObject({ state: 'ok', rows: 11, received: 11, quarantined: 0 })
})

test('a lookup is remembered by its key, for as many keys as declared', async () => {
  const home = await Home.make()
  const runtime = await open(home, [declared.plain, declared.looked], { config: { limits: { functionWorkers: 1 } } })
  const paths = ['a', 'b', 'a', 'b', 'a', 'c', 'd', 'a'].map((name) => join(home.dataDirectory, `look-${name}`))
  await send(
    runtime,
    'plain',
    paths.map((text, id) => ({ id, text })),
  )
  await runtime.settle()
  const rows = await query(runtime, 'SELECT n FROM {looked} ORDER BY id')
  expect(rows.map(({ n }) => n)).toEqual([1, 1, 1, 1, 1, 1, 1, 2])
})

test('refused rows are taken again on request, and leave quarantine when they pass', async () => {
  const home = await Home.make()
  const runtime = await open(home, [clicks, declared.guarded])
  const path = join(home.dataDirectory, 'down')
  writeFileSync(path, '')
  // Two failures in a row do not open the circuit.
  await send(runtime, 'clicks', [click(1, path), click(2, path)])
  await runtime.settle()
  expect(statusOf(runtime, 'guarded')).toMatchObject({ rows: 0, quarantined: 2 })
  rmSync(path)
  const counts = await runtime.tables.get('guarded')!.replayRefused('true')
  expect(counts).toMatchObject({ received: 2, accepted: 2, quarantined: 0 })
  expect(statusOf(runtime, 'guarded')).toMatchObject({ rows: 2, received: 2, accepted: 2, quarantined: 0 })
  expect(await value(runtime, 'SELECT count(*)::INT FROM {quarantine.guarded}')).toBe(0)
  // It is one step: nothing is taken again.
  await send(runtime, 'clicks', [click(3, path)])
  await runtime.settle()
  expect(statusOf(runtime, 'guarded')).toMatchObject({ rows: 3, received: 3, accepted: 3 })
})

test('however rows fall into batches, steps and crashes, the result is the same', async () => {
  const texts = fc.constantFrom('a b', 'hello world', 'throw', 'many 3', 'many 101', 'x')
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(texts, { maxLength: 8 }), { minLength: 1, maxLength: 4 }),
      fc.nat(3),
      async (batches, crashAt) => {
        const home = await Home.make()
        const declarations = [clicks, declared.words, declared.letters]
        let runtime = await open(home, declarations)
        let id = 0
        for (const [i, batch] of batches.entries()) {
          if (batch.length > 0)
            await send(
              runtime,
              'clicks',
              batch.map((text) => click(id++, text)),
            )
          if (i === crashAt) {
            await home.crash(runtime)
            runtime = await open(home, declarations)
          } else if (i % 2 === 0) await runtime.settle()
        }
        await runtime.settle()
        const all = batches.flat()
        const bad = all.filter((text) => text === 'throw' || text === 'many 101').length
        expect(statusOf(runtime, 'words')).toMatchObject({ received: all.length, quarantined: bad })
        const expected = all.flatMap((text) =>
          text === 'throw' || text === 'many 101' ? [] : text === 'many 3' ? ['w0', 'w1', 'w2'] : text.split(' '),
        )
        const words = await query(runtime, 'SELECT word FROM {words} ORDER BY word')
        expect(words.map(({ word }) => word)).toEqual(expected.toSorted())
        expect(await value(runtime, 'SELECT count(*)::INT FROM {letters}')).toBe(expected.join('').length)
        await home.remove()
      },
    ),
    { numRuns: 8 },
  )
})

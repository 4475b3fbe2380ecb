import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { check, mapReduce, sql, stream, t, table } from '../../../src/index.ts'

/** What tests of functions run: loaded by the tests, and again by the threads. */
export const clicks = stream('clicks', {
  columns: {
    id: t.int(),
    text: t.string(),
    at: t.timestamp().nullable(),
    big: t.long().nullable(),
    price: t.decimal(20, 3).nullable(),
    data: t.json().nullable(),
    tags: t.list(t.struct({ day: t.date(), n: t.long().nullable() })).nullable(),
  },
  unique: ['id'],
  partitions: 2,
})

class Unlucky extends Error {
  override readonly name = 'Unlucky'
}

/** Rows say what is to happen to them. */
function obey(text: string): string {
  if (text === 'throw') throw new TypeError('it was told to throw')
  if (text === 'loop') for (;;);
  if (text === 'exit') process.exit(3)
  return text
}

/** Times a file was noted in: what threads do, tests see. */
function note(path: string): number {
  appendFileSync(path, 'x')
  return readFileSync(path).length
}

export const enriched = clicks.map('enriched', {
  columns: {
    id: t.int(),
    upper: t.string(),
    at: t.timestamp().nullable(),
    big: t.long().nullable(),
    price: t.decimal(20, 3).nullable(),
    data: t.json().nullable(),
    tags: t.list(t.struct({ day: t.date(), n: t.long().nullable() })).nullable(),
  },
  timeout: '300 ms',
  map: (row) => {
    obey(row.text)
    return { ...row, upper: row.text.toUpperCase() }
  },
})

export const misfits = clicks.map('misfits', {
  columns: { id: t.int(), n: t.int(), note: t.string().nullable() },
  map: (row) => JSON.parse(row.text) as { id: number; n: number },
})

export const words = clicks.flatMap('words', {
  columns: { word: t.string(), length: t.int() },
  emit: 100,
  flatMap: function* ({ text }) {
    if (text.startsWith('many ')) for (let i = 0; i < Number(text.slice(5)); i++) yield { word: `w${i}`, length: i }
    else for (const word of text.split(' ')) yield { word: obey(word), length: word.length }
  },
})

export const letters = words.flatMap('letters', {
  columns: { letter: t.string() },
  emit: 10,
  flatMap: ({ word }) => Array.from(word, (letter) => ({ letter })),
})

export const vowels = letters.filter('vowels', { filter: ({ letter }) => 'aeiou'.includes(letter) })

export const even = clicks.filter('even', {
  batch: 7,
  filter: (rows) => rows.map((row) => (obey(row.text), row.id % 2 === 0)),
})

export const waited = clicks.map('waited', {
  columns: { id: t.int(), text: t.string() },
  timeout: '200 ms',
  concurrency: 8,
  map: async ({ id, text }, { signal }) => {
    await sleep(text === 'slow' ? 60_000 : (id * 7) % 5, undefined, { signal })
    return { id, text: obey(text) }
  },
})

/** The text is a path: what it holds tells how often it was called. */
export const retried = clicks.map('retried', {
  columns: { id: t.int(), calls: t.int() },
  retry: { attempts: 3, wait: '1 ms', on: ['Unlucky'] },
  map: ({ id, text }, { attempt }) => {
    const calls = note(text)
    if (attempt < 3 && id > 0) throw new Unlucky('not yet')
    if (id < 0) throw new RangeError('never')
    return { id, calls }
  },
})

/** Fails while the file that the text names is there. */
export const guarded = clicks.map('guarded', {
  columns: { id: t.int() },
  breaker: { failures: 3, rest: '1 ms' },
  map: ({ id, text }) => {
    if (existsSync(text)) throw new Error('the service is down')
    return { id }
  },
})

export const plain = stream('plain', { columns: { id: t.int(), text: t.string() } })

export const looked = plain.map('looked', {
  columns: { id: t.int(), n: t.int() },
  cache: { entries: 2, for: '1 hour' },
  concurrency: 1,
  map: async ({ id, text }, { cached }) => ({ id, n: await cached(text, () => note(text)) }),
})

export const counts = mapReduce('counts', {
  from: clicks,
  columns: { word: t.string(), n: t.int() },
  emit: 50,
  map: ({ text }) => text.split(' ').map((word) => [obey(word), 1]),
  combine: (_, values) => values.reduce((a, b) => a + b, 0),
  reduce: (word, values) => ({ word, n: [...values].reduce((a, b) => a + b, 0) }),
})

export const upper = table('upper', { sql: sql`select id, upper(text) as text from ${clicks}` })

/** Several rows for a key, none for some, values in the order of their JSON. */
export const lists = mapReduce('lists', {
  from: sql`select id % 3 as rest, id, 1.5 as half from ${upper}`,
  columns: { rest: t.int(), id: t.int() },
  map: (row) => [[[row['rest'] as number], row['id'] as number]],
  *reduce([rest], values) {
    if (rest !== 1) for (const id of values) yield { rest: rest as number, id }
  },
})

export const numbers = stream('numbers', { columns: { id: t.int() } })

/** Far more pairs than rows, most of one key; values are added up without being held. */
export const heavy = mapReduce('heavy', {
  from: numbers,
  columns: { key: t.string(), n: t.int(), sum: t.long() },
  *map({ id }) {
    for (let i = 0; i < 1_000; i++) {
      const key = i % 10 === 0 ? `k${(id * 7 + i) % 1_000}` : 'skewed'
      yield [key, { value: i, padding: 'x'.repeat(250) }]
    }
  },
  reduce: (key, values) => {
    let [n, sum] = [0, 0]
    for (const { value } of values) {
      n++
      sum += value
    }
    return { key, n, sum }
  },
})

export const failing = mapReduce('failing', {
  from: numbers,
  columns: { key: t.int() },
  map: ({ id }) => [[id % 3, id]],
  reduce: (key, values) => {
    if (key === 2 && [...values].length > 1) throw new RangeError('too much')
    return { key }
  },
})

export const visits = stream('visits', {
  columns: { id: t.int(), at: t.timestamp(), page: t.string() },
  time: 'at',
  lateness: '20 seconds',
  unique: ['id'],
  partitions: 2,
})

/** The time has another name here. */
export const seen = visits.map('seen', {
  columns: { id: t.int(), since: t.timestamp(), page: t.string() },
  time: 'since',
  map: ({ id, at, page }) => ({ id, since: at, page: obey(page) }),
})

export const kept = seen.filter('kept', { filter: ({ page }) => page !== '/none' })

/** Waits while there is a file that the page names. */
export const served = visits.map('served', {
  columns: { at: t.timestamp() },
  time: 'at',
  breaker: { failures: 1, rest: '1 ms' },
  map: ({ at, page }) => {
    if (existsSync(page)) throw new Error('the service is down')
    return { at }
  },
})

/** Twice each, the second an hour earlier; refreshed by one process alone, for its rows are checked as a whole. */
export const echoes = kept.flatMap('echoes', {
  columns: { id: t.int(), nth: t.int(), at: t.timestamp() },
  time: 'at',
  emit: 2,
  flatMap: ({ id, since }) => [
    { id, nth: 1, at: since },
    { id, nth: 2, at: new Date(Date.parse(since) - 3_600_000).toISOString() },
  ],
  checks: [check.unique(['id', 'nth'])],
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { namedColumns } from '../../src/engine/duckdb/named-columns.ts'
import { syntaxTree } from '../../src/engine/duckdb/syntax-tree.ts'

const COLUMNS = ['id', 'Page', 'ms', 'tags', 'rec', 'ts']
const ROWS = `SELECT i AS id, 'p' || i % 3 AS "Page", i * 7 % 5 AS ms, [i, i + 1] AS tags, {'id': i, 'deep': i % 2} AS rec,
  TIMESTAMP '2026-01-01' + to_seconds(i) AS ts FROM range(20) r(i)`

let directory: string
let database: Database

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-engine-'))
  database = await Database.open({ threads: 1, memory: 256 * 1024 ** 2, temporary: join(directory, 'tmp') })
})
afterAll(async () => {
  await database.close()
  await rm(directory, { recursive: true, force: true })
})

/** What a query gives over some columns of the rows. */
async function over(query: string, columns: readonly string[]): Promise<unknown[]> {
  const list = columns.map((name) => `"${name}"`).join(', ')
  return database.rows(query.replaceAll('$rows', `(SELECT ${list === '' ? '1 AS one' : list} FROM (${ROWS}))`))
}

async function namesOf(query: string): Promise<ReadonlySet<string> | undefined> {
  return namedColumns(await syntaxTree(database, query.replaceAll('$rows', '"rows"')))
}

test.each([
  ['select count(*) as n from $rows', []],
  ['select PAGE, sum(ms) as s from $rows group by all order by 1', ['Page', 'ms']],
  ['select c.page from $rows c where c.id > 3 order by c.ts limit 4', ['id', 'Page', 'ts']],
  ['select rec.deep as d, count(*) as n from $rows group by d order by d', ['rec']],
  ['select count(distinct page) filter (where ms > 2) as n from $rows', ['Page', 'ms']],
  [
    'select id from $rows qualify row_number() over (partition by page order by ts desc) = 1 order by id',
    ['id', 'Page', 'ts'],
  ],
  ['with x as (select id, ms from $rows) select max(y.ms) as m from x y join $rows using (id)', ['id', 'ms']],
  ['select u from $rows, unnest(tags) t(u) order by u', ['tags']],
  ['select list_transform(tags, x -> x + ms) as l from $rows order by id', ['id', 'ms', 'tags']],
  ['select (select max(o.ms) from $rows o where o.page = c.page) as m from $rows c order by m', ['Page', 'ms']],
  ['select id as ms from $rows union all select ms from $rows order by 1', ['id', 'ms']],
  ['select a.id from $rows a semi join $rows b on a.id = b.ms order by 1', ['id', 'ms']],
])('%s: without the others it gives the same', async (query, read) => {
  const names = await namesOf(query)
  const kept = COLUMNS.filter((name) => names!.has(name.toLowerCase()))
  expect(kept).toEqual(read)
  expect(await over(query, kept)).toEqual(await over(query, COLUMNS))
})

test.each([
  'select * from $rows',
  'select c.* exclude (id) from $rows c',
  "select columns('i.*') from $rows",
  'select count(distinct columns(*)) from $rows',
  'from $rows',
  'select #2 from $rows',
  'select c from $rows c',
  'select hash(C) from $rows c',
  'select id from $rows a natural join (select ms, id from $rows) b',
  'select b from $rows as c(a, b)',
  'pivot $rows on page using sum(ms)',
  'select id from (unpivot $rows on id, ms)',
  'select id from (select distinct * from $rows)',
  'select "rows" from $rows',
  'this is no query',
])('%s: it may read any', async (query) => {
  expect(await namesOf(query)).toBeUndefined()
})

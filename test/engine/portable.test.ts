import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { syntaxTree } from '../../src/engine/duckdb/syntax-tree.ts'
import { CONSTRUCTS } from '../../src/engine/portable/constructs.ts'
import { unportable } from '../../src/engine/portable/find.ts'
import { FUNCTIONS, SAME } from '../../src/engine/portable/functions.ts'

let database: Database

beforeAll(async () => {
  database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: '/nonexistent' })
})
afterAll(() => database.close())

async function found(
  query: string,
  columns: readonly string[] = [],
  filled: readonly string[] = [],
): Promise<string[]> {
  const surroundings = { columns: new Set(columns), filled: new Set(filled) }
  return unportable(query, await syntaxTree(database, query), surroundings).map(({ construct }) => construct)
}

const RULES = [...Object.values(CONSTRUCTS), ...Object.values(FUNCTIONS)]

describe('every construct', () => {
  test.each(RULES.map((rule) => [rule.construct, rule] as const))('%s', async (construct, rule) => {
    expect(await found(rule.example)).toContain(construct)
    if ('portable' in rule && rule.portable !== undefined) expect(await found(rule.portable)).toEqual([])
  })
})

test('what both engines take alike is let pass', async () => {
  expect(
    await found(`with recent as (select * from "orders" o where o.at >= timestamp '2026-01-01' - interval 5 day)
      select country as "Country", count(*) as n, sum(quantity * price) filter (where quantity > 1) as revenue,
        max_by(id, at) as newest, round(avg(price), 2) as mean, count_if(price is null) as free,
        date_trunc('day', at) as day, coalesce(try_cast(code as int), 0) as code, name || ' ' || 'it''s $$ e''x'
      from recent join countries using (country) where name like 'A%' and not (id in (1, 2)) or exists (select 1)
      group by all having count(*) > 1 order by n desc, country nulls last limit 10`),
  ).toEqual([])
})

test('nulls matter only where there may be some', async () => {
  const query = 'select id, row_number() over (partition by id order by ts) as n from events'
  expect(await found(query)).toEqual([CONSTRUCTS.nulls.construct])
  expect(await found(query, ['id', 'ts'], ['ts'])).toEqual([])
  expect(await found(`${query} left join others using (id)`, ['id', 'ts'], ['ts'])).toEqual([
    CONSTRUCTS.nulls.construct,
  ])
  expect(await found('select id from events order by ts')).toEqual([])
})

test('an alias that is also a column is the column', async () => {
  const query = 'select trim(name) as name from people where name is not null'
  expect(await found(query)).toEqual([CONSTRUCTS.aliasInWhere.construct])
  expect(await found(query, ['name'])).toEqual([])
})

test('functions that were not tried are named', async () => {
  expect(await found('select jaccard(a, b) as x from t')).toEqual(['jaccard()'])
})

test('docs/sql.md tells of every construct and function', async () => {
  const page = await readFile(new URL('../../docs/sql.md', import.meta.url), 'utf8')
  const text = page.replaceAll('\\', '').replaceAll(/ +/g, ' ')
  const cell = (value: string) => value.replaceAll('\\', '')
  for (const { construct, spark, remedy } of RULES)
    expect(text).toContain(`| ${cell(construct)} | ${spark} | ${cell(remedy)} |`)
  for (const name of SAME) expect(text).toContain(`\`${name}\``)
})

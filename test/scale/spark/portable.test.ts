import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Database } from '../../../src/engine/duckdb/database.ts'
import { CONSTRUCTS } from '../../../src/engine/portable/constructs.ts'
import { FUNCTIONS, SAME } from '../../../src/engine/portable/functions.ts'
import type { Rule } from '../../../src/engine/portable/rule.ts'
import { sql, stream, t, table } from '../../../src/index.ts'
import { Project } from '../../../src/project/project.ts'
import { bindProject } from '../../../src/runtime/bind.ts'
import { compareTypes } from '../../../src/runtime/portability.ts'
import { sparkUrl } from './spark.ts'
import { SPARK } from '../../../src/engine/spark/dialect.ts'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import { SAME_EXAMPLES } from './same-functions.ts'

let database: Database
let session: SparkSession

beforeAll(async () => {
  database = await Database.open({ threads: 2, memory: 2 ** 28, temporary: tmpdir() })
  session = await SparkSession.open({ url: sparkUrl() })
})
afterAll(async () => {
  await database.close()
  await session.close()
})

const onDuckdb = async (sql: string) => lines(await database.rows(sql))
const onSpark = async (sql: string) => lines(await session.rows(sql))

/** Rows as text, numbers to ten digits, in order. */
function lines(rows: readonly Record<string, unknown>[]): string[] {
  const text = (value: unknown): string => {
    const shown = Array.isArray(value) ? `[${value.join(', ')}]` : String(value)
    if (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(shown)) return String(Number(Number(shown).toPrecision(10)))
    return shown
      .replaceAll("'", '')
      .replace(/^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:(\.\d*?[1-9])?0*)?Z?$/, '$1 $2$3')
  }
  return rows.map((row) => Object.values(row).map(text).join(' | ')).sort()
}

const RULES: Rule[] = [...Object.values(CONSTRUCTS), ...Object.values(FUNCTIONS)]

describe('what Spark refuses or gives otherwise, and the portable spelling', () => {
  test.each(RULES.map((rule) => [rule.construct, rule] as const))('%s', async (_, rule) => {
    const wanted = await onDuckdb(rule.example)
    const given = await onSpark(rule.example).catch((error: unknown) => error)
    if (rule.spark === 'refuses') expect(given).toBeInstanceOf(Error)
    else {
      expect(given).toBeInstanceOf(Array)
      expect(given).not.toEqual(wanted)
    }
    if (rule.portable === undefined) return
    const portable = await onDuckdb(rule.portable)
    expect(await onSpark(rule.portable)).toEqual(portable)
  })
})

test('every function that is let pass has been tried', () => {
  expect(Object.keys(SAME_EXAMPLES).sort()).toEqual([...SAME].sort())
})

describe('what both have by one name means the same', () => {
  test.each(Object.entries(SAME_EXAMPLES))('%s', async (_, query) => {
    expect(await onSpark(query)).toEqual(await onDuckdb(query))
  })
})

test('types that Spark computes otherwise are told, and what it refuses', async () => {
  const sold = stream('sold', { time: 'ts', columns: { ts: t.timestamp(), price: t.decimal(10, 2), n: t.int() } })
  const same = table('same', {
    sql: sql`select n, sum(n) as total, sum(price) as revenue, cast(ts as date) as day, date_trunc('day', ts) as midnight,
             avg(cast(price as double)) as mean, count(*) as lines, max_by(n, ts) as newest from ${sold} group by n, ts`,
  })
  const other = table('other', { sql: sql`select avg(price) as mean, max(ts) - min(ts) is null as none from ${sold}` })
  const refused = table('refused', { sql: sql`select jaccard('a', 'b') as x from ${sold}` })
  const visits = table('visits', {
    window: { gap: '5 minutes', by: 'n' },
    sql: sql`select count(*) as lines from ${sold}`,
  })
  const pairs = table('pairs', {
    window: { gap: '5 minutes', by: 'n' },
    sql: sql`select a.price, b.ts as later from ${sold} a left join ${sold} b on a.price = b.price and a.ts < b.ts`,
  })
  const declarations = [sold, same, other, refused, visits, pairs]
  const project = new Project({ name: 'p', directory: '/p', config: {}, declarations })
  const bound = await bindProject(project, database)
  expect(bound.problems).toEqual([])
  const problems = await compareTypes(bound, database, { dialect: SPARK, describe: (text) => session.analyze(text) })
  expect(problems.map(({ code, context }) => [context['dataset'], code])).toEqual([
    ['other', 'type-differs'],
    ['refused', 'bad-sql'],
    ['pairs', 'bad-sql'],
  ])
  expect(problems[0]!.message).toContain("Column 'mean' is double in DuckDB, but decimal(14, 6) in Spark.")
})

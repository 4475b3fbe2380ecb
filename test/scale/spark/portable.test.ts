import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Database } from '../../../src/engine/duckdb/database.ts'
import { CONSTRUCTS } from '../../../src/engine/portable/constructs.ts'
import { FUNCTIONS, SAME } from '../../../src/engine/portable/functions.ts'
import type { Rule } from '../../../src/engine/portable/rule.ts'
import { sparkUrl } from './spark.ts'
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

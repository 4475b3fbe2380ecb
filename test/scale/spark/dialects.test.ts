import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Dialect, asTimestamp } from '../../../src/engine/dialect.ts'
import { Database } from '../../../src/engine/duckdb/database.ts'
import { DUCKDB } from '../../../src/engine/duckdb/dialect.ts'
import { SPARK } from '../../../src/engine/spark/dialect.ts'
import { sparkUrl } from './spark.ts'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import { table, sql } from '../../../src/index.ts'
import { frameOf } from '../../../src/runtime/tables/frame.ts'

let session: SparkSession
let database: Database
let temporary: string

beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'millrace-dialects-'))
  session = await SparkSession.open({ url: sparkUrl() })
  database = await Database.open({ threads: 2, memory: 512 * 1024 ** 2, temporary })
})

afterAll(async () => {
  await session.close()
  await database.close()
  await rm(temporary, { recursive: true })
})

/** What both engines answer to a query that each dialect writes, as text, in order. */
async function both(write: (dialect: Dialect) => string): Promise<[unknown[], unknown[]]> {
  const [duckdb, spark] = await Promise.all([database.rows(write(DUCKDB)), session.rows(write(SPARK))])
  return [lines(duckdb), lines(spark)]
}

function lines(rows: readonly Record<string, unknown>[]): unknown[] {
  return rows.map((row) => Object.values(row).map(String).join(' | ')).sort()
}

const moment = fc.integer({ min: Date.UTC(1960, 0, 1), max: Date.UTC(2040, 0, 1) })

test('both find the same windows of any moment', async () => {
  const unit = fc.constantFrom('minute', 'hour', 'day', 'week', 'month', 'year')
  const window = fc.oneof(
    unit.map((interval) => ({ interval })),
    fc
      .record({
        everyMs: fc.integer({ min: 500, max: 40 * 86_400_000 }),
        times: fc.integer({ min: 1, max: 4 }),
        more: fc.integer({ min: 0, max: 400 }),
      })
      .map(({ everyMs, times, more }) => ({
        window: { size: `${everyMs * times + more} ms`, every: `${everyMs} ms` },
      })),
  )
  await fc.assert(
    fc.asyncProperty(
      window,
      fc.array(moment, { minLength: 1, maxLength: 20 }),
      fc.boolean(),
      async (kind, times, isDate) => {
        const frame = frameOf(table('w', { ...kind, emit: 'continuous', sql: sql`select 1 as x` } as never))!
        const [duckdb, spark] = await both((dialect) => {
          const { identifier, epochMs } = dialect
          const literals = times.map((ms) =>
            isDate ? `CAST(${dialect.timestamp(ms)} AS DATE)` : dialect.timestamp(ms),
          )
          const rows = `SELECT ${identifier('$t')}, ${frame.startsSql(dialect, identifier('$t'))} AS s FROM ${dialect.valuesRelation(literals, '$t')} AS rows`
          const columns = `SELECT ${epochMs(asTimestamp(dialect, identifier('$t')))} AS t, ${epochMs('s')} AS s, ${frame.columnsSql(dialect, 's', times[0])} FROM (${rows}) AS starts`
          const told = [frame.column, ...(frame.marksOpen ? ['window_end'] : [])].map((name) =>
            epochMs(asTimestamp(dialect, identifier(name))),
          )
          return `SELECT t, s, ${told.join(', ')}${frame.marksOpen ? ', window_open' : ''}, ${frame.literal(dialect, 0)} = ${frame.literal(dialect, 0)} FROM (${columns}) AS told`
        })
        expect(spark).toEqual(duckdb)
      },
    ),
    { numRuns: 60 },
  )
})

test('both quote names and texts of any kind', async () => {
  const unit = fc.constantFrom('a', 'É', '😀', "'", '"', '`', '\\', 'n', '%', '$', ' ', '\n', ';', '--')
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit, maxLength: 8 }),
      fc.string({ unit, minLength: 1, maxLength: 8 }),
      async (text, name) => {
        const [duckdb, spark] = await both(
          (dialect) =>
            `SELECT ${dialect.identifier(`x${name}`)} FROM (SELECT ${dialect.text(text)} AS ${dialect.identifier(`x${name}`)}) AS named`,
        )
        expect(spark).toEqual(duckdb)
      },
    ),
    { numRuns: 60 },
  )
})

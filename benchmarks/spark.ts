import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { MillraceError } from '../src/base/errors.ts'
import { Database } from '../src/engine/duckdb/database.ts'
import { Lake } from '../src/lake/lake.ts'
import { fieldsOf, t } from '../src/project/columns.ts'
import { duckdbEngine } from '../src/runtime/duckdb-engine.ts'
import { SparkEngine } from '../src/runtime/spark-engine.ts'
import { inTemporary, round } from './harness.ts'
import type { BenchOptions } from './run.ts'
import { pythonWithSpark } from './spark/python.ts'

const ROUNDS = 7

/** The job, over a relation of events. */
const job = (events: string): string =>
  `SELECT user_id % 5000 AS who, date_trunc('DAY', ts) AS day, count(*) AS n, sum(amount) AS amount, max(page) AS page
   FROM ${events} GROUP BY user_id % 5000, date_trunc('DAY', ts)`

/**
 * The same job on the same Spark (`SPARK_URL`), again and again in turns: read an Iceberg table, group, write an Iceberg table.
 * Once as a step of Millrace, its commit included; once by plain PySpark.
 */
export async function run({ events = 2_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  const url = process.env['SPARK_URL']
  if (url === undefined)
    throw new MillraceError('invalid', 'no-service', 'SPARK_URL names no Spark.', {
      hint: 'npm run services -- run spark -- npm run --silent bench -- spark',
    })
  return inTemporary(async (root) => {
    const lake = new Lake({ root: join(root, 'lake') })
    const database = await Database.open({ threads: 2, memory: 1024 ** 3, temporary: join(root, 'tmp') })
    const engine = new SparkEngine({ lake, url, catalog: { directory: lake.root } })
    const reference = new Reference(await pythonWithSpark(), url, lake.root, job('millrace.curated.events'))
    try {
      const source = await lake.create(
        { namespace: 'curated', name: 'events' },
        { fields: fieldsOf({ user_id: t.long(), ts: t.timestamp(), amount: t.decimal(12, 2), page: t.string() }) },
      )
      const written = await duckdbEngine(database).step((step) =>
        step.write(
          source,
          `SELECT (i * 7919) % 100000 AS user_id, TIMESTAMP '2026-01-01' + to_milliseconds(i * 300) AS ts,
           ((i * 31) % 100000 / 100)::DECIMAL(12, 2) AS amount, '/p/' || (i % 997) AS page FROM range(${events}) r(i)`,
        ),
      )
      await source.commit({ operation: 'append', add: written, remove: [], summary: {} })
      const target = await lake.create(
        { namespace: 'curated', name: 'daily' },
        {
          fields: fieldsOf({
            who: t.long(),
            day: t.timestamp(),
            n: t.long(),
            amount: t.decimal(22, 2),
            page: t.string(),
          }),
        },
      )
      const step = () =>
        engine.step(async (work) => {
          const files = await source.files(source.snapshot()!)
          const add = await work.write(target, job(await work.relation(source, files)))
          const before = target.snapshot() ? await target.files(target.snapshot()!) : []
          const remove = before.map((file) => file.path)
          await target.commit({ operation: remove.length > 0 ? 'overwrite' : 'append', add, remove, summary: {} })
        })
      const times = { millrace: [] as number[], pyspark: [] as number[] }
      for (let i = 0; i < ROUNDS + 2; i++) {
        const began = performance.now()
        await step()
        const ours = performance.now() - began
        const theirs = await reference.round()
        say(`round ${i}: ${Math.round(ours)} ms, PySpark ${Math.round(theirs)} ms`)
        // The first two warm Spark up for both.
        if (i < 2) continue
        times.millrace.push(ours)
        times.pyspark.push(theirs)
      }
      const [ours, theirs] = [median(times.millrace), median(times.pyspark)]
      return {
        rows: events,
        millrace_ms: Math.round(ours),
        pyspark_ms: Math.round(theirs),
        millrace_rows_per_s: Math.round((events / ours) * 1_000),
        pyspark_rows_per_s: Math.round((events / theirs) * 1_000),
        // Of neighbours in time: others use the machine too.
        ratio: round(median(times.pyspark.map((ms, i) => ms / times.millrace[i]!)), 2),
      }
    } finally {
      await reference.close()
      await engine.close()
      await database.close()
    }
  })
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
}

/** PySpark in a process of its own: runs the job once for each line it is sent, and answers with the milliseconds it took. */
class Reference {
  readonly #python
  readonly #answers

  constructor(python: string, url: string, warehouse: string, sql: string) {
    const script = fileURLToPath(new URL('./spark/reference.py', import.meta.url))
    this.#python = spawn(python, [script, url, warehouse, sql], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#answers = createInterface(this.#python.stdout)[Symbol.asyncIterator]()
  }

  async round(): Promise<number> {
    this.#python.stdin.write('again\n')
    const { value, done } = await this.#answers.next()
    if (done === true)
      throw new MillraceError('invalid', 'no-pyspark', 'PySpark ended; what it said is above.', {
        hint: 'PYSPARK_PYTHON, if set, must name a Python with pyspark-client.',
      })
    return Number(value)
  }

  async close(): Promise<void> {
    this.#python.stdin.end()
    if (this.#python.exitCode === null) await once(this.#python, 'exit')
  }
}

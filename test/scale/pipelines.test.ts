import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { SparkSession } from '../../src/engine/spark/session.ts'
import { runPipeline } from '../soak/run-pipeline.ts'
import { parquetEngine } from './support/parquet-engine.ts'

test('whatever is declared, however input comes: Spark gives the rows of one bulk query', async () => {
  const seeds = Number(process.env['PIPELINES'] ?? 4)
  const first = Number(process.env['PIPELINES_FROM'] ?? (Date.now() % 1_000_000) * 1_000)
  console.log(`PIPELINES=${seeds} PIPELINES_FROM=${first}`)
  const temporary = await mkdtemp(join(tmpdir(), 'millrace-spark-'))
  const session = await SparkSession.open({ url: process.env['SPARK_URL']! })
  const database = await Database.open({ threads: 2, memory: 512 * 1024 ** 2, temporary })
  try {
    const engine = parquetEngine(session, database, temporary)
    let rows = 0
    for (let seed = first; seed < first + seeds; seed++) {
      rows += await runPipeline(seed, engine).catch((error: unknown) => {
        throw new Error(`seed ${seed} (PIPELINES=1 PIPELINES_FROM=${seed})`, { cause: error })
      })
    }
    expect(rows).toBeGreaterThan(seeds * 10)
  } finally {
    await session.close()
    await database.close()
    await rm(temporary, { recursive: true })
  }
}, 1_200_000)

import { expect, test } from 'vitest'
import type { Lake } from '../../../src/lake/lake.ts'
import { SparkEngine } from '../../../src/runtime/spark-engine.ts'
import { runPipeline } from '../../soak/run-pipeline.ts'
import { sparkUrl } from './spark.ts'

test('whatever is declared, however input comes: Spark gives the rows of one bulk query', async () => {
  const seeds = Number(process.env['PIPELINES'] ?? 4)
  const first = Number(process.env['PIPELINES_FROM'] ?? (Date.now() % 1_000_000) * 1_000)
  console.log(`PIPELINES=${seeds} PIPELINES_FROM=${first}`)
  const engines: SparkEngine[] = []
  const over = (lake: Lake) => {
    const engine = new SparkEngine({ lake, url: sparkUrl(), catalog: { directory: lake.root } })
    engines.push(engine)
    return engine
  }
  try {
    let rows = 0
    for (let seed = first; seed < first + seeds; seed++) {
      rows += await runPipeline(seed, over).catch((error: unknown) => {
        throw new Error(`seed ${seed} (PIPELINES=1 PIPELINES_FROM=${seed})`, { cause: error })
      })
    }
    expect(rows).toBeGreaterThan(seeds * 10)
  } finally {
    for (const engine of engines) await engine.close()
  }
}, 1_200_000)

import { expect, test } from 'vitest'
import { runPipeline } from './run-pipeline.ts'

test('whatever is declared, however input comes: the rows of one bulk query', async () => {
  const seeds = Number(process.env['PIPELINES'] ?? 1_000)
  const first = Number(process.env['PIPELINES_FROM'] ?? (Date.now() % 1_000_000) * 1_000)
  console.log(`PIPELINES=${seeds} PIPELINES_FROM=${first}`)
  let rows = 0
  for (let seed = first; seed < first + seeds; seed++) {
    rows += await runPipeline(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed} (PIPELINES=1 PIPELINES_FROM=${seed})`, { cause: error })
    })
  }
  console.log(`${rows} rows compared`)
  expect(rows).toBeGreaterThan(seeds * 10)
})

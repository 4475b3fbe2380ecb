import fc from 'fast-check'
import { test } from 'vitest'
import { arrivals, expectLaw, oneBatch, retail } from '../runtime/batching.ts'

test('however the retail events arrive, what is published is what one batch gives', async () => {
  const seed = Number(process.env['BATCHING_SEED'] ?? Date.now() % 1_000_000)
  const numRuns = Number(process.env['BATCHING_RUNS'] ?? 150)
  console.log(`BATCHING_SEED=${seed} BATCHING_RUNS=${numRuns}`)
  for (const step of [24, 4]) {
    const input = await retail(step)
    const expected = await oneBatch(input)
    await fc.assert(
      fc.asyncProperty(arrivals, (arrival) => expectLaw(input, expected, arrival)),
      { numRuns: step === 4 ? Math.ceil(numRuns / 5) : numRuns, seed, endOnFailure: true },
    )
  }
})

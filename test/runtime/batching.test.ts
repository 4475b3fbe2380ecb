import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arrivals, expectLaw, oneBatch, retail } from './batching.ts'

test('however the retail events arrive, what is published is what one batch gives', { timeout: 180_000 }, async () => {
  const input = await retail(12)
  expect(input.length).toBeGreaterThan(2_000)
  const expected = await oneBatch(input)
  expect(Object.values(expected).every((rows) => rows.length > 1)).toBe(true)
  await fc.assert(
    fc.asyncProperty(arrivals, (arrival) => expectLaw(input, expected, arrival)),
    // The long version is test/soak/batching.test.ts.
    { numRuns: 6, interruptAfterTimeLimit: 45_000, endOnFailure: true },
  )
})

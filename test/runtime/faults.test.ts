import { expect, test } from 'vitest'
import { sweep } from '../support/ledger-cycle.ts'

// The long form, every operation: test/soak/faults.test.ts.
test('input/output error', async () => {
  const t = Date.now()
  expect(await sweep({ fault: { error: 'EIO', torn: 1, lasting: true }, from: 20, step: 97 })).toBeGreaterThan(4)
  console.log(Date.now() - t)
})

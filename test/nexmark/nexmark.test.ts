import { expect, test } from 'vitest'
import { ORACLE } from '../../benchmarks/nexmark/oracle.ts'
import { declared, everything, expectOracle, windows } from './run.ts'

test('every query has an oracle, and every oracle a query', async () => {
  const queries = (await declared()).map(({ name }) => name).filter((name) => /^q\d+$/.test(name))
  expect(queries.sort()).toEqual(Object.keys(ORACLE).sort())
})

// More seeds: test/soak/nexmark.test.ts.
test.for([1, 2, 3])(
  'however events arrive, every query publishes what one bulk statement gives: seed %i',
  { timeout: 180_000 },
  async (seed) => expectOracle(await everything(), seed, 10_000),
)

test.for([4, 5, 6])(
  'late events correct windows, and those too late are held back: seed %i',
  { timeout: 180_000 },
  async (seed) => expectOracle(await windows(), seed, 20_000),
)

import { test } from 'vitest'
import { everything, expectOracle, windows } from '../nexmark/run.ts'

const SEEDS = Array.from({ length: 30 }, (_, i) => 100 + i)

test.for(SEEDS)('windows under arrival %i are those of one bulk statement', async (seed) =>
  expectOracle(await windows(), seed, 20_000),
)

test.for(SEEDS.slice(0, 6))('all queries under arrival %i give what one bulk statement does', async (seed) =>
  expectOracle(await everything(), seed, 20_000),
)

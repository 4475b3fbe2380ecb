import { expect, test } from 'vitest'
import { killLoop } from '../support/ledger-server.ts'

// The long form: test/soak/kill.test.ts.
test('kill -9 of a whole server under load, six times, loses nothing and doubles nothing', async () => {
  const server = await killLoop({ kills: 6, checkpoints: 1, seed: 20_260_101 })
  expect([...server.refusals.keys()]).toEqual([])
  expect(server.ledger.records).toBeGreaterThan(500)
}, 240_000)

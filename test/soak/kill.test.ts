import { expect, test } from 'vitest'
import { killLoop } from '../support/ledger-server.ts'

test('kill -9 of a whole server under load, 200 times, loses nothing and doubles nothing', async () => {
  const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000)
  console.log(`KILL_SEED=${seed}`)
  const server = await killLoop({ kills: 200, checkpoints: 8, seed })
  console.log(server.summary)
  expect([...server.refusals.keys()]).toEqual([])
})

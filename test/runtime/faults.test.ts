import { expect, test } from 'vitest'
import { systemDisk } from '../../src/storage/disk.ts'
import { HARMS, LedgerHome, sweep } from '../support/ledger-cycle.ts'

// The long form: test/soak/faults.test.ts.
test.each([
  ['the process ends', HARMS.KILLED, 130],
  ['the power fails', HARMS.POWERLESS, 90],
])('when an operation fails and %s, what is acknowledged is there once', async (_, harms, from) => {
  const { lives, filesLost } = await sweep({ harms, from, step: 190 })
  expect(lives).toBeGreaterThan(3)
  // Or no data file was ever in danger.
  expect(filesLost > 0).toBe(harms === HARMS.POWERLESS)
})

test('lanes that meet their first record at once make one quarantine', async () => {
  const home = await LedgerHome.make(1)
  const runtime = await home.open(systemDisk, false, () => {})
  const { log } = runtime.stream('readings')
  await Promise.all(log.partitions.map((one) => one.append({ lines: Buffer.from('{"bad":1}\n'), records: 1 })))
  runtime.start()
  await runtime.settle()
  expect(runtime.stream('readings').counts).toMatchObject({ received: 2, quarantined: 2 })
  await runtime.stop()
  await home.remove()
})

import { expect, test } from 'vitest'
import { HARMS, sweep } from '../support/ledger-cycle.ts'

// Every fifth operation of a life, others each day, harmed in turn in every way; FAULTS_STEP=1 takes each.
test('whichever operation fails, in whatever way, what is acknowledged is there once', async () => {
  const step = Number(process.env['FAULTS_STEP'] ?? 5)
  const from = Number(process.env['FAULTS_FROM'] ?? 1 + (Math.floor(Date.now() / 86_400_000) % step))
  console.log(`FAULTS_STEP=${step} FAULTS_FROM=${from}`)
  const { lives, filesLost } = await sweep({ harms: Object.values(HARMS).flat(), from, step })
  console.log(`${lives} lives, ${filesLost} data files lost`)
  expect(lives).toBeGreaterThan(400 / step)
  expect(filesLost).toBeGreaterThan(0)
})

import { expect, test } from 'vitest'
import type { MillraceError } from '../../src/base/errors.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { HARMS, LedgerDisk, LedgerHome, sweep } from '../support/ledger-cycle.ts'
import { SmallDisk, canMount } from '../support/ledger-full.ts'
import { LedgerServer } from '../support/ledger-server.ts'
import { Ledger } from '../support/ledger.ts'

/** On a machine with much else to do. */
const BUSY_MS = 240_000

// The long form: test/soak/faults.test.ts.
test.each([
  ['the process ends', HARMS.KILLED, 130],
  ['the power fails', HARMS.POWERLESS, 90],
  ['the process goes on', HARMS.GOING_ON, 60],
])(
  'when an operation fails and %s, what is acknowledged is there once',
  async (_, harms, from) => {
    const { lives, filesLost } = await sweep({ harms, from, step: 280 })
    expect(lives).toBeGreaterThan(2)
    // Or no data file was ever in danger.
    expect(filesLost > 0).toBe(harms === HARMS.POWERLESS)
  },
  BUSY_MS,
)

const settle = (runtime: Runtime) => runtime.settle()

test.each([
  ['a commit', undefined],
  [
    'a replay',
    (runtime: Runtime) =>
      replayStream(runtime.stream('payments'), { database: runtime.database, from: [0], superseded: [] }),
  ],
])('%s whose rows find no room takes its quarantine with it', async (_, work) => {
  const home = await LedgerHome.make(7)
  const disk = new LedgerDisk(home.limbo)
  const runtime = await home.open(disk, true, () => {})
  runtime.start()
  const first = work === undefined ? 0 : 40
  if (first > 0) await home.send(runtime, home.ledger.next('payments', first))
  await runtime.settle()
  disk.arm({ at: /^link .*processed\/payments\/metadata/, error: 'ENOSPC', lasting: false })
  if (work === undefined) await home.send(runtime, home.ledger.next('payments', 40))
  await expect((work ?? settle)(runtime)).rejects.toMatchObject({ code: 'disk-full' })
  // There is room again, and the process goes on as it may.
  await home.send(runtime, home.ledger.next('payments', 40)).catch(() => undefined)
  await runtime.settle().catch(() => undefined)
  await runtime.stop().catch(() => undefined)
  await home.expectRecovers('after the disk was full for a moment')
  await home.remove()
})

test('compaction beside a replay and a refresh is refused to none of them', async () => {
  const home = await LedgerHome.make(8)
  const runtime = await home.open(systemDisk, false, () => {})
  runtime.start()
  const payments = runtime.stream('payments')
  for (let i = 0; i < 8; i++) {
    await home.send(runtime, home.ledger.next('payments', 20))
    await runtime.settle()
    await Promise.all([
      replayStream(payments, { database: runtime.database, from: [0], superseded: [] }),
      maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity }),
      runtime.refresh('daily', { everything: true }),
    ])
  }
  await runtime.stop()
  await home.expectRecovers('after all at once')
  await home.remove()
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

async function serverOnSmallDisk(): Promise<void> {
  const disk = new SmallDisk(10)
  try {
    const server = await LedgerServer.make(new Ledger(5), disk.path)
    server.start({ strict: false })
    await server.ready()
    const answer = await server.fill(2_000)
    const said = await server.ended()
    // Whichever met the end of the space first: where it was the log, the process must end and says why; where it was the lake, it goes
    // on refusing, and the answer says why.
    expect(`${answer} ${said}`).toMatch(/is full|disk-full|No space left/)
    if (said !== undefined) expect(said).toContain('nothing acknowledged is lost')
    disk.grow(200)
    server.start({ strict: false })
    await server.ready()
    await server.sendPending()
    await server.expectRight('after the disk was full')
    await server.stop()
  } finally {
    disk.remove()
  }
}

async function runtimeOnFullDisk(): Promise<void> {
  const home = await LedgerHome.make(5)
  const at = /^write .*\/log\/payments\/.*\.ndjson/
  const disk = new LedgerDisk(home.limbo, { at, error: 'ENOSPC', torn: 0.5, lasting: false })
  const fatal: MillraceError[] = []
  const runtime = await home.open(disk, false, (error) => fatal.push(error))
  runtime.start()
  const refused = { kind: 'unavailable', code: 'disk-full' }
  for (let i = 0; i < 2; i++)
    await expect(home.send(runtime, home.ledger.next('payments', 12))).rejects.toMatchObject(refused)
  expect(fatal).toMatchObject([refused])
  disk.afterKill()
  await runtime.stop().catch(() => undefined)
  await home.expectRecovers('after the disk was full')
  await home.remove()
}

test.each([
  canMount()
    ? { full: 'a server whose disk is full', scenario: serverOnSmallDisk }
    : {
        full: 'a runtime told that its disk is full (no file system may be mounted here)',
        scenario: runtimeOnFullDisk,
      },
])('$full takes no more, says why, and has everything when there is room again', ({ scenario }) => scenario(), BUSY_MS)

import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import type { Appended, PartitionLog, RecordBatch, StreamLog } from '../../src/log/log.ts'
import type { LogLimits } from '../../src/log/local/limits.ts'
import type { Fault, Loss } from '../support/faulty-disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { batchOf, numbered, recordsFrom } from './conformance.ts'
import type { LocalHome } from './home.ts'
import { localHome } from './home.ts'

const small: Partial<LogLimits> = { segmentBytes: 600, mergedBytes: 1_500, mergedFiles: 3 }

interface Sent {
  readonly batch: RecordBatch
  readonly records: readonly string[]
  acknowledged?: Appended
}

/** Appends, seals, checkpoints, merges and removes, as a run of the platform would; whatever fails, it goes on. */
async function cycle(home: LocalHome, disk: FaultyDisk): Promise<{ sent: Sent[]; failures: MillraceError[] }> {
  const sent: Sent[] = []
  const failures: MillraceError[] = []
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      failures.push(error)
    }
  }
  let log: StreamLog | undefined
  await attempt(async () => (log = await home.open({ disk, partitions: 1 })))
  if (log === undefined) return { sent, failures }
  const partition = log.partitions[0]!
  let next = 0
  const send = (count: number): Promise<void> => {
    const records = numbered(next, next + count)
    next += count
    const batch = batchOf(records, {
      key: `key-${sent.length}`,
      ...(sent.length % 2 === 0 ? { source: { file: sent.length } } : {}),
    })
    const one: Sent = { batch, records }
    sent.push(one)
    return attempt(async () => (one.acknowledged = await partition.append(batch)))
  }
  for (let round = 0; round < 3; round++) {
    await Promise.all([send(1), send(5), send(2)])
    await send(3)
    await attempt(() => partition.take(partition.checkpoint))
    await Promise.all([send(8), attempt(() => partition.take(partition.checkpoint)), send(1)])
    partition.checkpointed(partition.end)
    await attempt(() => partition.compact())
    if (round === 1) await attempt(() => partition.retain({ bytes: 400 }))
  }
  await attempt(() => partition.take(partition.checkpoint))
  partition.checkpointed(partition.end)
  await attempt(() => partition.retain({ bytes: 0 }))
  await send(2)
  await attempt(() => log!.close())
  return { sent, failures }
}

/** Opens what a crash left and compares it with what was sent: a prefix of it, no shorter than what was acknowledged. */
async function check(home: LocalHome, sent: readonly Sent[], what: string): Promise<void> {
  const log = await home.open({ partitions: 1 })
  const partition = log.partitions[0]!
  const all = sent.flatMap(({ records }) => records)
  const lastAcknowledged = Math.max(0, ...sent.map(({ acknowledged }) => acknowledged?.to ?? 0))
  expect(partition.end, what).toBeGreaterThanOrEqual(lastAcknowledged)
  expect(await recordsFrom(partition), what).toEqual(all.slice(partition.start, partition.end))
  expect((await partition.verify()).corruption, what).toBeUndefined()
  await checkMarksAndKeys(log, partition, sent, what)
  const more = await partition.append(batchOf(['{"after":true}']))
  expect((await recordsFrom(partition, more.from))[0], what).toBe('{"after":true}')
  partition.checkpointed(partition.end)
  await partition.compact()
  expect(await recordsFrom(partition), what).toEqual([...all.slice(partition.start, more.from), '{"after":true}'])
  await log.close()
}

async function checkMarksAndKeys(
  log: StreamLog,
  partition: PartitionLog,
  sent: readonly Sent[],
  what: string,
): Promise<void> {
  const { end } = partition
  const marks = log.marks()
  for (const { batch, acknowledged } of sent) {
    if (acknowledged === undefined) continue
    const { from, to } = acknowledged
    if (batch.source !== undefined)
      expect(marks, what).toContainEqual({ partition: 0, offset: from, to, mark: batch.source })
    // Keys live as long as the records they came with.
    if (from >= partition.start) expect(await partition.append(batch), what).toEqual({ from, to, repeated: true })
  }
  expect(partition.end, what).toBe(end)
}

/** `cycle` with one fault, and what is left of it after a kill or a power loss. */
async function sweep(fault: Omit<Fault, 'at'>, loss: Loss | undefined): Promise<number> {
  for (let at = 1; ; at++) {
    const home = await localHome(small)
    const disk = new FaultyDisk(join(home.directory, '..', 'limbo'), { ...fault, at })
    const { sent, failures } = await cycle(home, disk)
    const operation = disk.operations[at - 1]
    const what = `operation ${at}: ${operation?.replace(home.directory, '')}`
    if (operation !== undefined) {
      expect(failures.length, what).toBeGreaterThan(0)
      expect(failures[0], what).toMatchObject(fault.error === 'EIO' ? { kind: 'corrupt' } : { kind: 'unavailable' })
    }
    expect(home.fatal.length, what).toBeLessThanOrEqual(1)
    if (loss !== undefined) await disk.losePower(loss)
    await check(home, sent, what)
    await home.remove()
    if (operation === undefined) return at - 1
  }
}

describe('whatever operation fails, nothing acknowledged is lost, doubled or out of order', () => {
  test.each<[string, Omit<Fault, 'at'>, Loss | undefined]>([
    ['input/output error, killed', { error: 'EIO', lasting: true }, undefined],
    ['disk full, half a write, killed', { error: 'ENOSPC', torn: 0.5, lasting: true }, undefined],
    ['whole write without an answer, killed', { error: 'EIO', torn: 1, lasting: true }, undefined],
    ['input/output error, goes on', { error: 'EIO', torn: 0.3, lasting: false }, undefined],
    ['disk full, goes on', { error: 'ENOSPC', torn: 0.9, lasting: false }, undefined],
    ['power loss that keeps only what was synced', { error: 'EIO', torn: 1, lasting: true }, { names: 0, bytes: 0 }],
    ['power loss that keeps names, not bytes', { error: 'EIO', torn: 1, lasting: true }, { names: 1, bytes: 0 }],
    ['power loss that keeps half', { error: 'EIO', torn: 1, lasting: true }, { names: 0.5, bytes: 0.5 }],
    [
      'power loss that keeps the later names only',
      { error: 'EIO', torn: 1, lasting: true },
      { names: 0.5, lastNames: true, bytes: 0 },
    ],
    ['power loss that leaves zeros', { error: 'EIO', torn: 1, lasting: true }, { names: 1, bytes: 1, zeros: 0.4 }],
    ['error and then power loss', { error: 'EIO', torn: 0.5, lasting: false }, { names: 0.7, bytes: 0.9 }],
  ])('%s', async (_, fault, loss) => {
    expect(await sweep(fault, loss)).toBeGreaterThan(60)
  })
})

test.each<[string, Loss]>([
  ['what was synced', { names: 0, bytes: 0 }],
  ['later names', { names: 0.5, lastNames: true, bytes: 0 }],
])('what was read after a kill survives a power loss that keeps %s', async (_, loss) => {
  for (let at = 1; ; at++) {
    const home = await localHome(small)
    const killed = new FaultyDisk(join(home.directory, '..', 'limbo'), { at, error: 'EIO', torn: 1, lasting: true })
    await cycle(home, killed)
    const what = `operation ${at}: ${killed.operations[at - 1]?.replace(home.directory, '')}`
    const next = killed.afterKill()
    const log = await home.open({ disk: next, partitions: 1 })
    const { start, end } = log.partitions[0]!
    const seen = await recordsFrom(log.partitions[0]!)
    const marks = log.marks()
    await next.losePower(loss)
    await log.close().catch(() => undefined)
    const again = await home.open({ partitions: 1 })
    const partition = again.partitions[0]!
    expect(partition.end, what).toBe(end)
    expect((await recordsFrom(partition)).slice(start - partition.start), what).toEqual(seen)
    expect(again.marks(), what).toEqual(marks)
    await again.close()
    await home.remove()
    if (killed.operations.length < at) return
  }
})

import { rm } from 'node:fs/promises'
import { afterEach, expect, test } from 'vitest'
import { carryEmptyMarks, carryPartition, contentOf } from '../../src/log/carry.ts'
import type { StreamLog } from '../../src/log/log.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { batchOf, numbered, recordsFrom } from './conformance.ts'
import { type LocalHome, localHome } from './home.ts'

const homes: LocalHome[] = []

afterEach(async () => {
  for (const { directory } of homes.splice(0)) await rm(directory, { recursive: true, force: true })
})

async function home(): Promise<LocalHome> {
  const made = await localHome({ segmentBytes: 400 })
  homes.push(made)
  return made
}

/** Plain appends, marked ones, one of nothing, at several times. */
async function filled(): Promise<StreamLog> {
  const from = await home()
  const log = await from.open()
  const [first] = log.partitions
  for (let i = 0; i < 10; i++) {
    await first!.append(
      batchOf(numbered(i * 10, i * 10 + 10), i % 3 === 0 ? { source: { file: i } } : { key: `k${i}` }),
    )
    if (i === 4) await first!.append({ lines: [], records: 0, source: { file: 'empty' } })
    from.advance(60_000)
  }
  return log
}

async function carry(log: StreamLog, target: StreamLog): Promise<void> {
  for (const [i, partition] of log.partitions.entries())
    await carryPartition('orders', partition, target.partitions[i]!, systemDisk)
  await carryEmptyMarks(log, target)
}

test('records, offsets, times and marks are the same; carried again, nothing is twice', async () => {
  const log = await filled()
  const target = await (await home()).open()
  for (let again = 0; again < 2; again++) {
    await carry(log, target)
    const [here, there] = [log.partitions[0]!, target.partitions[0]!]
    expect(there.end).toBe(100)
    expect(await recordsFrom(there)).toEqual(numbered(0, 100))
    expect(await contentOf(there, systemDisk, 0, 100)).toEqual(await contentOf(here, systemDisk, 0, 100))
    for (const offset of [0, 35, 99]) {
      const atMs = Date.UTC(2026, 0, 1) + Math.floor(offset / 10) * 60_000
      expect(await there.offsetAt(atMs)).toBe(offset - (offset % 10))
    }
    const marks = (of: StreamLog) =>
      of
        .marks()
        .map(({ mark }) => JSON.stringify(mark))
        .toSorted()
    expect(marks(target)).toEqual(marks(log))
  }
  await log.close()
  await target.close()
})

test('goes on wherever it stopped, within a frame too; and takes no record of somebody else for one of its own', async () => {
  const log = await filled()
  for (const stopped of [1, 10, 47, 99]) {
    const target = await (await home()).open()
    await target.partitions[0]!.append(batchOf(numbered(0, stopped)))
    await carry(log, target)
    expect(await recordsFrom(target.partitions[0]!)).toEqual(numbered(0, 100))
    await target.close()
  }
  const target = await (await home()).open()
  const there = target.partitions[0]!
  const late = { ...there, append: (batch: Parameters<typeof there.append>[0]) => there.append(batch) }
  Object.defineProperty(late, 'end', { get: () => there.end })
  const carrying = carryPartition('orders', log.partitions[0]!, late, systemDisk)
  await there.append(batchOf(['{"of":"others"}']))
  await expect(carrying).rejects.toMatchObject({ code: 'log-diverged' })
  await log.close()
  await target.close()
})

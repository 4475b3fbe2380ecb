import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Fault } from '../support/faulty-disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { batchOf, numbered, recordsFrom, segmentsOf } from './conformance.ts'
import type { LocalHome } from './home.ts'
import { localHome } from './home.ts'

let home: LocalHome

beforeEach(async () => {
  home = await localHome()
})
afterEach(() => home.remove())

const wide = (bytes: number): string => `"${'x'.repeat(bytes - 3)}"`

describe('limits', () => {
  test('one append', async () => {
    const log = await home.open({ limits: { appendBytes: 100 } })
    await log.partitions[0]!.append(batchOf([wide(100)]))
    await expect(log.partitions[0]!.append(batchOf([wide(101)]))).rejects.toMatchObject({
      kind: 'invalid',
      code: 'append-too-large',
      message: expect.stringContaining("101 bytes at once for stream 'orders'; the limit is 100"),
    })
    await log.close()
  })

  test('what waits for the disk', async () => {
    const log = await home.open({ limits: { pendingBytes: 250 } })
    const partition = log.partitions[0]!
    const accepted = [partition.append(batchOf([wide(100)])), partition.append(batchOf([wide(100)]))]
    await expect(partition.append(batchOf([wide(100)]))).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'backlog-full',
    })
    await Promise.all(accepted)
    expect(await partition.append(batchOf([wide(100)]))).toMatchObject({ from: 2 })
    await log.close()
  })

  test('keys and marks', async () => {
    const log = await home.open({ limits: { keyLength: 5, markBytes: 20, keys: 2 } })
    const partition = log.partitions[0]!
    for (const key of ['', 'abcdef']) {
      await expect(partition.append(batchOf(['1'], { key }))).rejects.toMatchObject({
        kind: 'invalid',
        code: 'bad-key',
      })
    }
    await expect(partition.append(batchOf(['1'], { source: 'x'.repeat(19) }))).rejects.toMatchObject({
      kind: 'invalid',
      code: 'bad-mark',
    })
    for (const key of ['a', 'b', 'c']) await partition.append(batchOf(['1'], { key }))
    expect(await partition.append(batchOf(['1'], { key: 'b' }))).toMatchObject({ from: 1, repeated: true })
    expect(await partition.append(batchOf(['1'], { key: 'a' }))).toMatchObject({ from: 3, repeated: false })
    await log.close()
  })

  test('a segment that is long enough is sealed by itself', async () => {
    const log = await home.open({ limits: { segmentBytes: 500 } })
    const partition = log.partitions[0]!
    for (let i = 0; i < 20; i++) await partition.append(batchOf([wide(100)]))
    for (const { bytes } of await segmentsOf(partition)) expect(bytes).toBeLessThan(750)
    expect((await segmentsOf(partition)).length).toBeGreaterThan(4)
    expect(await recordsFrom(partition)).toEqual(Array.from({ length: 20 }, () => wide(100)))
    await log.close()
  })

  test('nothing to append is nothing written', async () => {
    const log = await home.open()
    expect(await log.partitions[0]!.append({ lines: [], records: 0 })).toEqual({ from: 0, to: 0, repeated: false })
    expect(await readdir(join(home.directory, '0'))).toEqual([])
    await log.close()
  })
})

describe('group commit', () => {
  test('appends that wait are written and synced together', async () => {
    const disk = new FaultyDisk(join(home.directory, '..', 'limbo'))
    const log = await home.open({ disk })
    const partition = log.partitions[0]!
    const before = disk.operations.length
    await Promise.all(Array.from({ length: 50 }, (_, i) => partition.append(batchOf(numbered(i, i + 1)))))
    const verbs = disk.operations.slice(before).map((operation) => operation.split(' ')[0])
    expect(verbs).toEqual(['create', 'write', 'sync', 'syncdir'])
    await log.close()
  })

  test('a write takes no more than its limit', async () => {
    const disk = new FaultyDisk(join(home.directory, '..', 'limbo'))
    const log = await home.open({ disk, limits: { writeBytes: 300 } })
    await Promise.all(Array.from({ length: 13 }, () => log.partitions[0]!.append(batchOf([wide(100)]))))
    expect(
      disk.operations.filter((operation) => operation.startsWith('write') && operation.endsWith('.ndjson')),
    ).toHaveLength(5)
    await log.close()
  })
})

describe('a disk that fails', () => {
  const failing = (fault: Omit<Fault, 'lasting'>): FaultyDisk =>
    new FaultyDisk(join(home.directory, '..', 'limbo'), { ...fault, lasting: false })

  test.each([
    ['write', { at: /^write .*0\.ndjson$/, error: 'ENOSPC', torn: 0.5 }, { kind: 'unavailable', code: 'disk-full' }],
    ['fsync', { at: /^sync .*0\.ndjson$/, error: 'EIO' }, { kind: 'corrupt', code: 'io-error' }],
    ['creation', { at: /^create .*0\.ndjson$/, error: 'ENOSPC' }, { kind: 'unavailable', code: 'disk-full' }],
  ] as const)('in %s: refuses all that waits and all that comes, says why, once', async (_, fault, expected) => {
    const log = await home.open({ disk: failing(fault) })
    const appends = [0, 1, 2].map((i) => log.partitions[0]!.append(batchOf(numbered(i, i + 1))))
    for (const append of await Promise.allSettled(appends)) {
      expect(append).toMatchObject({ status: 'rejected', reason: expected })
    }
    expect(home.fatal).toMatchObject([
      {
        ...expected,
        message: expect.stringContaining("The log of stream 'orders', partition 0, has stopped: The disk holding"),
      },
    ])
    expect(home.fatal[0]!.hint).toMatch(/nothing acknowledged/)
    for (const partition of log.partitions) {
      await expect(partition.append(batchOf(['1']))).rejects.toMatchObject(expected)
      await expect(partition.take(0)).rejects.toMatchObject(expected)
      await expect(partition.compact()).rejects.toMatchObject(expected)
    }
    await log.close()
    expect(home.fatal).toHaveLength(1)
    const again = await home.open()
    expect(again.partitions.map(({ end }) => end)).toEqual([0, 0])
    await again.close()
  })

  test('in the sync of a directory: a segment whose name may be lost is not acknowledged', async () => {
    await (await home.open()).close()
    const disk = new FaultyDisk(join(home.directory, '..', 'limbo'))
    await (await home.open({ disk })).close()
    const at = disk.operations.length + 4
    const log = await home.open({ disk: failing({ at, error: 'EIO' }) })
    await expect(log.partitions[0]!.append(batchOf(['1']))).rejects.toMatchObject({
      code: 'io-error',
      context: { path: join(home.directory, '0') },
    })
    await log.close()
  })

  test('what was refused does not come back where it could be cut off', async () => {
    const log = await home.open({ disk: failing({ at: /^sync .*0\.ndjson$/, error: 'EIO' }) })
    await expect(log.partitions[0]!.append(batchOf(numbered(0, 5)))).rejects.toMatchObject({ code: 'io-error' })
    expect((await stat(join(home.directory, '0', '0000000000000000.ndjson'))).size).toBe(0)
    await log.close()
  })

  test('appends under way on other partitions are refused too', async () => {
    const log = await home.open({ disk: failing({ at: /^write .*\/0\/0.*\.ndjson$/, error: 'EIO' }) })
    const appends = await Promise.allSettled(log.partitions.map((partition) => partition.append(batchOf(['1']))))
    expect(appends[0]).toMatchObject({ status: 'rejected' })
    await expect(log.partitions[1]!.append(batchOf(['1']))).rejects.toMatchObject({ code: 'io-error' })
    await log.close()
  })

  test.each([
    /^write .*\.zst\.tmp$/,
    /^sync .*\.zst\.tmp$/,
    /^create .*\.zst\.tmp$/,
    /^create .*\.idx\.json$/,
    /^remove .*0\.ndjson$/,
  ])('while merging (%s) it does not stop appends: the originals are still there', async (at) => {
    const log = await home.open({ disk: failing({ at, error: 'ENOSPC' }), limits: { mergedFiles: 2 } })
    const partition = log.partitions[0]!
    for (const from of [0, 1]) {
      await partition.append(batchOf(numbered(from, from + 1)))
      await partition.take(from)
    }
    partition.checkpointed(2)
    await expect(partition.compact()).rejects.toMatchObject({ code: 'disk-full' })
    await partition.append(batchOf(numbered(2, 3)))
    expect(await recordsFrom(partition)).toEqual(numbered(0, 3))
    await partition.compact()
    await partition.retain({})
    expect((await segmentsOf(partition)).map(({ compression }) => compression)).toEqual(['zstd', 'none'])
    expect(await recordsFrom(partition)).toEqual(numbered(0, 3))
    expect(home.fatal).toEqual([])
    await log.close()
  })

  test.each([/^write .*marks\.ndjson$/, /^sync .*marks\.ndjson$/, /^rename .*\.zst$/])(
    'where nobody could say what is durable (%s) it ends the log',
    async (at) => {
      const log = await home.open({ disk: failing({ at, error: 'EIO' }), limits: { mergedFiles: 2 } })
      const partition = log.partitions[0]!
      for (const from of [0, 1]) {
        await partition.append(batchOf(numbered(from, from + 1), { source: from }))
        await partition.take(from)
      }
      partition.checkpointed(2)
      await expect(partition.compact()).rejects.toMatchObject({ code: 'io-error' })
      expect(home.fatal).toHaveLength(1)
      await expect(partition.append(batchOf(['1']))).rejects.toMatchObject({ code: 'io-error' })
      await log.close()
      const again = await home.open()
      expect(await recordsFrom(again.partitions[0]!)).toEqual(numbered(0, 2))
      expect(again.marks()).toHaveLength(2)
      await again.close()
    },
  )
})

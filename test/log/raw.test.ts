import { copyFile, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { PartitionLog, StreamLog } from '../../src/log/log.ts'
import { planMerge } from '../../src/log/local/merged.ts'
import { batchOf, numbered, recordsFrom, segmentsOf } from './conformance.ts'
import type { LocalHome } from './home.ts'
import { localHome } from './home.ts'

let home: LocalHome
let log: StreamLog
let partition: PartitionLog

beforeEach(async () => {
  home = await localHome({ mergedFiles: 3, mergedBytes: 100_000 })
  await reopen()
})
afterEach(async () => {
  await log.close()
  await home.remove()
})

async function reopen(): Promise<void> {
  await log?.close()
  log = await home.open({ partitions: 1 })
  partition = log.partitions[0]!
}

const files = () => readdir(join(home.directory, '0'))

/** Seals segments of 10 records each, from the end on. */
async function seal(count: number, source?: (offset: number) => unknown): Promise<void> {
  for (let i = 0; i < count; i++) {
    const from = partition.end
    const mark = source?.(from)
    await partition.append(
      batchOf(numbered(from, from + 10), { key: `key-${from}`, ...(mark === undefined ? {} : { source: mark }) }),
    )
    await partition.take(from)
  }
}

describe('compact', () => {
  test('ends, however many segments come meanwhile', async () => {
    await seal(6)
    partition.checkpointed(60)
    let ended = false
    const compacted = partition.compact().finally(() => (ended = true))
    while (!ended) {
      await seal(3)
      partition.checkpointed(partition.end)
    }
    expect(await compacted).toBe(6)
    expect(await recordsFrom(partition)).toEqual(numbered(0, partition.end))
  })

  test('merges what is below the checkpoint, and only that', async () => {
    await seal(6)
    expect(await partition.compact()).toBe(0)
    partition.checkpointed(45)
    expect(await partition.compact()).toBe(4)
    expect(await files()).toEqual([
      '0000000000000000-0000000000000040.idx.json',
      '0000000000000000-0000000000000040.ndjson.zst',
      '0000000000000040.ndjson',
      '0000000000000050.ndjson',
      'marks.ndjson',
    ])
    expect(await recordsFrom(partition)).toEqual(numbered(0, 60))
    await reopen()
    expect(await recordsFrom(partition)).toEqual(numbered(0, 60))
    expect(await partition.append(batchOf(numbered(20, 30), { key: 'key-20' }))).toEqual({
      from: 20,
      to: 30,
      repeated: true,
    })
  })

  test('a merged segment has the frames and the sizes of its originals', async () => {
    await seal(3, (offset) => ({ file: offset }))
    const before = await segmentsOf(partition)
    const frames = (await Promise.all(before.map((segment) => partition.frames(segment)))).flat()
    partition.checkpointed(30)
    await partition.compact()
    const [merged, ...rest] = await segmentsOf(partition)
    expect(rest).toEqual([])
    expect(merged).toMatchObject({
      compression: 'zstd',
      from: 0,
      to: 30,
      rawBytes: before.reduce((sum, { bytes }) => sum + bytes, 0),
    })
    const expected = frames.map((frame, i) => ({ ...frame, line: i * 11 }))
    expect(await partition.frames(merged!)).toEqual(expected)
    await reopen()
    expect(await segmentsOf(partition)).toEqual([merged])
    expect(await partition.frames(merged!)).toEqual(expected)
    expect(partition.bytes).toBe(merged!.bytes)
  })

  test('a missing or broken index is made again', async () => {
    await seal(3)
    partition.checkpointed(30)
    await partition.compact()
    const index = join(home.directory, '0', '0000000000000000-0000000000000030.idx.json')
    const content = await readFile(index, 'utf8')
    for (const damage of [
      () => rm(index),
      () => truncate(index, 40),
      () => writeFile(index, content.replace('10', '11')),
      () => truncate(index, 0),
    ]) {
      await log.close()
      await damage()
      await reopen()
      expect((await partition.frames((await segmentsOf(partition))[0]!)).map(({ offset }) => offset)).toEqual([
        0, 10, 20,
      ])
      expect(await readFile(index, 'utf8')).toBe(content)
    }
  })

  test('originals that a crash left beside the merged file are removed, nothing is doubled', async () => {
    await seal(4)
    const saved = (await files()).filter((name) => name.endsWith('.ndjson') && name !== 'marks.ndjson')
    for (const name of saved) await copyFile(join(home.directory, '0', name), join(home.directory, name))
    partition.checkpointed(40)
    await partition.compact()
    await log.close()
    for (const name of saved) await copyFile(join(home.directory, name), join(home.directory, '0', name))
    await reopen()
    expect(await recordsFrom(partition)).toEqual(numbered(0, 40))
    expect((await files()).filter((name) => saved.includes(name))).toEqual([])
  })

  test('files held for reading stay until released', async () => {
    await seal(3)
    const held = await segmentsOf(partition)
    const release = partition.hold()
    partition.checkpointed(30)
    await partition.compact()
    expect(await segmentsOf(partition)).toHaveLength(1)
    for (const segment of held) expect(await partition.readRecords(segment, [segment.from])).toHaveLength(1)
    release()
    release()
    await partition.compact()
    expect((await files()).filter((name) => /^\d+\.ndjson$/.test(name))).toEqual([])
  })

  test('damage in an original is reported and not carried over', async () => {
    await seal(3)
    partition.checkpointed(30)
    const path = (await segmentsOf(partition))[1]!.path
    const bytes = await readFile(path)
    bytes[bytes.length - 3]! ^= 1
    await writeFile(path, bytes)
    await expect(partition.compact()).rejects.toMatchObject({ code: 'log-corrupt', context: { path, position: 0 } })
    expect((await files()).filter((name) => name.endsWith('.zst'))).toEqual([])
    expect(home.fatal).toEqual([])
  })

  test('damage in a merged file is reported', async () => {
    await seal(3)
    partition.checkpointed(30)
    await partition.compact()
    const [segment] = await segmentsOf(partition)
    const bytes = await readFile(segment!.path)
    for (const change of [bytes.subarray(0, bytes.length - 9), Buffer.from(bytes).fill(0x41, 40, 60)]) {
      await writeFile(segment!.path, change)
      expect((await partition.verify()).corruption).toMatchObject({
        kind: 'corrupt',
        code: 'log-corrupt',
        context: { path: segment!.path },
      })
    }
  })

  test('each byte is merged a few times only, and files stay few', () => {
    interface File {
      path: string
      compression: 'none' | 'zstd'
      from: number
      to: number
      rawBytes: number
    }
    const limits = { mergedBytes: 64_000, mergedFiles: 16 }
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 500, maxLength: 1_500 }), (sizes) => {
        let list: File[] = []
        let rewritten = 0
        let total = 0
        for (const size of sizes) {
          list.push({ path: '', compression: 'none', from: total, to: total + size, rawBytes: size })
          total += size
          for (let run = planMerge(list, limits); run !== undefined; run = planMerge(list, limits)) {
            const rawBytes = run.reduce((sum, file) => sum + file.rawBytes, 0)
            rewritten += rawBytes
            const at = list.indexOf(run[0]!)
            expect(list.slice(at, at + run.length)).toEqual(run)
            list = [
              ...list.slice(0, at),
              { path: '', compression: 'zstd', from: run[0]!.from, to: run.at(-1)!.to, rawBytes },
              ...list.slice(at + run.length),
            ]
          }
        }
        expect(rewritten).toBeLessThan(8 * total)
        expect(list.length).toBeLessThan(16 + total / 32_000 + 1)
      }),
      { numRuns: 20 },
    )
  })

  test('a large segment is compressed by itself', async () => {
    await log.close()
    log = await home.open({ partitions: 1, limits: { segmentBytes: 2_000, mergedBytes: 2_000, mergedFiles: 1_000 } })
    partition = log.partitions[0]!
    for (let i = 0; i < 30; i++) await partition.append(batchOf(numbered(i * 10, i * 10 + 10)))
    expect((await segmentsOf(partition)).length).toBeGreaterThan(1)
    partition.checkpointed(partition.end)
    await partition.compact()
    expect(new Set((await segmentsOf(partition, 0, 200)).map(({ compression }) => compression))).toEqual(
      new Set(['zstd']),
    )
    expect(await recordsFrom(partition)).toEqual(numbered(0, 300))
  })
})

describe('retain', () => {
  test('removes by size, oldest first, below the checkpoint only', async () => {
    await seal(5)
    const size = (await segmentsOf(partition))[0]!.bytes
    expect(await partition.retain({ bytes: 0 })).toBe(0)
    partition.checkpointed(35)
    expect(await partition.retain({ bytes: 3 * size + 50 })).toBe(20)
    expect(await partition.retain({ bytes: 0 })).toBe(30)
    expect([partition.start, partition.end]).toEqual([30, 50])
    await expect(partition.take(29)).rejects.toMatchObject({
      code: 'offset-gone',
      message: expect.stringContaining('the log starts at 30'),
    })
    await reopen()
    expect([partition.start, partition.end]).toEqual([30, 50])
    expect(await recordsFrom(partition)).toEqual(numbered(30, 50))
  })

  test('removes by age', async () => {
    await seal(2)
    home.advance(10_000)
    await seal(2)
    partition.checkpointed(40)
    expect(await partition.retain({ ageMs: 20_000 })).toBe(0)
    expect(await partition.retain({ ageMs: 5_000 })).toBe(20)
    home.advance(10_000)
    expect(await partition.retain({ ageMs: 5_000 })).toBe(40)
    expect(await partition.retain({})).toBe(40)
  })

  test('offsets go on when every record is gone', async () => {
    await seal(3)
    partition.checkpointed(30)
    expect(await partition.retain({ bytes: 0 })).toBe(30)
    expect(await files()).toEqual(['0000000000000030.ndjson', 'marks.ndjson'])
    await reopen()
    expect([partition.start, partition.end]).toEqual([30, 30])
    expect(await partition.append(batchOf(numbered(30, 32)))).toMatchObject({ from: 30, to: 32 })
    expect(await recordsFrom(partition)).toEqual(numbered(30, 32))
  })

  test('marks outlive their records', async () => {
    await seal(2, () => ({ file: 'a' }))
    await seal(2, (offset) => ({ file: offset }))
    await partition.append({ lines: [], records: 0, source: { file: 'empty' } })
    const expected = log.marks()
    expect(expected).toEqual([
      { partition: 0, offset: 0, to: 20, mark: { file: 'a' } },
      { partition: 0, offset: 20, to: 30, mark: { file: 20 } },
      { partition: 0, offset: 30, to: 40, mark: { file: 30 } },
      { partition: 0, offset: 40, to: 40, mark: { file: 'empty' } },
    ])
    for (const checkpoint of [10, 30, 40]) {
      partition.checkpointed(checkpoint)
      await partition.retain({ bytes: 0 })
      expect(log.marks()).toEqual(expected)
      await reopen()
      expect(log.marks()).toEqual(expected)
    }
    expect(partition.start).toBe(40)
  })

  test('a damaged line of marks is reported', async () => {
    await seal(2, (offset) => ({ file: offset }))
    partition.checkpointed(10)
    await partition.retain({ bytes: 0 })
    await log.close()
    const path = join(home.directory, '0', 'marks.ndjson')
    const bytes = await readFile(path)
    await writeFile(path, bytes.toString().replace('"file":0', '"file":7'))
    await expect(home.open({ partitions: 1 })).rejects.toMatchObject({
      code: 'log-corrupt',
      context: { path, position: 0 },
    })
    await writeFile(path, Buffer.concat([bytes, Buffer.from('{"to":20,"mar')]))
    await reopen()
    partition.checkpointed(20)
    await partition.retain({ bytes: 0 })
    await reopen()
    expect(log.marks().map(({ mark }) => mark)).toEqual([{ file: 0 }, { file: 10 }])
  })
})

describe('DuckDB', () => {
  test('reads segments, merged or not: rows without "$millrace" are the records', async () => {
    await partition.append(
      batchOf(['{"n":1,"text":"ünï"}', '{"n":2}'], { key: 'a "key"', source: { file: 'x.csv', rows: [1, 2] } }),
    )
    await partition.append(batchOf(['{"n":3,"text":null}']))
    const segments = [...(await partition.take(0))]
    await seal(2)
    partition.checkpointed(partition.end)
    const release = partition.hold()
    await partition.compact()
    segments.push(...(await segmentsOf(partition)))
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    for (const { path, compression, to } of segments) {
      const rows = await connection.runAndReadAll(
        `select n, "text", "$millrace" from read_ndjson('${path}', columns = {'n': 'INT', 'text': 'VARCHAR', '$millrace': 'JSON'}${compression === 'zstd' ? ", compression = 'zstd'" : ''})`,
      )
      const all = rows.getRows()
      const records = all.filter(([, , header]) => header === null)
      expect(records).toHaveLength(to)
      expect(records.slice(0, 3)).toEqual([
        [1, 'ünï', null],
        [2, null, null],
        [3, null, null],
      ])
      expect(JSON.parse(String(all[0]![2])).slice(0, 4)).toEqual([1, 0, 2, 31])
    }
    connection.closeSync()
    release()
  })
})

import { readFile, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { crcOf, encodeHeader } from '../../src/log/local/frame.ts'
import { batchOf, numbered, recordsFrom, segmentsOf } from './conformance.ts'
import type { LocalHome } from './home.ts'
import { localHome } from './home.ts'

let home: LocalHome
let tail: string

beforeEach(async () => {
  home = await localHome()
  tail = join(home.directory, '0', '0000000000000000.ndjson')
})
afterEach(() => home.remove())

const open = () => home.open({ partitions: 1 })

/** Three appends of 2, 3 and 4 records, each a write of its own, in the tail. */
async function written(): Promise<Buffer> {
  const log = await open()
  await log.partitions[0]!.append(batchOf(numbered(0, 2)))
  await log.partitions[0]!.append(batchOf(numbered(2, 5)))
  await log.partitions[0]!.append(batchOf(numbered(5, 9)))
  await log.close()
  return readFile(tail)
}

const starts = (bytes: Buffer): number[] => {
  const found: number[] = []
  for (let at = bytes.indexOf('{"$millrace"'); at !== -1; at = bytes.indexOf('{"$millrace"', at + 1)) found.push(at)
  return found
}

function frameBytes(offset: number, write: number, records: readonly string[]): Buffer {
  const payload = Buffer.from(records.map((record) => `${record}\n`).join(''))
  const header = {
    offset,
    records: records.length,
    bytes: payload.length,
    atMs: 0,
    key: undefined,
    markJson: undefined,
    crc: crcOf([payload]),
    write,
  }
  return Buffer.concat([encodeHeader(header), payload])
}

describe('a torn tail', () => {
  test('cut anywhere, the log keeps exactly the frames that are whole', async () => {
    const whole = await written()
    const borders = [...starts(whole), whole.length]
    for (let length = 0; length < whole.length; length++) {
      await writeFile(tail, whole.subarray(0, length))
      const log = await open()
      const frames = borders.findLastIndex((border) => border <= length)
      const expected = [0, 2, 5, 9][frames]!
      expect(log.partitions[0]!.end, `cut at ${length}`).toBe(expected)
      expect((await stat(tail)).size).toBe(borders[frames])
      await log.close()
    }
  })

  test('appends go on behind the cut', async () => {
    const whole = await written()
    await truncate(tail, whole.length - 5)
    const log = await open()
    await log.partitions[0]!.append(batchOf(['{"new":1}']))
    expect(await recordsFrom(log.partitions[0]!)).toEqual([...numbered(0, 5), '{"new":1}'])
    await log.close()
  })

  test('bytes never written read as zeros, and are cut', async () => {
    const whole = await written()
    const last = starts(whole)[2]!
    for (const from of [last, last + 1, last + 30, whole.length - 3]) {
      await writeFile(tail, Buffer.concat([whole.subarray(0, from), Buffer.alloc(5_000)]))
      const log = await open()
      expect(log.partitions[0]!.end).toBe(5)
      await log.close()
    }
  })

  test('a later frame of the same write does not make it corruption', async () => {
    const whole = await written()
    const lost = Buffer.alloc(frameBytes(9, 9, numbered(9, 20)).length)
    await writeFile(tail, Buffer.concat([whole, lost, frameBytes(20, 9, numbered(20, 22))]))
    const log = await open()
    expect(log.partitions[0]!.end).toBe(9)
    await log.close()
  })

  test('records that look like frames do not make it corruption', async () => {
    const whole = await written()
    const fake = frameBytes(50, 50, ['{"a":1}']).toString().trimEnd().split('\n')
    const frame = frameBytes(9, 9, [...fake, ...fake, ...numbered(0, 5)])
    for (let length = 1; length < frame.length; length += 7) {
      await writeFile(tail, Buffer.concat([whole, frame.subarray(0, length)]))
      const log = await open()
      expect(log.partitions[0]!.end).toBe(9)
      await log.close()
    }
  })

  test('records that look like frames are records', async () => {
    const fake = frameBytes(2, 0, ['{"a":1}']).toString().trimEnd().split('\n')
    const log = await open()
    await log.partitions[0]!.append(batchOf(fake))
    await log.close()
    const again = await open()
    expect(await recordsFrom(again.partitions[0]!)).toEqual(fake)
    const [segment] = await segmentsOf(again.partitions[0]!)
    expect(await again.partitions[0]!.frames(segment!)).toHaveLength(1)
    await again.close()
  })
})

describe('corruption', () => {
  test('any byte changed in the tail is reported, with file and byte, and nothing is cut', async () => {
    const whole = await written()
    const first = starts(whole)
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const changed = Buffer.from(whole)
        changed[at]! ^= flip
        // A zero is what a byte never written looks like.
        if (changed[at] === 0) return
        await writeFile(tail, changed)
        const position = first.findLast((start) => start <= at)
        await expect(open()).rejects.toMatchObject({
          kind: 'corrupt',
          code: 'log-corrupt',
          message: expect.stringContaining(`${tail}: byte ${position}:`),
          context: { path: tail, position },
        })
        expect((await readFile(tail)).equals(changed)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('zeros in the middle are corruption: a later write follows', async () => {
    const whole = await written()
    const [, second, third] = starts(whole)
    await writeFile(
      tail,
      Buffer.concat([whole.subarray(0, second), Buffer.alloc(third! - second!), whole.subarray(third)]),
    )
    await expect(open()).rejects.toMatchObject({ code: 'log-corrupt', context: { position: second } })
  })

  test('a sealed segment that ends early is reported', async () => {
    const whole = await written()
    const log = await open()
    await log.partitions[0]!.take(0)
    await log.partitions[0]!.append(batchOf(numbered(9, 10)))
    await log.close()
    await truncate(tail, whole.length - 1)
    await expect(open()).rejects.toMatchObject({ code: 'log-corrupt', message: expect.stringContaining('cut off') })
    await truncate(tail, starts(whole)[2])
    await expect(open()).rejects.toMatchObject({
      message: expect.stringContaining('ends with offset 5 where 9 must follow'),
    })
  })

  test('damage within the records of a sealed segment is found by verify and by reading', async () => {
    const whole = await written()
    const log = await open()
    const partition = log.partitions[0]!
    const [segment] = await partition.take(0)
    const changed = Buffer.from(whole)
    changed[whole.length - 4]! ^= 1
    await writeFile(tail, changed)
    const position = starts(whole)[2]
    expect(await partition.verify()).toMatchObject({
      files: 0,
      corruption: { code: 'log-corrupt', context: { path: tail, position } },
    })
    await expect(partition.readRecords(segment!, [8])).rejects.toMatchObject({ code: 'log-corrupt' })
    await log.close()
  })

  test('a missing file is a gap', async () => {
    const log = await open()
    for (const at of [0, 1, 2]) {
      await log.partitions[0]!.append(batchOf(numbered(at, at + 1)))
      await log.partitions[0]!.take(at)
    }
    await log.close()
    await rm(join(home.directory, '0', '0000000000000001.ndjson'))
    await expect(open()).rejects.toMatchObject({
      kind: 'corrupt',
      message: expect.stringContaining('ends with offset 1 where 2 must follow'),
    })
  })

  test('a file under another name is reported', async () => {
    await written()
    await rename(tail, join(home.directory, '0', '0000000000000007.ndjson'))
    await expect(open()).rejects.toMatchObject({
      code: 'log-corrupt',
      message: expect.stringContaining('offset 0 where 7 must follow'),
    })
  })
})

describe('the log directory', () => {
  test('belongs to one stream', async () => {
    await (await open()).close()
    await writeFile(join(home.directory, 'log.json'), '{"format":1,"stream":"other","partitions":1}')
    await expect(open()).rejects.toMatchObject({ code: 'log-of-other-stream' })
  })

  test('may get more partitions, not fewer', async () => {
    const log = await home.open({ partitions: 2 })
    await log.partitions[1]!.append(batchOf(numbered(0, 3)))
    await log.close()
    await expect(home.open({ partitions: 1 })).rejects.toMatchObject({
      kind: 'invalid',
      code: 'partitions-decreased',
      hint: expect.stringContaining('Declare 2 or more'),
    })
    const grown = await home.open({ partitions: 3 })
    expect(grown.partitions.map(({ end }) => end)).toEqual([0, 3, 0])
    await grown.close()
  })

  test('of a newer format is left alone', async () => {
    await (await open()).close()
    await writeFile(join(home.directory, 'log.json'), '{"format":2,"stream":"orders","partitions":1}')
    await expect(open()).rejects.toMatchObject({ code: 'log-version', hint: expect.stringContaining('newer Millrace') })
  })

  test('loses unfinished files on open', async () => {
    await written()
    await writeFile(join(home.directory, '0', '0000000000000000-0000000000000009.ndjson.zst.tmp'), 'half')
    await writeFile(join(home.directory, '0', '0000000000000000-0000000000000009.idx.json'), '[]')
    await (await open()).close()
    expect(await readdir(join(home.directory, '0'))).toEqual(['0000000000000000.ndjson'])
  })
})

import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BatchAppend, BatchView } from '../../src/log/kafka/batch.ts'
import { batchesOf, encodeRecords, sealBatch } from '../../src/log/kafka/batch.ts'
import { AbortedBatches } from '../../src/log/kafka/aborted.ts'
import type { Decoded } from '../../src/log/kafka/decode.ts'
import { Arena, decodeRecords } from '../../src/log/kafka/decode.ts'
import { lineOf } from '../../src/log/kafka/lines.ts'
import { keysOfLines } from '../../src/log/kafka/record-keys.ts'
import { MemoryRequests } from '../../src/log/kafka/requests.ts'
import { VarintReader, varintBytes, writeVarint } from '../../src/log/kafka/varint.ts'
import { partitionOf } from '../../src/log/route.ts'
import { systemClock } from '../../src/base/clock.ts'

// Any sum does here: brokers are asked in test/scale/kafka.
const codec = { crc32c: (bytes: Buffer) => crc32(bytes), decompress: (_: string, bytes: Buffer) => bytes }
const PLACE = { topic: 'orders', partition: 0 }
const PRODUCER = { id: 7n, epoch: 0, sequence: 3 }

function appendOf(records: readonly string[], more: Partial<BatchAppend> = {}): BatchAppend {
  const lines = Buffer.from(records.map((record) => `${record}\n`).join(''))
  return { lines, records: records.length, atMs: 1_000, keys: undefined, header: undefined, ...more }
}

/** A batch as a broker would send it: with its offset. */
function batchAt(offset: number, ...appends: BatchAppend[]): Buffer {
  const batch = sealBatch(encodeRecords(appends), PRODUCER, codec.crc32c)
  batch.writeBigInt64BE(BigInt(offset), 0)
  return batch
}

function decoded(bytes: Buffer, from = 0): Decoded {
  return decodeRecords({ ...PLACE, bytes, from, aborted: [] }, codec)
}

function recordsOf({ runs }: Decoded): [number, string][] {
  return runs.flatMap(({ offset, lines }) =>
    lines
      .toString()
      .split('\n')
      .slice(0, -1)
      .map((record, i): [number, string] => [offset + i, record]),
  )
}

const line = fc.stringMatching(/^[!-~]([ -~ä-ü]{0,40}[!-~])?$/)
const append = fc
  .record({
    records: fc.array(line, { minLength: 1, maxLength: 5 }),
    atMs: fc.integer({ min: 0, max: 2 ** 33 }),
    mark: fc.option(fc.record({ file: fc.string() }), { nil: undefined }),
    keyed: fc.boolean(),
  })
  .map(({ records, atMs, mark, keyed }) =>
    appendOf(records, {
      atMs,
      keys: keyed ? records.map((record) => Buffer.from(record)) : undefined,
      header: mark && Buffer.from(JSON.stringify({ records: records.length, mark })),
    }),
  )

describe('record batches', () => {
  test('integers of any size come back', () => {
    fc.assert(
      fc.property(fc.integer(), (value) => {
        const bytes = new Uint8Array(5)
        expect(writeVarint(bytes, 0, value)).toBe(varintBytes(value))
        expect(new VarintReader(bytes).int()).toBe(value)
        expect(new VarintReader(bytes).long()).toBe(value)
      }),
    )
  })

  test('records come back with offsets, times and marks, whatever is fetched at once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(append, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 20 }),
        (groups, cuts) => {
          let offset = 0
          const batches = groups.map((appends) => {
            const bytes = batchAt(offset, ...appends)
            offset += appends.reduce((sum, { records }) => sum + records, 0)
            return bytes
          })
          const all = Buffer.concat(batches)
          const whole = decoded(all)
          const expected = groups.flat().flatMap(({ lines }) => lines.toString().split('\n').slice(0, -1))
          expect(recordsOf(whole)).toEqual(expected.map((record, i) => [i, record]))
          expect(whole.next).toBe(offset)
          // Fetches of any size, the first batch of each whole, as brokers send them.
          const seen: [number, string][] = []
          const arrivals = new Map<number, number>()
          const arena = new Arena()
          for (let next = 0, i = 0; next < offset; i++) {
            const at = batches.findIndex((_, b) => offsetOf(batches, b + 1) > next)
            const begin = batches.slice(0, at).reduce((sum, { length }) => sum + length, 0)
            const end = begin + Math.max(batches[at]!.length, cuts[i % cuts.length]!)
            const part = decodeRecords(
              { ...PLACE, bytes: all.subarray(begin, end), from: next, aborted: [] },
              codec,
              arena,
            )
            seen.push(...recordsOf(part))
            for (const run of part.runs) arrivals.set(run.offset, run.atMs)
            next = part.next
          }
          expect(seen).toEqual(recordsOf(whole))
          expect([...arrivals]).toEqual(whole.runs.map((run) => [run.offset, run.atMs]))
        },
      ),
    )
  })

  function offsetOf(batches: readonly Buffer[], index: number): number {
    return batches.slice(0, index).reduce((sum, batch) => sum + batch.readInt32BE(57), 0)
  }

  test('a fetch that goes on within a batch gives the rest of it, with the same arrivals', () => {
    const bytes = batchAt(10, appendOf(['a', 'b', 'c'], { atMs: 5 }), appendOf(['d', 'e'], { atMs: 1_005 }))
    const rest = decoded(bytes, 12)
    expect(rest.runs.map(({ offset, records, atMs }) => [offset, records, atMs])).toEqual([
      [12, 1, 5],
      [13, 2, 1_005],
    ])
    expect(rest.next).toBe(15)
  })

  test('a mark is for the records of its append, and for none of an empty one', () => {
    const header = (records: number, mark: unknown) => Buffer.from(JSON.stringify({ records, mark }))
    const bytes = batchAt(
      0,
      appendOf(['a', 'b'], { header: header(2, 'one') }),
      appendOf(['c']),
      appendOf([], { header: header(0, 'empty') }),
      appendOf(['e']),
    )
    const { runs, notes, tombstones } = decoded(bytes)
    expect(runs.map(({ offset, records, mark }) => [offset, records, mark])).toEqual([
      [0, 2, 'one'],
      [2, 1, undefined],
      [4, 1, undefined],
    ])
    expect(notes.map(({ offset, note }) => [offset, note.records, note.mark])).toEqual([
      [0, 2, 'one'],
      [3, 0, 'empty'],
    ])
    expect(tombstones).toBe(1)
  })

  test('any byte changed is reported, with topic, partition and offset', () => {
    const bytes = Buffer.concat([batchAt(0, appendOf(['{"a":1}'])), batchAt(1, appendOf(['{"a":2}', '{"a":3}']))])
    for (let at = 21; at < bytes.length; at++) {
      if (!isChecked(bytes, at)) continue
      const changed = Buffer.from(bytes)
      changed[at]! ^= 0x10
      expect(() => decoded(changed)).toThrow(/Topic 'orders', partition 0: the batch at offset [01] is damaged/)
    }
  })

  /** Whether a byte of two batches is below a CRC. */
  function isChecked(bytes: Buffer, at: number): boolean {
    const first = 12 + bytes.readInt32BE(8)
    return (at < first ? at : at - first) >= 21
  }

  test('a batch cut off at the end waits for the next fetch', () => {
    const first = batchAt(0, appendOf(['a']))
    const second = batchAt(1, appendOf(['b']))
    for (let length = 0; length < second.length; length++) {
      const part = decoded(Buffer.concat([first, second.subarray(0, length)]))
      expect(recordsOf(part)).toEqual([[0, 'a']])
      expect(part.next).toBe(1)
    }
  })

  test('old formats are refused with the offset', () => {
    const bytes = batchAt(4, appendOf(['a']))
    bytes[16] = 1
    expect(() => [...batchesOf(bytes, PLACE, codec.crc32c)]).toThrow(/offset 4 is in a record format older than/)
  })
})

describe('transactions', () => {
  const batch = (from: number, producer: number, kind: 'data' | 'commit' | 'abort'): BatchView => ({
    from,
    to: from + 1,
    records: 1,
    producer: { id: BigInt(producer), epoch: 0, sequence: 0 },
    compression: 'none',
    isTransactional: true,
    isControl: kind !== 'data',
    firstMs: 0,
    appendedMs: undefined,
    payload: Buffer.from([0x20, 0, 0, 0, 8, 0, 0, 0, kind === 'commit' ? 1 : 0, 12, 0, 0, 0, 0, 0, 0, 0]),
  })

  test('any history of transactions, cut anywhere, shows what was committed', () => {
    const step = fc.record({ producer: fc.nat({ max: 2 }), kind: fc.constantFrom('data', 'data', 'commit', 'abort') })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat({ max: 30 }), fc.nat({ max: 30 }), (steps, a, b) => {
        const log = steps.map(({ producer, kind }, i) => batch(i, producer, kind as 'data'))
        // Which transaction a batch belongs to ends at the producer's next marker; open ones are beyond what is stable.
        const endOf = (i: number) =>
          steps.findIndex(({ producer, kind }, j) => j > i && kind !== 'data' && producer === steps[i]!.producer)
        const open = steps.findIndex(({ kind }, i) => kind === 'data' && endOf(i) === -1)
        const stable = open === -1 ? steps.length : open
        const [from, to] = [Math.min(a, b, stable), Math.min(Math.max(a, b), stable)]
        const aborted = steps.flatMap(({ producer, kind }, end) => {
          if (kind !== 'abort' || end < from) return []
          const before = steps.findLastIndex((s, i) => i < end && s.producer === producer && s.kind !== 'data')
          const first = steps.findIndex((s, i) => i > before && s.producer === producer && s.kind === 'data')
          return first < end && first !== -1 && first < to ? [{ producer: BigInt(producer), from: first }] : []
        })
        const visible = new AbortedBatches(aborted.toReversed())
        const seen = log.slice(from, to).filter((view) => visible.isVisible(view))
        const committed = steps.flatMap(({ kind }, i) =>
          i >= from && i < to && kind === 'data' && steps[endOf(i)]?.kind === 'commit' ? [i] : [],
        )
        expect(seen.map((view) => view.from)).toEqual(committed)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('values that are no lines', () => {
  test.each([
    ['{"a":1}', '{"a":1}'],
    ['{\n  "a": "x\\ny"\r\n}\n', '{   "a": "x\\ny"  } '],
    ['', '""'],
    [' \t\n', '" \\t\\n"'],
    ['not\njson', '"not\\njson"'],
    ['{"a":"torn\n', '"{\\"a\\":\\"torn\\n"'],
  ])('%j becomes %j', (value, expected) => {
    expect(lineOf(Buffer.from(value)).toString()).toBe(expected)
  })

  test('bytes that are no text are kept in base64', () => {
    const value = Buffer.from([0x7b, 0xff, 0x7d])
    expect(lineOf(value).toString()).toBe(`"not UTF-8, in base64: ${value.toString('base64')}"`)
  })

  test('any value is one line, and JSON keeps its meaning', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(3), (json, indent) => {
        const value = Buffer.from(JSON.stringify(JSON.parse(json), null, indent))
        const made = lineOf(value)
        expect(made.includes(10)).toBe(false)
        expect(JSON.parse(made.toString())).toEqual(JSON.parse(json))
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const made = lineOf(Buffer.from(bytes))
        expect(made.includes(10)).toBe(false)
        expect(made.toString().trim()).not.toBe('')
      }),
    )
  })

  test('a batch with a few of them gives a line for each record', () => {
    const values = ['{"a":1}', 'x'.repeat(50) + '\t', '{"b":2}']
    const bytes = batchAt(0, appendOf(values))
    // A value with a line break cannot be appended, only produced: one byte of it is changed.
    const at = bytes.indexOf('\t')
    bytes[at] = 10
    bytes.writeUInt32BE(codec.crc32c(bytes.subarray(21)), 17)
    const lines = recordsOf(decoded(bytes)).map(([, text]) => text)
    expect(lines).toEqual(['{"a":1}', JSON.stringify(`${'x'.repeat(50)}\n`), '{"b":2}'])
  })
})

describe('record keys', () => {
  test('are the texts by which partitions are chosen, for any record', () => {
    const value = fc.oneof(
      fc.jsonValue(),
      fc.string(),
      fc.double(),
      fc.constantFrom('7', '7.0', 7, null, true, '', 'ü"\\'),
    )
    const record = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'ü', 'x"y'), value)
    fc.assert(
      fc.property(fc.array(record, { maxLength: 5 }), fc.nat(1), (records, indent) => {
        const texts = records.map((own) => JSON.stringify(own, null, indent).replaceAll('\n', ' '))
        const keys = keysOfLines(Buffer.from(texts.map((text) => `${text}\n`).join('')), ['a', 'ü'])
        keys.forEach((key, i) => {
          const values = ['a', 'ü'].map((column) => (JSON.parse(texts[i]!) as Record<string, unknown>)[column])
          if (key === undefined) return expect(values.every((own) => own === undefined || own === null)).toBe(true)
          // One text is one key as well as two are, so this compares the text itself.
          expect(partitionOf(key.toString().split('\u001f'), 1 << 30)).toBe(partitionOf(values, 1 << 30))
        })
      }),
      { numRuns: 500 },
    )
  })

  test('lines that are no objects have none', () => {
    const lines = Buffer.from('[1]\n7\nnot json\n{"b":1}\n{"a":null}\n{}\n{"a":1}\n')
    expect(keysOfLines(lines, ['a']).map((key) => key?.toString())).toEqual([...Array<undefined>(6), '1'])
  })
})

test('requests in memory are forgotten by age and by number, and taken over when abandoned', async () => {
  let now = 0
  const requests = new MemoryRequests({ ...systemClock, now: () => now }, { keys: 2, keyAgeMs: 1_000 })
  const begin = (key: string, digest = 'd') => requests.begin('s', key, digest, { from: now }, { abandonedMs: 100 })
  const first = await begin('a')
  expect(first).toMatchObject({ state: 'begun' })
  expect(await begin('a')).toMatchObject({ state: 'pending', payload: { from: 0 } })
  await expect(begin('a', 'other')).rejects.toMatchObject({ code: 'idempotency-mismatch' })
  now = 100
  const second = await begin('a')
  expect(second).toMatchObject({ state: 'begun', earlier: { from: 0 } })
  // Whoever was taken over has no say any more.
  if (first.state === 'begun') await requests.finish(first.request, 'old')
  expect(await begin('a')).toMatchObject({ state: 'pending' })
  if (second.state === 'begun') await requests.finish(second.request, 'new')
  expect(await begin('a')).toEqual({ state: 'finished', result: 'new' })
  await begin('b')
  await begin('c')
  expect(await begin('a')).toMatchObject({ state: 'begun' })
  now = 2_000
  expect(await begin('c')).toMatchObject({ state: 'begun' })
})

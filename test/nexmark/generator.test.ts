import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { type ArrivalOptions, arrivals } from '../../benchmarks/nexmark/arrivals.ts'
import { writeNexmark } from '../../benchmarks/nexmark/files.ts'
import { STREAMS, type StreamName } from '../../benchmarks/nexmark/generator.ts'

type Event = Record<string, string | number>

/** The first events of a seed in their order, parsed. */
function events(count: number, seed = 1): { stream: StreamName; event: Event }[] {
  return [...arrivals(count, { seed }, { seed })].map(({ stream, line }) => ({
    stream,
    event: JSON.parse(Buffer.from(line).toString()) as Event,
  }))
}

async function written(count: number, seed: number, arrival?: ArrivalOptions): Promise<Record<StreamName, string>> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-nexmark-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const files = writeNexmark(directory, count, { seed }, arrival)
  const texts = await Promise.all(STREAMS.map((stream) => readFile(files[stream].path, 'latin1')))
  STREAMS.forEach((stream, i) => {
    expect(files[stream].bytes).toBe(texts[i]!.length)
    expect(files[stream].lines).toBe(texts[i]!.split('\n').length - 1)
  })
  return Object.fromEntries(STREAMS.map((stream, i) => [stream, texts[i]!])) as Record<StreamName, string>
}

test('the events of a seed stay the same ones', async () => {
  const texts = await written(10_000, 42)
  const digest = createHash('sha256')
  for (const stream of STREAMS) digest.update(texts[stream])
  // Whoever changes the generator changes what figures measured before are about.
  expect(digest.digest('hex')).toMatchInlineSnapshot(
    `"fcb7e8572ecc2ee893bdb4acbdaf1bfd7458a53b1c6077715dbbb5d1c06c2ee0"`,
  )
  expect(await written(10_000, 42)).toEqual(texts)
  expect(await written(10_000, 43)).not.toEqual(texts)
  expect(await written(10_000, 42, { seed: 7 })).toEqual(texts)
})

test('of fifty events one is a person, three are auctions, the others bids, evenly spaced in time', () => {
  const all = events(10_000)
  all.forEach(({ stream, event }, n) => {
    expect(stream).toBe(n % 50 === 0 ? 'persons' : n % 50 <= 3 ? 'auctions' : 'bids')
    expect(Date.parse(event['date_time'] as string)).toBe(Date.UTC(2015, 6, 15) + Math.floor(n / 10))
  })
  for (const stream of ['persons', 'auctions'] as const) {
    const ids = all.filter((one) => one.stream === stream).map(({ event }) => event['id'])
    expect(ids).toEqual(ids.map((_, i) => 1_000 + i))
  }
})

test('hot auctions, bidders and sellers have their share, prices their distribution', () => {
  const all = events(200_000)
  const bids = all.filter(({ stream }) => stream === 'bids').map(({ event }) => event)
  const auctions = all.filter(({ stream }) => stream === 'auctions').map(({ event }) => event)
  const share = (rows: readonly Event[], holds: (row: Event) => boolean) => rows.filter(holds).length / rows.length
  const number = (row: Event, name: string) => row[name] as number
  // One in a hundred of the others is hot by chance.
  expect(share(bids, (b) => number(b, 'auction') % 100 === 0)).toBeCloseTo(0.505, 1.7)
  expect(share(bids, (b) => number(b, 'bidder') % 100 === 1)).toBeCloseTo(0.7525, 1.7)
  expect(share(auctions, (a) => number(a, 'seller') % 100 === 0)).toBeCloseTo(0.7525, 1.5)
  for (let decade = 2; decade < 8; decade++)
    expect(share(bids, (b) => Math.floor(Math.log10(number(b, 'price'))) === decade)).toBeCloseTo(1 / 6, 1.7)
  expect(share(bids, ({ channel }) => /^(Google|Facebook|Baidu|Apple)$/.test(channel as string))).toBeCloseTo(0.5, 1.7)
  expect(share(bids, ({ url }) => (url as string).includes('&channel_id='))).toBeCloseTo(0.45, 1.7)
  for (const auction of auctions) {
    const length = Date.parse(auction['expires'] as string) - Date.parse(auction['date_time'] as string)
    expect(length).toBeGreaterThan(0)
    expect(length).toBeLessThanOrEqual(334)
  }
  const size = bids.reduce((sum, bid) => sum + 32 + (bid['extra'] as string).length, 0) / bids.length
  expect(size).toBeGreaterThan(97)
  expect(size).toBeLessThan(103)
})

test('every event arrives, those of its disorder at most so much behind, repeated and late ones in their share', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.integer({ min: 0, max: 500 }), (seed, disorder) => {
      const count = 5_000
      const plain = [...arrivals(count, { seed }, { seed })].map(({ line }) => Buffer.from(line).toString())
      const late = [{ share: 0.01, from: 2_000, to: 3_000 }]
      const sent = [...arrivals(count, { seed }, { seed, disorder, duplicates: 0.1, late })]
      expect(new Set(sent.map(({ line }) => Buffer.from(line).toString()))).toEqual(new Set(plain))
      expect(sent.length / count).toBeGreaterThan(1.05)
      expect(sent.length / count).toBeLessThan(1.15)
      let newest = -Infinity
      let behind = 0
      for (const { time } of sent) {
        newest = Math.max(newest, time)
        if (newest - time > 2 * disorder + 1) behind++
      }
      // The end comes before the delay of some is over.
      expect(behind / sent.length).toBeLessThan(0.02)
    }),
    { numRuns: 20 },
  )
})

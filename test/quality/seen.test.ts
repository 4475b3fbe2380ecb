import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SEEN, SeenKeys } from '../../src/quality/seen.ts'

const HORIZON_MS = 800
const SLICE_MS = HORIZON_MS / 8

type Key = readonly [number, number, number, number]
interface Arrival {
  readonly key: Key
  readonly timeMs: number
}

/** The definition in plain words: a key is seen while the slice of its newest accepted row is not older than the horizon. */
class Model {
  readonly #slices = new Map<string, number>()
  #newestMs = -Infinity

  add({ key, timeMs }: Arrival): number {
    const oldest = Math.floor((this.#newestMs - HORIZON_MS) / SLICE_MS)
    const slice = Math.floor(timeMs / SLICE_MS)
    if (slice < oldest) return SEEN.tooOld
    const name = key.join()
    const before = this.#slices.get(name)
    if (before !== undefined && before >= oldest) return SEEN.duplicate
    this.#slices.set(name, slice)
    this.#newestMs = Math.max(this.#newestMs, timeMs)
    return SEEN.fresh
  }
}

// Few words, all zeros and the largest among them, so that keys meet in slots without being equal.
const word = fc.constantFrom(0, 1, 2, 0x8000_0000, 0xffff_ffff)
const key = fc.tuple(word, word, word, word)
const arrivals = fc.array(fc.record({ key, timeMs: fc.integer({ min: -2_000, max: 4_000 }) }), { maxLength: 300 })

describe('keys seen', () => {
  test('without a horizon they are a set', () => {
    fc.assert(
      fc.property(fc.array(key, { maxLength: 500 }), (keys) => {
        const seen = new SeenKeys()
        const model = new Set<string>()
        for (const [a, b, c, d] of keys) {
          const name = [a, b, c, d].join()
          expect(seen.add(a, b, c, d, 0)).toBe(model.has(name) ? SEEN.duplicate : SEEN.fresh)
          model.add(name)
        }
        expect(seen.size).toBe(model.size)
      }),
    )
  })

  test('with a horizon they are what the definition says', () => {
    fc.assert(
      fc.property(arrivals, (all) => {
        const seen = new SeenKeys(HORIZON_MS)
        const model = new Model()
        for (const arrival of all) expect(seen.add(...arrival.key, arrival.timeMs)).toBe(model.add(arrival))
      }),
      { numRuns: 500 },
    )
  })

  test('rebuilt from the accepted rows in any order, they answer as if nothing had happened', () => {
    fc.assert(
      fc.property(
        arrivals,
        fc.nat(),
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        (all, cut, random) => {
          const at = all.length === 0 ? 0 : cut % all.length
          const before = new SeenKeys(HORIZON_MS)
          const accepted = all.slice(0, at).filter(({ key, timeMs }) => before.add(...key, timeMs) === SEEN.fresh)
          const shuffled = accepted
            .map((arrival) => ({ arrival, order: random.next().value }))
            .sort((x, y) => x.order - y.order)
          const after = new SeenKeys(HORIZON_MS)
          for (const { arrival } of shuffled) after.restore(...arrival.key, arrival.timeMs)
          for (const { key, timeMs } of all.slice(at))
            expect(after.add(...key, timeMs)).toBe(before.add(...key, timeMs))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('many keys: all found again while wanted, and memory follows the horizon, not the input', () => {
    const seen = new SeenKeys(HORIZON_MS)
    const keyOf = (i: number): Key => [Math.imul(i, 0x9e3779b1) >>> 0, i, ~i >>> 0, Math.imul(i, 7) >>> 0]
    let bytesMax = 0
    for (let i = 0; i < 300_000; i++) {
      const timeMs = Math.floor(i / 10)
      expect(seen.add(...keyOf(i), timeMs) === SEEN.fresh).toBe(true)
      if (i % 97 === 0 && i >= 5_000) {
        expect(seen.add(...keyOf(i - 5_000), timeMs) === SEEN.duplicate).toBe(true)
        expect(seen.add(...keyOf(i - 5_000), timeMs - 2 * HORIZON_MS) === SEEN.tooOld).toBe(true)
      }
      bytesMax = Math.max(bytesMax, seen.bytes)
    }
    // About 9,000 keys are wanted at a time.
    expect(bytesMax).toBeLessThan(40_000 * 40)
  })
})

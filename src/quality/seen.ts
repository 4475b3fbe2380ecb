/** What a set of seen keys says about a row. */
export const SEEN = { fresh: 0, duplicate: 1, tooOld: 2 } as const

/** Slices a horizon is cut into: keys are forgotten a slice at a time. */
const SLICES = 8
const INITIAL_SLOTS = 1 << 12
/** Share of the slots in use over which the table doubles. */
const LOAD_MAX = 0.5
/**
 * Keys seen within a horizon of event time, as 128-bit fingerprints. Time is cut into slices of an eighth of the horizon;
 * a key counts as seen until its slice ends before `newest − horizon`, so memory follows the horizon and not the input.
 * Without a horizon nothing is forgotten.
 *
 * What is forgotten depends only on the rows before, in their order, never on how they were batched. A row older than
 * the horizon cannot be told from a duplicate any more: `tooOld`.
 *
 * 128 bits stand for the key itself: with 10^10 keys two different ones share a fingerprint with probability 1.5e-19.
 *
 * The table is open addressing with a byte of each key beside numbers of entries, which lie densely in the order they
 * came: a fresh key, by far the commonest, mostly costs one look at a byte.
 */
export class SeenKeys {
  readonly #sliceMs: number
  readonly #horizonMs: number
  #newestMs = -Infinity
  #oldestSlice = -Infinity
  /** A byte of the fingerprint of the key in each slot; 0 is free. Small, so that most of it stays in a processor's cache. */
  #tags = new Uint8Array(INITIAL_SLOTS)
  /** Number of the entry in each slot, looked at only where the tag is that of the key asked for. */
  #numbers = new Uint32Array(INITIAL_SLOTS)
  #mask = INITIAL_SLOTS - 1
  /** Four words an entry. */
  #words = new Uint32Array(INITIAL_SLOTS * LOAD_MAX * 4)
  /** Slice of each entry. */
  #slices = new Float64Array(INITIAL_SLOTS * LOAD_MAX)
  #size = 0

  constructor(horizonMs = Infinity) {
    this.#horizonMs = horizonMs
    this.#sliceMs = horizonMs / SLICES
  }

  /** Entries held, forgotten ones not yet swept among them. */
  get size(): number {
    return this.#size
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#tags.byteLength + this.#numbers.byteLength + this.#words.byteLength + this.#slices.byteLength
  }

  /** Asks for a key at an event time (milliseconds since the epoch) and remembers it when it is fresh. */
  add(a: number, b: number, c: number, d: number, timeMs: number): number {
    const slice = this.#sliceOf(timeMs)
    if (slice < this.#oldestSlice) return SEEN.tooOld
    const slot = this.#slotOf(a, b, c, d)
    const entry = this.#tags[slot] === 0 ? -1 : this.#numbers[slot]!
    if (entry >= 0 && this.#slices[entry]! >= this.#oldestSlice) return SEEN.duplicate
    // An entry that is there was forgotten long ago: the key is fresh again.
    if (entry >= 0) this.#slices[entry] = slice
    else this.#enter(slot, a, b, c, d, slice)
    this.#advance(timeMs)
    return SEEN.fresh
  }

  /** Whether a key counts as seen. */
  has(a: number, b: number, c: number, d: number): boolean {
    const slot = this.#slotOf(a, b, c, d)
    return this.#tags[slot] !== 0 && this.#slices[this.#numbers[slot]!]! >= this.#oldestSlice
  }

  /** Takes up a key that was accepted at some time. The order does not matter: the newest time of a key counts. */
  restore(a: number, b: number, c: number, d: number, timeMs: number): void {
    const slice = this.#sliceOf(timeMs)
    const slot = this.#slotOf(a, b, c, d)
    const entry = this.#tags[slot] === 0 ? -1 : this.#numbers[slot]!
    if (entry >= 0) this.#slices[entry] = Math.max(this.#slices[entry]!, slice)
    else if (slice >= this.#oldestSlice) this.#enter(slot, a, b, c, d, slice)
    this.#advance(timeMs)
  }

  #sliceOf(timeMs: number): number {
    return this.#horizonMs === Infinity ? 0 : Math.floor(timeMs / this.#sliceMs)
  }

  /** The slot of a key, or the free one where it belongs. */
  #slotOf(a: number, b: number, c: number, d: number): number {
    const tags = this.#tags
    const words = this.#words
    const mask = this.#mask
    const tag = tagOf(b)
    let slot = (a ^ d) & mask
    for (let held = tags[slot]!; held !== 0; held = tags[slot]!) {
      if (held === tag) {
        const at = this.#numbers[slot]! << 2
        if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) break
      }
      slot = (slot + 1) & mask
    }
    return slot
  }

  #enter(slot: number, a: number, b: number, c: number, d: number, slice: number): void {
    const at = this.#size << 2
    const words = this.#words
    words[at] = a
    words[at + 1] = b
    words[at + 2] = c
    words[at + 3] = d
    this.#slices[this.#size] = slice
    this.#tags[slot] = tagOf(b)
    this.#numbers[slot] = this.#size++
    if (this.#size >= this.#slices.length) this.#sweepOrGrow()
  }

  #advance(timeMs: number): void {
    if (timeMs <= this.#newestMs) return
    this.#newestMs = timeMs
    if (this.#horizonMs !== Infinity) this.#oldestSlice = Math.floor((timeMs - this.#horizonMs) / this.#sliceMs)
  }

  /** The table is full: forgotten entries go; if most are still wanted, it doubles. */
  #sweepOrGrow(): void {
    let wanted = 0
    for (let i = 0; i < this.#size; i++) if (this.#slices[i]! >= this.#oldestSlice) wanted++
    const capacity = wanted > this.#slices.length / 2 ? this.#slices.length * 2 : this.#slices.length
    const [oldWords, oldSlices, oldSize] = [this.#words, this.#slices, this.#size]
    this.#words = new Uint32Array(capacity * 4)
    this.#slices = new Float64Array(capacity)
    const slots = capacity / LOAD_MAX
    this.#tags = new Uint8Array(slots)
    this.#numbers = new Uint32Array(slots)
    this.#mask = slots - 1
    this.#size = 0
    for (let i = 0; i < oldSize; i++) {
      if (oldSlices[i]! < this.#oldestSlice) continue
      for (let word = 0; word < 4; word++) this.#words[this.#size * 4 + word] = oldWords[i * 4 + word]!
      this.#slices[this.#size] = oldSlices[i]!
      let slot = (oldWords[i * 4]! ^ oldWords[i * 4 + 3]!) & this.#mask
      while (this.#tags[slot] !== 0) slot = (slot + 1) & this.#mask
      this.#tags[slot] = tagOf(oldWords[i * 4 + 1]!)
      this.#numbers[slot] = this.#size++
    }
  }
}

function tagOf(word: number): number {
  return (word & 0x7f) | 0x80
}

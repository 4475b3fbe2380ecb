/**
 * A set of 128-bit fingerprints, open addressing in one typed array: 16 bytes a slot, no object per key. It answers
 * "was this event seen?" at some tens of nanoseconds a row, off the SQL engine's path.
 *
 * 128 bits stand for the key itself: with 10^10 keys two different ones share a fingerprint with probability 1.5e-19.
 */
export class FingerprintSet {
  #slots: Uint32Array
  #mask: number
  #size = 0

  constructor(capacity = 1 << 12) {
    const slots = 1 << Math.max(4, Math.ceil(Math.log2(capacity * 1.6)))
    this.#slots = new Uint32Array(slots * 4)
    this.#mask = slots - 1
  }

  get size(): number {
    return this.#size
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#slots.byteLength
  }

  has(a: number, b: number, c: number, d: number): boolean {
    if ((a | b | c | d) === 0) a = 1
    const slots = this.#slots
    const mask = (this.#mask << 2) | 3
    let i = ((a ^ d) & this.#mask) << 2
    for (;;) {
      const s0 = slots[i]!
      const s1 = slots[i + 1]!
      const s2 = slots[i + 2]!
      const s3 = slots[i + 3]!
      if (s0 === a && s1 === b && s2 === c && s3 === d) return true
      if ((s0 | s1 | s2 | s3) === 0) return false
      i = (i + 4) & mask
    }
  }

  /** Adds a fingerprint; false when it was there. */
  add(a: number, b: number, c: number, d: number): boolean {
    // All zeros marks a free slot.
    if ((a | b | c | d) === 0) a = 1
    const slots = this.#slots
    const mask = (this.#mask << 2) | 3
    let i = ((a ^ d) & this.#mask) << 2
    for (;;) {
      const s0 = slots[i]!
      const s1 = slots[i + 1]!
      const s2 = slots[i + 2]!
      const s3 = slots[i + 3]!
      if (s0 === a && s1 === b && s2 === c && s3 === d) return false
      if ((s0 | s1 | s2 | s3) === 0) {
        slots[i] = a
        slots[i + 1] = b
        slots[i + 2] = c
        slots[i + 3] = d
        if (++this.#size > this.#mask * 0.625) this.#grow()
        return true
      }
      i = (i + 4) & mask
    }
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Uint32Array(old.length * 2)
    this.#mask = this.#slots.length / 4 - 1
    this.#size = 0
    for (let i = 0; i < old.length; i += 4) {
      if ((old[i]! | old[i + 1]! | old[i + 2]! | old[i + 3]!) !== 0)
        this.add(old[i]!, old[i + 1]!, old[i + 2]!, old[i + 3]!)
    }
  }
}

/** What a set of seen keys says about a row. */
export const SEEN = { fresh: 0, duplicate: 1, tooOld: 2 } as const

/**
 * Keys seen within a horizon of event time. Time is cut into slices of an eighth of the horizon, one set each; a slice
 * is forgotten whole once it ends before `newest − horizon`, so memory follows the horizon and not the input. Without a
 * horizon there is one slice that is never forgotten.
 *
 * What is forgotten depends only on the rows before, in their order, never on how they were batched. A row older than
 * the horizon cannot be told from a duplicate any more: `tooOld`.
 */
export class SeenKeys {
  readonly #sliceMs: number
  readonly #horizonMs: number
  readonly #slices = new Map<number, FingerprintSet>()
  #newestMs = -Infinity
  #oldestSlice = -Infinity
  #current: { slice: number; set: FingerprintSet } | undefined

  constructor(horizonMs = Infinity) {
    this.#horizonMs = horizonMs
    this.#sliceMs = horizonMs / 8
  }

  get size(): number {
    let total = 0
    for (const set of this.#slices.values()) total += set.size
    return total
  }

  /** Bytes held. */
  get bytes(): number {
    let total = 0
    for (const set of this.#slices.values()) total += set.bytes
    return total
  }

  /** Asks for a key at an event time (milliseconds since the epoch) and remembers it when it is fresh. */
  add(a: number, b: number, c: number, d: number, timeMs: number): number {
    const slice = this.#horizonMs === Infinity ? 0 : Math.floor(timeMs / this.#sliceMs)
    if (slice < this.#oldestSlice) return SEEN.tooOld
    if (this.#slices.size > 1) {
      // The same key may come with another time: every live slice is asked.
      for (const [at, set] of this.#slices) if (at !== slice && set.has(a, b, c, d)) return SEEN.duplicate
    }
    if (this.#current?.slice !== slice) this.#current = { slice, set: this.#sliceOf(slice) }
    if (!this.#current.set.add(a, b, c, d)) return SEEN.duplicate
    if (timeMs > this.#newestMs) {
      this.#newestMs = timeMs
      if (this.#horizonMs !== Infinity) this.#forget()
    }
    return SEEN.fresh
  }

  #sliceOf(slice: number): FingerprintSet {
    let set = this.#slices.get(slice)
    if (!set) this.#slices.set(slice, (set = new FingerprintSet()))
    return set
  }

  #forget(): void {
    const oldest = Math.floor((this.#newestMs - this.#horizonMs) / this.#sliceMs)
    if (oldest === this.#oldestSlice) return
    this.#oldestSlice = oldest
    for (const slice of this.#slices.keys()) if (slice < oldest) this.#slices.delete(slice)
  }
}

import type { Appended } from '../log.ts'

/** The first append that carried a key. */
export interface KnownAppend {
  readonly from: number
  readonly to: number
  /** Length and CRC-32 of its payload: what tells a repetition from another use of the same key. */
  readonly bytes: number
  readonly crc: number
  readonly atMs: number
  /** Set while it is not yet durable. */
  durable?: Promise<Appended> | undefined
}

/** Idempotency keys of one partition within a window of age and number; derived from frame headers. */
export class KeyTable {
  readonly #limit: number
  readonly #ageMs: number
  /** In order of arrival, so the oldest come first. */
  readonly #known = new Map<string, KnownAppend>()

  constructor(limits: { readonly keys: number; readonly keyAgeMs: number }) {
    this.#limit = limits.keys
    this.#ageMs = limits.keyAgeMs
  }

  find(key: string, nowMs: number): KnownAppend | undefined {
    const known = this.#known.get(key)
    return known !== undefined && this.#fresh(known, nowMs) ? known : undefined
  }

  add(key: string, append: KnownAppend, nowMs: number): void {
    this.#known.delete(key)
    this.#known.set(key, append)
    for (const [oldest, { atMs }] of this.#known) {
      if (this.#known.size <= this.#limit && atMs >= nowMs - this.#ageMs) break
      this.#known.delete(oldest)
    }
  }

  #fresh(known: KnownAppend, nowMs: number): boolean {
    return known.atMs >= nowMs - this.#ageMs
  }
}

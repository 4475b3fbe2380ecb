import type { Clock } from '../../base/clock.ts'

/** Values by key, loaded once: the longest unused goes when there are too many, and each when it is too old. */
export class LookupCache {
  readonly #entries: number
  readonly #forMs: number
  readonly #clock: Clock
  /** In order of use. */
  readonly #known = new Map<string, { readonly value: Promise<unknown>; readonly untilMs: number }>()

  constructor(entries: number, forMs: number, clock: Clock) {
    this.#entries = entries
    this.#forMs = forMs
    this.#clock = clock
  }

  get<T>(key: string, load: () => T | Promise<T>): Promise<T> {
    const now = this.#clock.monotonic()
    const found = this.#known.get(key)
    this.#known.delete(key)
    if (found && found.untilMs > now) {
      this.#known.set(key, found)
      return found.value as Promise<T>
    }
    const value = new Promise<T>((resolve) => resolve(load()))
    const entry = { value, untilMs: now + this.#forMs }
    this.#known.set(key, entry)
    // A failure is told to those who wait, and the next one loads again.
    value.catch(() => {
      if (this.#known.get(key) === entry) this.#known.delete(key)
    })
    if (this.#known.size > this.#entries) this.#known.delete(this.#known.keys().next().value!)
    return value
  }
}

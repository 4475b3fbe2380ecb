/** Items by time, earliest first; those of one time in the order they came. */
export class Heap<T> {
  readonly #items: { readonly atMs: number; readonly order: number; readonly item: T }[] = []
  #pushed = 0

  /** Time of the earliest item; Infinity when there is none. */
  get nextMs(): number {
    return this.#items[0]?.atMs ?? Infinity
  }

  push(atMs: number, item: T): void {
    let at = this.#items.push({ atMs, order: this.#pushed++, item }) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isBefore(at, parent)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  pop(): T | undefined {
    const first = this.#items[0]
    const last = this.#items.pop()
    if (first === undefined || last === undefined) return undefined
    if (this.#items.length > 0) this.#items[0] = last
    for (let at = 0; ;) {
      const [left, right] = [2 * at + 1, 2 * at + 2]
      let least = at
      if (left < this.#items.length && this.#isBefore(left, least)) least = left
      if (right < this.#items.length && this.#isBefore(right, least)) least = right
      if (least === at) return first.item
      this.#swap(at, least)
      at = least
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [x, y] = [this.#items[a]!, this.#items[b]!]
    return x.atMs < y.atMs || (x.atMs === y.atMs && x.order < y.order)
  }

  #swap(a: number, b: number): void {
    const item = this.#items[a]!
    this.#items[a] = this.#items[b]!
    this.#items[b] = item
  }
}

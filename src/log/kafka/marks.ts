import type { Mark } from '../log.ts'

/** Source marks of one partition. The same append may be told of twice: when it is acknowledged and when it is read. */
export class MarkList {
  readonly #partition: number
  readonly #byOffset = new Map<number, { readonly to: number; readonly mark: unknown }>()

  constructor(partition: number) {
    this.#partition = partition
  }

  /** Records [from, to) came from `mark`. */
  add(from: number, to: number, mark: unknown): void {
    this.#byOffset.set(from, { to, mark })
  }

  /** In the order of offsets, neighbours with equal marks as one. */
  list(): Mark[] {
    const marks: Mark[] = []
    const known = [...this.#byOffset].sort(([a], [b]) => a - b)
    for (const [offset, { to, mark }] of known) {
      const last = marks.at(-1)
      if (last !== undefined && last.to === offset && JSON.stringify(last.mark) === JSON.stringify(mark)) {
        marks[marks.length - 1] = { ...last, to }
      } else {
        marks.push({ partition: this.#partition, offset, to, mark })
      }
    }
    return marks
  }
}

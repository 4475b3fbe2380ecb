import type { Output } from './effects.ts'

/** Lines at the end of the output that are drawn again in place, under text that scrolls. Only text without a terminal. */
export class LiveBlock {
  readonly #out: Output
  #lines: readonly string[] = []
  #drawn = 0

  constructor(out: Output) {
    this.#out = out
  }

  /** Writes text that stays, above the block. */
  print(text: string): void {
    this.#erase()
    this.#out.write(`${text}\n`)
    this.#draw()
  }

  /** Shows other lines. They are not wider than the terminal. */
  show(lines: readonly string[]): void {
    if (!this.#out.isTerminal) return
    this.#erase()
    this.#lines = lines
    this.#draw()
  }

  /** Leaves the block as it stands. */
  end(): void {
    this.#lines = []
    this.#drawn = 0
  }

  #draw(): void {
    // What has scrolled off the screen cannot be drawn again.
    const lines = this.#lines.slice(0, Math.max(0, this.#out.rows - 2))
    if (lines.length === 0) return
    this.#out.write(`${lines.join('\n')}\n`)
    this.#drawn = lines.length
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out.write(`\u001b[${this.#drawn}A\u001b[J`)
    this.#drawn = 0
  }
}

/** Tells whoever follows a dataset that it was published. Nobody polls, and nobody is waited for. */
export class Publications {
  readonly #counts = new Map<string, number>()
  readonly #waiting = new Map<string, Set<() => void>>()

  /** A dataset was published: its `main` moved. */
  tell(dataset: string): void {
    this.#counts.set(dataset, this.count(dataset) + 1)
    for (const wake of this.#waiting.get(dataset) ?? []) wake()
  }

  /** Publications told so far. Taken before looking at a dataset, `after` it misses none. */
  count(dataset: string): number {
    return this.#counts.get(dataset) ?? 0
  }

  /** Resolves once more than `seen` publications were told, or when the signal aborts. */
  async after(dataset: string, seen: number, signal: AbortSignal): Promise<void> {
    if (this.count(dataset) > seen || signal.aborted) return
    const waiting = this.#waiting.get(dataset) ?? new Set()
    this.#waiting.set(dataset, waiting)
    await new Promise<void>((resolve) => {
      const wake = () => {
        waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}

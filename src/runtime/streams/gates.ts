import type { Hold } from '../../lake/store.ts'
import type { Dataset } from '../../project/dataset.ts'
import type { Stream } from '../../project/stream.ts'
import { type Gate, compileGate } from '../../quality/gate.ts'

/** Batches in flight were given a gate of before: the files that it looks into stay for so many more. */
const HOLDS_KEPT = 16

/** The streams' gates, compiled when first asked for. One that refers to other datasets is made again for each batch: they change. */
export class Gates {
  readonly #hold: () => Hold
  readonly #publishedSql: (dataset: string, hold: Hold) => Promise<string>
  readonly #compiled = new Map<string, Gate>()
  readonly #holds: Hold[] = []

  /** `publishedSql` gives a table expression for the published rows of a dataset. */
  constructor(hold: () => Hold, publishedSql: (dataset: string, hold: Hold) => Promise<string>) {
    this.#hold = hold
    this.#publishedSql = publishedSql
  }

  /** The gate for records of these file sources, or of any origin. */
  async of(stream: Stream, sources?: ReadonlySet<string>): Promise<Gate> {
    const references = referencesOf(stream)
    const key = JSON.stringify([stream.name, ...(sources ?? ['*'])])
    const known = this.#compiled.get(key)
    if (known && references.length === 0) return known
    const hold = this.#hold()
    this.#holds.push(hold)
    if (this.#holds.length > HOLDS_KEPT) this.#holds.shift()!.release()
    const relations = new Map(
      await Promise.all(references.map(async ({ name }) => [name, await this.#publishedSql(name, hold)] as const)),
    )
    const gate = compileGate(stream, ({ name }) => relations.get(name)!, sources)
    this.#compiled.set(key, gate)
    return gate
  }
}

/** What the row checks of a stream look into. */
function referencesOf(stream: Stream): readonly Dataset[] {
  return stream.checks.flatMap((check) =>
    check.rule === 'reference' ? [check.dataset] : check.rule === 'predicate' ? check.sql.datasets : [],
  )
}

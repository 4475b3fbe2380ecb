import type { Dataset } from '../project/dataset.ts'
import type { Stream } from '../project/stream.ts'
import { type Gate, compileGate } from '../quality/gate.ts'

/** The streams' gates, compiled when first asked for. One that refers to other datasets is made again for each batch: they change. */
export class Gates {
  readonly #publishedSql: (dataset: string) => Promise<string>
  readonly #compiled = new Map<string, Gate>()

  /** `publishedSql` gives a table expression for the published rows of a dataset. */
  constructor(publishedSql: (dataset: string) => Promise<string>) {
    this.#publishedSql = publishedSql
  }

  /** The gate for records of these file sources, or of any origin. */
  async of(stream: Stream, sources?: ReadonlySet<string>): Promise<Gate> {
    const references = referencesOf(stream)
    const key = JSON.stringify([stream.name, ...(sources ?? ['*'])])
    const known = this.#compiled.get(key)
    if (known && references.length === 0) return known
    const relations = new Map(
      await Promise.all(references.map(async ({ name }) => [name, await this.#publishedSql(name)] as const)),
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

import { stat } from 'node:fs/promises'
import { type Batch, batches } from '../batches.ts'

export interface Source<S extends string = string> {
  readonly stream: S
  readonly path: string
  /** Records of a batch. */
  readonly records: number
}

/** Batches of several files in turn, always of the one that is furthest behind, so that all are as far in event time. */
export async function* turns<S extends string>(
  sources: readonly Source<S>[],
): AsyncGenerator<{ stream: S; batch: Batch }> {
  const open = await Promise.all(
    sources.map(async ({ stream, path, records }) => {
      const { size } = await stat(path)
      return { stream, size, taken: 0, batches: batches(path, records) }
    }),
  )
  while (open.length > 0) {
    const source = open.reduce((a, b) => (b.taken / b.size < a.taken / a.size ? b : a))
    const { value, done } = await source.batches.next()
    if (done === true) open.splice(open.indexOf(source), 1)
    else {
      source.taken += value.body.length
      yield { stream: source.stream, batch: value }
    }
  }
}

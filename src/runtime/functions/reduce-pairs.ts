import type { Table } from '../../project/table.ts'
import type { Transform } from '../../project/transform.ts'
import { rowWriter } from '../../quality/row-writer.ts'
import type { ReduceTask, TaskReport } from './function-messages.ts'
import { LineReader, LineWriter } from './line-file.ts'
import { failedFor, parse } from './pairs.ts'

type Reduce = (key: unknown, values: Iterable<unknown>) => unknown

/**
 * Reduces the keys whose first pair begins in a range of a file sorted by key, after its first byte; those of the first byte of
 * the file belong to the first range. Values are read from the file as the function asks for them.
 */
export async function reducePairs(
  { input, output: path }: ReduceTask,
  table: Table,
  { functions }: Transform,
  progressed: () => void,
): Promise<TaskReport> {
  const reduce = functions['reduce'] as Reduce
  const write = rowWriter(table.fields!)
  const output = new LineWriter(path)
  const pairs = new SortedPairs(new LineReader(input), progressed)
  let taken = 0
  try {
    // The range before goes on to the end of its last key.
    if (input.from > 0) pairs.skip(pairs.key, input.to)
    while (pairs.key !== undefined && pairs.isAtMost(input.to)) {
      const key = pairs.key
      try {
        const result = await reduce(parse(key), pairs.values(key))
        for (const row of rowsOf(result)) output.write(`{${write(row)}}\n`)
      } catch (error) {
        throw failedFor('reduce', table.name, key, error)
      }
      pairs.skip(key, Infinity)
      taken++
    }
  } finally {
    pairs.close()
  }
  output.close()
  return { taken, refused: 0 }
}

function rowsOf(result: unknown): Iterable<unknown> {
  if (result === undefined || result === null) return []
  const isMany = typeof result === 'object' && Symbol.iterator in result
  return isMany ? (result as Iterable<unknown>) : [result]
}

/** Reads sorted lines `key\tvalue`, one ahead. */
class SortedPairs {
  readonly #lines: LineReader
  readonly #progressed: () => void
  #value = ''
  /** Where the pair read ahead begins. */
  #position = 0
  /** The key of the pair read ahead; undefined at the end. */
  key: string | undefined

  constructor(lines: LineReader, progressed: () => void) {
    this.#lines = lines
    this.#progressed = progressed
    this.#next()
  }

  isAtMost(position: number): boolean {
    return this.#position <= position
  }

  #next(): void {
    this.#position = this.#lines.position
    const line = this.#lines.next()
    const tab = line?.indexOf('\t') ?? -1
    this.key = line?.slice(0, tab)
    this.#value = line?.slice(tab + 1) ?? ''
    this.#progressed()
  }

  /** The values of a key, the present one, that have not been read. */
  *values(key: string): Generator<unknown> {
    while (this.key === key) {
      const value = this.#value
      this.#next()
      yield parse(value)
    }
  }

  /** Passes over what is left of a key, up to a position. */
  skip(key: string | undefined, position: number): void {
    while (this.key !== undefined && this.key === key && this.#position <= position) this.#next()
  }

  close(): void {
    this.#lines.close()
  }
}

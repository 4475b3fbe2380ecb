import { MillraceError } from '../../base/errors.ts'
import type { Transform } from '../../project/transform.ts'
import { Misfit, shown } from '../../quality/row-writer.ts'
import { iterable, tooMany } from './apply-rows.ts'
import { reasonOf } from './function-calls.ts'
import type { LineWriter } from './line-file.ts'

/** A key and a value, both as JSON: text without tabs or line feeds. */
type Pair = readonly [key: string, value: string]

/** Characters of a pair. */
const PAIR_MAX = 1024 ** 2

/** Pairs kept for `combine` before they are written. */
const COMBINED_MAX = 20_000

type Combine = (key: unknown, values: readonly unknown[]) => unknown

/** Takes the pairs that `map` gives, brings those of a key together where there is a `combine`, and writes them as lines `key\tvalue`. */
export class Pairs {
  readonly #table: string
  readonly #emit: number
  readonly #combine: Combine | undefined
  readonly #output: LineWriter
  readonly #values = new Map<string, string[]>()
  #count = 0

  constructor(table: string, { emit, functions }: Transform, output: LineWriter) {
    this.#table = table
    this.#emit = emit
    this.#combine = functions['combine'] as Combine | undefined
    this.#output = output
  }

  /** The pairs of one row. Throws `Misfit`. */
  take(result: unknown): readonly Pair[] {
    const pairs: Pair[] = []
    for (const pair of iterable(result)) {
      if (pairs.length === this.#emit) throw tooMany(this.#emit, 'pairs')
      pairs.push(pairOf(pair))
    }
    return pairs
  }

  keep(pairs: readonly Pair[]): void {
    if (!this.#combine) {
      for (const [key, value] of pairs) this.#output.write(`${key}\t${value}\n`)
      return
    }
    for (const [key, value] of pairs) {
      const values = this.#values.get(key)
      if (values) values.push(value)
      else this.#values.set(key, [value])
    }
    this.#count += pairs.length
    if (this.#count < COMBINED_MAX) return
    this.#combineAll()
    // Keys that hardly repeat are not worth keeping any longer.
    if (this.#count > COMBINED_MAX / 2) this.#write()
  }

  /** Writes what is left. */
  flush(): void {
    this.#combineAll()
    this.#write()
  }

  #combineAll(): void {
    for (const [key, values] of this.#values)
      if (values.length > 1) this.#values.set(key, [this.#combined(key, values)])
    this.#count = this.#values.size
  }

  #combined(key: string, values: readonly string[]): string {
    try {
      return jsonOf(this.#combine!(parse(key), values.map(parse)), 'value')
    } catch (error) {
      throw failedFor('combine', this.#table, key, error)
    }
  }

  #write(): void {
    for (const [key, values] of this.#values) for (const value of values) this.#output.write(`${key}\t${value}\n`)
    this.#values.clear()
    this.#count = 0
  }
}

function pairOf(pair: unknown): Pair {
  if (!Array.isArray(pair) || pair.length !== 2)
    throw new Misfit('result', `the function gave ${shown(pair)} where a pair [key, value] is expected`)
  const [key, value] = [jsonOf(pair[0], 'key'), jsonOf(pair[1], 'value')]
  if (key.length + value.length <= PAIR_MAX) return [key, value]
  throw new Misfit('result', `the function gave a pair of ${key.length + value.length} characters, over ${PAIR_MAX}`)
}

function jsonOf(value: unknown, what: string): string {
  const json = typeof value === 'bigint' ? undefined : (JSON.stringify(value) as string | undefined)
  if (json === undefined)
    throw new Misfit('result', `the function gave ${shown(value)} for a ${what}, which JSON cannot hold`)
  return json
}

export function parse(json: string): unknown {
  return JSON.parse(json)
}

/** What fails for a key takes the whole result with it: the rows of the key cannot be told apart any more. */
export function failedFor(name: string, table: string, key: string, error: unknown): MillraceError {
  const reason = error instanceof Misfit ? error.message : reasonOf(error)
  return new MillraceError('invalid', 'function-failed', `${name} of '${table}' fails for key ${key}: ${reason}`, {
    hint: `Correct ${name}; what was published before stays until then.`,
    context: { dataset: table },
    cause: error,
  })
}

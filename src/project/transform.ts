import { createHash } from 'node:crypto'
import type { Duration } from '../base/duration.ts'
import type { Check } from './check.ts'
import type { Columns } from './columns.ts'
import type { Dataset } from './dataset.ts'
import type { PartitionBy } from './stream.ts'

/** What a function gets beside its row. */
export interface FunctionContext {
  /** Aborted once the call has taken longer than `timeout`: give it to `fetch`. */
  readonly signal: AbortSignal
  /** 1 at the first try of a call. */
  readonly attempt: number
  /**
   * What `load` gave for this key before, or gives now. Each worker thread remembers as many keys as `cache.entries`, for
   * as long as `cache.for`; calls for one key at the same time share one load, and failures are not remembered.
   */
  cached<T>(key: string, load: () => T | Promise<T>): Promise<T>
}

/** Which errors: by their `name` or `code`, or by looking at them. */
export type ErrorFilter = readonly string[] | ((error: unknown) => boolean)

/** How a function is run; none of this changes the rows it gives. */
export interface CallOptions {
  /** A call that takes longer is given up, and its row goes to quarantine. Default '30 seconds'. */
  timeout?: Duration
  /** Asynchronous calls at once, in each worker thread. Default 16. */
  concurrency?: number
  /** Calls that fail are tried again: `attempts` in all, waiting `wait` (default '100 ms') at first and twice as long each time. */
  retry?: { attempts: number; wait?: Duration; on?: ErrorFilter }
  /** Bounds of `context.cached` in each worker thread. Default 10,000 entries for '1 hour'. */
  cache?: { entries?: number; for?: Duration }
  /**
   * After so many failed calls in a row nothing is called for the time of `rest`, and the table waits as unavailable:
   * its rows stay due instead of going to quarantine. `on` tells which errors mean that a service is down.
   */
  breaker?: { failures: number; rest: Duration; on?: ErrorFilter }
  /** Change it when code changes that the function imports: only the function's own text is seen. */
  version?: string | number
}

/** What every table made by a function can have. */
export interface ResultOptions {
  checks?: readonly Check[]
  partitionBy?: PartitionBy | readonly PartitionBy[]
  doc?: string
}

/** A row as a function may return it: nullable columns can be left out. */
export type ResultOf<C extends Columns> = {
  [K in keyof C as null extends ValueOf<C[K]> ? never : K]: ValueOf<C[K]>
} & {
  [K in keyof C as null extends ValueOf<C[K]> ? K : never]?: ValueOf<C[K]> | undefined
}

type ValueOf<T> = T extends { _type: infer V } ? V : never

/** How a table's rows are made by functions, for the workers that call them. */
export interface Transform {
  readonly call: 'map' | 'flatMap' | 'filter' | 'mapReduce'
  /** The dataset whose rows are taken; undefined where a query selects them. */
  readonly input: Dataset | undefined
  /** The functions by the names of their options. */
  readonly functions: Readonly<Record<string, unknown>>
  /** Rows given to one call; undefined for one row. */
  readonly batch: number | undefined
  /** Rows, or pairs, that one call may give. */
  readonly emit: number
  readonly options: CallOptions
  /** Names of options that there are not. */
  readonly unknown: readonly string[]
}

export const CALL_DEFAULTS = {
  timeout: '30 seconds',
  concurrency: 16,
  retryWait: '100 ms',
  cacheEntries: 10_000,
  cacheFor: '1 hour',
  emit: 10_000,
} as const

const CALL_OPTIONS = ['timeout', 'concurrency', 'retry', 'cache', 'breaker', 'version']
const RESULT_OPTIONS = ['checks', 'partitionBy', 'doc']

/** The transform that options declare; `known` are the options beside those that every function has. */
export function transformOf(
  call: Transform['call'],
  input: Dataset | undefined,
  functionNames: readonly string[],
  options: object,
  known: readonly string[],
): Transform {
  const given = options as CallOptions & { batch?: number; emit?: number } & Record<string, unknown>
  const all = new Set([...CALL_OPTIONS, ...RESULT_OPTIONS, ...functionNames, ...known])
  return {
    call,
    input,
    functions: Object.fromEntries(functionNames.map((name) => [name, given[name]])),
    batch: given.batch,
    emit: given.emit ?? CALL_DEFAULTS.emit,
    options: given,
    unknown: Object.keys(given).filter((name) => !all.has(name)),
  }
}

/** Changes with the text of the functions and with `version`: code that they import is not seen. */
export function codeOf({ functions, batch, options }: Transform): string {
  const texts = Object.entries(functions).map(([name, value]) => [name, String(value)])
  return createHash('sha256')
    .update(JSON.stringify([texts, batch !== undefined, options.version]))
    .digest('hex')
    .slice(0, 16)
}

/** The columns that say which record a row came from; a flatMap's rows have their place among those of the same record. */
export const ORIGIN_COLUMNS = ['_partition', '_offset', '_index'] as const

import type { Clock } from '../../base/clock.ts'
import { durationMs } from '../../base/duration.ts'
import { MillraceError } from '../../base/errors.ts'
import { CALL_DEFAULTS, type CallOptions, type ErrorFilter, type FunctionContext } from '../../project/transform.ts'
import { LookupCache } from './lookup-cache.ts'

/** A call failed for good. */
export class CallFailed extends Error {
  readonly rule: 'function' | 'timeout'

  constructor(error: unknown) {
    super(reasonOf(error), { cause: error })
    this.rule = error instanceof CallTimeout ? 'timeout' : 'function'
  }
}

/** A call took too long. The name is that of what `AbortSignal.timeout` throws. */
class CallTimeout extends Error {
  override readonly name = 'TimeoutError'
}

const REASON_MAX = 4_000

/** Frames of this folder and of Node say nothing about the function. */
const OWN_FOLDER = new URL('.', import.meta.url).href
const isOwnFrame = (line: string) =>
  /^ +at /.test(line) && (line.includes(OWN_FOLDER) || line.includes('node:internal'))

/** Message and stack of anything thrown. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`.slice(0, REASON_MAX).toWellFormed()
  const lines = (error.stack ?? `${error.name}: ${error.message}`).split('\n')
  return lines
    .filter((line) => !isOwnFrame(line))
    .join('\n')
    .slice(0, REASON_MAX)
    .toWellFormed()
}

/** Calls the functions of one table: with a time limit, again when they fail, and not at all while too many do. */
export class Caller {
  readonly #clock: Clock
  readonly #options: CallOptions
  readonly #table: string
  readonly #timeoutMs: number
  readonly #waitMs: number
  readonly #cache: LookupCache
  /** Calls failed since one did not. */
  #failures = 0

  constructor(table: string, options: CallOptions, clock: Clock) {
    const { timeout = CALL_DEFAULTS.timeout, retry, cache } = options
    this.#table = table
    this.#options = options
    this.#clock = clock
    this.#timeoutMs = durationMs(timeout, 'timeout')
    this.#waitMs = durationMs(retry?.wait ?? CALL_DEFAULTS.retryWait, 'retry.wait')
    this.#cache = new LookupCache(
      cache?.entries ?? CALL_DEFAULTS.cacheEntries,
      durationMs(cache?.for ?? CALL_DEFAULTS.cacheFor, 'cache.for'),
      clock,
    )
  }

  /** Counts from anew; in a trial the first failure is one too many. */
  begin(trial: boolean): void {
    this.#failures = trial ? (this.#options.breaker?.failures ?? 1) - 1 : 0
  }

  /** What the function gives. Throws `CallFailed`, or `unavailable`/`circuit-open`; a promise only where the function waits. */
  call<T>(work: (context: FunctionContext) => T | PromiseLike<T>, attempt = 1): T | Promise<T> {
    const context = new CallContext(this.#cache, attempt)
    try {
      const result = work(context)
      return isPromise(result) ? this.#wait(work, result, context) : this.#succeeded(result as T)
    } catch (error) {
      return this.#failed(work, error, attempt)
    }
  }

  async #wait<T>(
    work: (context: FunctionContext) => T | PromiseLike<T>,
    result: PromiseLike<T>,
    context: CallContext,
  ): Promise<T> {
    const ended = new AbortController()
    const late = this.#clock.sleep(this.#timeoutMs, ended.signal).then(() => {
      throw new CallTimeout(`it took longer than ${this.#timeoutMs} ms`)
    })
    try {
      return this.#succeeded(await Promise.race([result, late]))
    } catch (error) {
      if (error instanceof CallTimeout) context.abort(error)
      return await this.#failed(work, error, context.attempt)
    } finally {
      ended.abort()
    }
  }

  #succeeded<T>(result: T): T {
    this.#failures = 0
    return result
  }

  #failed<T>(
    work: (context: FunctionContext) => T | PromiseLike<T>,
    error: unknown,
    attempt: number,
  ): Promise<T> | never {
    if (error instanceof MillraceError && error.code === CIRCUIT_OPEN) throw error
    const { retry, breaker } = this.#options
    if (retry && attempt < retry.attempts && matches(retry.on, error))
      return this.#clock.sleep(this.#waitMs * 2 ** (attempt - 1)).then(() => this.call(work, attempt + 1))
    if (breaker && matches(breaker.on, error) && ++this.#failures >= breaker.failures)
      throw circuitOpen(this.#table, reasonOf(error).split('\n')[0]!)
    throw new CallFailed(error)
  }
}

export const CIRCUIT_OPEN = 'circuit-open'

/** Nothing is called for a while: too many calls have failed. */
export function circuitOpen(table: string, error: string): MillraceError {
  return new MillraceError('unavailable', CIRCUIT_OPEN, `The function of '${table}' fails again and again: ${error}.`, {
    hint: 'It rests, and its rows are taken up again after breaker.rest; nothing is lost.',
  })
}

function matches(filter: ErrorFilter | undefined, error: unknown): boolean {
  if (filter === undefined) return true
  if (typeof filter === 'function') return filter(error)
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown }
  return filter.some((wanted) => wanted === name || wanted === code)
}

export function isPromise<T>(value: T | PromiseLike<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

class CallContext implements FunctionContext {
  readonly attempt: number
  /** Bound: `(row, { cached }) => …` takes it out of its object. */
  readonly cached: FunctionContext['cached']
  #controller: AbortController | undefined

  constructor(cache: LookupCache, attempt: number) {
    this.attempt = attempt
    this.cached = (key, load) => cache.get(key, load)
  }

  // Most calls never ask for it.
  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal
  }

  abort(reason: Error): void {
    this.#controller?.abort(reason)
  }
}

import { MillraceError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'

/** A request that is one's own to carry out. */
export interface BegunRequest {
  readonly stream: string
  readonly key: string
  readonly attempt: number
}

export type RequestState =
  /** It is the caller's to carry out. `earlier` is what an attempt before it, which never finished, had noted. */
  | { readonly state: 'begun'; readonly request: BegunRequest; readonly earlier?: unknown }
  /** Another process is at it, and noted this. */
  | { readonly state: 'pending'; readonly payload: unknown; readonly ageMs: number }
  /** It was carried out, with this result. */
  | { readonly state: 'finished'; readonly result: unknown }

/**
 * Which keyed appends came before, so that a repetition gets the first one's offsets: the port. A process that shares it with
 * others, or with its own past, keeps it in a database.
 */
export interface RequestStore {
  /**
   * Begins a request, or says what became of it. `digest` is of what was sent. One that has been pending for `abandonedMs` is taken over.
   *
   * Errors: `invalid`/`idempotency-mismatch` when the key came with another digest.
   */
  begin(
    stream: string,
    key: string,
    digest: string,
    payload: unknown,
    options: { readonly abandonedMs: number },
  ): Promise<RequestState>
  finish(request: BegunRequest, result: unknown): Promise<void>
  /** Forgets a request that changed nothing. */
  abandon(request: BegunRequest): Promise<void>
}

interface Known {
  readonly digest: string
  readonly payload: unknown
  readonly beganMs: number
  readonly attempt: number
  result?: unknown
}

/** Requests in memory, within a window of age and number: enough for one process that lives long. */
export class MemoryRequests implements RequestStore {
  readonly #clock: Clock
  readonly #limits: { readonly keys: number; readonly keyAgeMs: number }
  /** In order of arrival, so the oldest come first. */
  readonly #known = new Map<string, Known>()

  constructor(clock: Clock, limits: { readonly keys: number; readonly keyAgeMs: number }) {
    this.#clock = clock
    this.#limits = limits
  }

  async begin(
    stream: string,
    key: string,
    digest: string,
    payload: unknown,
    { abandonedMs }: { readonly abandonedMs: number },
  ): Promise<RequestState> {
    const nowMs = this.#clock.now()
    const name = `${stream}\n${key}`
    const found = this.#known.get(name)
    const known = found !== undefined && found.beganMs >= nowMs - this.#limits.keyAgeMs ? found : undefined
    if (known !== undefined && known.digest !== digest) throw mismatch(stream, key)
    if (known !== undefined && 'result' in known) return { state: 'finished', result: known.result }
    const ageMs = known === undefined ? Infinity : nowMs - known.beganMs
    if (known !== undefined && ageMs < abandonedMs) return { state: 'pending', payload: known.payload, ageMs }
    const attempt = (known?.attempt ?? 0) + 1
    this.#known.delete(name)
    this.#known.set(name, { digest, payload, beganMs: nowMs, attempt })
    this.#forgetOldest(nowMs)
    const request = { stream, key, attempt }
    return known === undefined ? { state: 'begun', request } : { state: 'begun', request, earlier: known.payload }
  }

  async finish({ stream, key, attempt }: BegunRequest, result: unknown): Promise<void> {
    const known = this.#known.get(`${stream}\n${key}`)
    if (known?.attempt === attempt) known.result = result
  }

  async abandon({ stream, key, attempt }: BegunRequest): Promise<void> {
    const name = `${stream}\n${key}`
    const known = this.#known.get(name)
    if (known?.attempt === attempt && !('result' in known)) this.#known.delete(name)
  }

  #forgetOldest(nowMs: number): void {
    for (const [oldest, { beganMs }] of this.#known) {
      if (this.#known.size <= this.#limits.keys && beganMs >= nowMs - this.#limits.keyAgeMs) return
      this.#known.delete(oldest)
    }
  }
}

function mismatch(stream: string, key: string): MillraceError {
  return new MillraceError(
    'invalid',
    'idempotency-mismatch',
    `The idempotency key '${key}' was used before with other records in stream '${stream}'.`,
    {
      hint: 'Use a new key for each request; repeat a key only with the very same body.',
      context: { stream },
    },
  )
}

import type { Clock } from '../../base/clock.ts'
import { durationMs } from '../../base/duration.ts'
import { MillraceError, asMillraceError, messageOf } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import { rowValues } from '../../engine/duckdb/row-values.ts'
import type { ChangeBatch, Handler } from '../../project/handler.ts'
import type { ChangeFeed, ChangePage } from './change-feed.ts'
import type { HandlerPlace, HandlerPlaces } from './handler-places.ts'
import type { Publications } from './publications.ts'

export interface HandlerRunnerOptions {
  readonly handler: Handler
  readonly changes: ChangeFeed
  readonly publications: Publications
  readonly places: HandlerPlaces
  readonly clock: Clock
}

/** What became of a handler's calls since the process started. */
export interface HandlerCalls {
  /** Rows delivered, come and gone. */
  readonly delivered: number
  /** Failed calls in a row; 0 when the last one did not fail. */
  readonly failures: number
  readonly error: MillraceError | undefined
}

type Row = Record<string, unknown>

/**
 * Calls one handler with what its dataset publishes, in order and one batch at a time. Where it is, is written after each
 * call that succeeded, so a batch is delivered again where that is not known; and before the first call of a change, so
 * that it then comes in the same parts. Nothing waits for a handler: one that fails only falls behind.
 */
export class HandlerRunner {
  readonly handler: Handler
  readonly #options: HandlerRunnerOptions
  readonly #timeoutMs: number
  readonly #stopping = new AbortController()
  /** The server's loop and a `run` beside it take turns. */
  readonly #turns = new SerialQueue()
  #running: Promise<void> = Promise.resolve()
  #place: HandlerPlace | undefined
  #calls: HandlerCalls = { delivered: 0, failures: 0, error: undefined }
  /** Calls that were given up and have not returned. */
  #abandoned = 0

  constructor(options: HandlerRunnerOptions) {
    this.#options = options
    this.handler = options.handler
    this.#timeoutMs = durationMs(options.handler.timeout, `timeout of handler '${options.handler.name}'`)
  }

  /** How far it is; undefined when that could not be read. */
  get place(): HandlerPlace | undefined {
    return this.#place
  }

  get calls(): HandlerCalls {
    return this.#calls
  }

  /** Reads how far it is; a new handler gets its beginning. What goes wrong is the handler's failure alone. */
  open(): Promise<void> {
    return this.#turn(async () => void (await this.#recover()))
  }

  /** Delivers from now on, until stopped. */
  start(): void {
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    const { publications, clock, handler } = this.#options
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const seen = publications.count(handler.dataset.name)
      await this.#turn(() => this.#deliver())
      const { failures } = this.#calls
      if (failures === 0) await publications.after(handler.dataset.name, seen, signal)
      else await clock.sleep(Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (failures - 1)), signal)
    }
  }

  /** Delivers what is due and gives up after a few failures, which `calls` tells of. */
  async drain(): Promise<void> {
    for (let attempt = 1; !this.#stopping.signal.aborted; attempt++) {
      await this.#turn(() => this.#deliver())
      if (this.#calls.failures === 0 || attempt === ATTEMPTS_MAX) return
      await this.#options.clock.sleep(RETRY_MS * 2 ** (attempt - 1), this.#stopping.signal)
    }
  }

  /** Makes no further call, and waits a while for the one under way. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#turns.idle()
  }

  #turn(work: () => Promise<void>): Promise<void> {
    return this.#turns.run(async () => {
      try {
        await work()
        this.#calls = { ...this.#calls, failures: 0, error: undefined }
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        // Another process delivers too: the next turn goes on from where that one is.
        if (asMillraceError(error).code === 'place-moved') this.#place = undefined
        this.#calls = { ...this.#calls, failures: this.#calls.failures + 1, error: asMillraceError(error) }
      }
    })
  }

  async #recover(): Promise<HandlerPlace> {
    if (this.#place) return this.#place
    const { handler, places, changes } = this.#options
    const { name } = handler.dataset
    const known = await places.read(handler.name)
    if (known?.dataset === name) return (this.#place = known)
    const position = handler.from === 'start' ? { done: 0n } : changes.present(name)
    return this.#move({ dataset: name, position, reset: false })
  }

  async #move(place: HandlerPlace): Promise<HandlerPlace> {
    await this.#options.places.write(this.handler.name, place)
    return (this.#place = place)
  }

  async #deliver(): Promise<void> {
    const { handler, changes } = this.#options
    let place = await this.#recover()
    while (!this.#stopping.signal.aborted) {
      const { position } = place
      const question = { form: rowValues, rowsMax: handler.batch, bytesMax: BATCH_BYTES_MAX }
      const page = await changes.page(place.dataset, position, question)
      if (page === undefined) return
      if (page === 'lost') {
        // Nothing may be missed: all there is comes, told apart by `reset`.
        place = await this.#move({ ...place, position: { done: 0n }, reset: true })
        continue
      }
      if (page.rows.length > 0) {
        const into = position.into ?? { to: page.snapshot, row: 0 }
        if (position.into === undefined) place = await this.#move({ ...place, position: { ...position, into } })
        await this.#call(page, into.row, place.reset)
      }
      place = await this.#move({ ...place, position: page.next, reset: place.reset && page.next.into !== undefined })
    }
  }

  /** One call. Errors: `unavailable` / `handler-failed`, `handler-timeout`, `handler-stuck`. */
  async #call({ rows, snapshot }: ChangePage<Row>, first: number, reset: boolean): Promise<void> {
    const { handler } = this.#options
    if (this.#abandoned >= ABANDONED_MAX) throw stuck(handler, this.#abandoned)
    const { name } = handler.dataset
    const given = new AbortController()
    const over = new AbortController()
    const batch: ChangeBatch = {
      id: `${name}/${snapshot}/${first}`,
      dataset: name,
      snapshot: String(snapshot),
      rows: rows.filter(({ removed }) => !removed).map(({ row }) => row),
      removed: rows.filter(({ removed }) => removed).map(({ row }) => row),
      reset,
      signal: given.signal,
    }
    this.#abandoned++
    const call = (async () => handler.handle(batch))()
      .then(
        () => undefined,
        (error: unknown) => failed(handler, error),
      )
      .finally(() => this.#abandoned--)
    const ended = await Promise.race([call, this.#overdue(given, over.signal)])
    over.abort()
    if (ended) throw ended
    this.#calls = { ...this.#calls, delivered: this.#calls.delivered + rows.length }
  }

  /** What to say of a call that has not returned in time; less time is left once the platform stops. */
  async #overdue(given: AbortController, over: AbortSignal): Promise<MillraceError> {
    const { handler, clock } = this.#options
    const stopping = this.#stopping.signal
    await clock.sleep(this.#timeoutMs, AbortSignal.any([over, stopping]))
    if (!over.aborted) given.abort()
    if (stopping.aborted) await clock.sleep(STOP_MS, over)
    return new MillraceError(
      'unavailable',
      'handler-timeout',
      `Handler '${handler.name}' has not returned within ${handler.timeout}.`,
      { hint: 'Let it heed `signal`, raise its timeout, or lower its batch. It is called again with the same id.' },
    )
  }
}

const RETRY_MS = 250
const RETRY_MS_MAX = 60_000
/** Tries of a one-shot run. */
const ATTEMPTS_MAX = 4
/** How long a stopping platform waits for a call. */
const STOP_MS = 5_000
/** About how large the rows of one call may get in memory. */
const BATCH_BYTES_MAX = 4 * 1024 ** 2
/** Calls that were given up and never returned: over this, no other is made until one does. */
const ABANDONED_MAX = 3

function failed({ name }: Handler, error: unknown): MillraceError {
  return new MillraceError('unavailable', 'handler-failed', `Handler '${name}' failed: ${messageOf(error)}`, {
    hint: 'It is called again with the same id, later each time.',
    cause: error,
  })
}

function stuck({ name }: Handler, calls: number): MillraceError {
  const message = `${calls} calls of handler '${name}' have not returned, and no other is made until one does.`
  return new MillraceError('unavailable', 'handler-stuck', message, {
    hint: 'Let it heed `signal`, correct it, and restart.',
  })
}

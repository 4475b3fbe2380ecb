import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../../base/clock.ts'
import { MillraceError, asMillraceError, assert } from '../../base/errors.ts'
import { formatMs } from '../../base/duration.ts'
import type { Analysis, FromSandbox, QueryOutcome, SandboxQuery, SandboxSettings, ToSandbox } from './protocol.ts'
import { memoryExceeded } from './sql-error.ts'

export interface SqlResult extends QueryOutcome {
  /** The rows in the form asked for; empty for Parquet, which is in a file. */
  readonly parts: readonly Uint8Array[]
}

interface Exchange {
  begun: boolean
  readonly parts: Uint8Array[]
  readonly resolve: (message: FromSandbox) => void
  readonly reject: (error: MillraceError) => void
}

/** A query process as its owner sees it: one exchange at a time, an end that is noticed, a kill that always works. */
export class SqlProcess {
  readonly #child: ChildProcess
  readonly #clock: Clock
  #exchange: Exchange | undefined
  #ended: Promise<void>
  #alive = true
  #worn = false
  #diedIdle = false
  #killed = false

  private constructor(child: ChildProcess, clock: Clock, temporary: string) {
    this.#child = child
    this.#clock = clock
    child.on('message', (message) => this.#receive(message as FromSandbox))
    this.#ended = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null) => {
        if (!this.#alive) return
        this.#alive = false
        this.#diedIdle = !this.#killed && this.#exchange?.begun === false
        this.#finish((exchange) => exchange.reject(deathOf(code, signal)))
        void rm(temporary, { recursive: true, force: true }).then(
          () => resolve(),
          () => resolve(),
        )
      }
      child.once('exit', end)
      child.once('error', () => end(null, null))
    })
  }

  /** Starts a process and waits until it can take queries. Errors: `unavailable`/`query-process`. */
  static async start(settings: SandboxSettings, clock: Clock): Promise<SqlProcess> {
    await mkdir(settings.temporary, { recursive: true })
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const child = spawn(
      process.execPath,
      [
        ...process.execArgv.filter((flag) => flag.startsWith('--conditions=')),
        `--max-old-space-size=${HEAP_MIB_MAX}`,
        fileURLToPath(new URL(`./child.${extension}`, import.meta.url)),
      ],
      // No environment but the search path: what the parent was given in secret stays there.
      { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], serialization: 'advanced', env: { PATH: process.env['PATH'] } },
    )
    const started = new SqlProcess(child, clock, settings.temporary)
    try {
      const ready = await started.#within({ type: 'start', settings }, START_MS_MAX)
      assert(ready.type === 'ready', 'a query process answers start with ready')
      return started
    } catch (error) {
      await started.kill()
      throw new MillraceError(
        'unavailable',
        'query-process',
        `A query process could not be started: ${asMillraceError(error).message}`,
        {
          hint: 'Check that there is memory and disk for it, then try again.',
          cause: error,
        },
      )
    }
  }

  get alive(): boolean {
    return this.#alive
  }

  /** It has taken memory that it does not give back: another should take its place. */
  get worn(): boolean {
    return this.#worn
  }

  /** It was dead before the last request reached it, which so has harmed nothing and can go elsewhere. */
  get diedIdle(): boolean {
    return this.#diedIdle
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What a statement refers to. Errors as the gate's, `unavailable`/`query-timeout`. */
  async analyse(sql: string): Promise<Analysis> {
    const answer = await this.#within({ type: 'analyse', sql }, ANALYSE_MS_MAX)
    assert(answer.type === 'analysed', 'a query process answers analyse with analysed')
    return answer.analysis
  }

  /**
   * Runs a query within its time; on an abort it is stopped. Whatever the query does, this ends at most a second after either.
   * Errors: those of the SQL, `unavailable` / `query-timeout`, `query-memory`, `query-crashed`, `query-cancelled`.
   */
  async query(query: SandboxQuery, timeMs: number, signal?: AbortSignal): Promise<SqlResult> {
    const parts: Uint8Array[] = []
    const answer = await this.#within({ type: 'query', query }, timeMs, { ...(signal ? { signal } : {}), parts })
    assert(answer.type === 'done', 'a query process answers query with done')
    return { ...answer.outcome, parts }
  }

  /** Ends the process and waits until it is gone. */
  async kill(): Promise<void> {
    this.#killed = true
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  async #within(
    message: ToSandbox,
    timeMs: number,
    { signal, parts = [] }: { signal?: AbortSignal; parts?: Uint8Array[] } = {},
  ): Promise<FromSandbox> {
    if (signal?.aborted) throw cancelled()
    const watch = new AbortController()
    const answer = this.#exchangeOf(message, parts)
    const stopped = (async () => {
      const until = signal === undefined ? watch.signal : AbortSignal.any([watch.signal, signal])
      await this.#clock.sleep(timeMs, until)
      if (watch.signal.aborted) return undefined
      this.#child.send({ type: 'interrupt' } satisfies ToSandbox, () => undefined)
      await this.#clock.sleep(INTERRUPT_GRACE_MS, watch.signal)
      if (!watch.signal.aborted) await this.kill()
      return signal?.aborted ? cancelled() : timedOut(timeMs)
    })()
    try {
      return await answer
    } catch (error) {
      watch.abort()
      throw (await stopped) ?? error
    } finally {
      watch.abort()
    }
  }

  #exchangeOf(message: ToSandbox, parts: Uint8Array[]): Promise<FromSandbox> {
    assert(this.#exchange === undefined, 'a query process has one exchange at a time')
    return new Promise((resolve, reject) => {
      if (!this.#alive) {
        this.#diedIdle = true
        return reject(deathOf(null, null))
      }
      this.#exchange = { begun: false, parts, resolve, reject }
      // A failed send means that the process is ending; its exit says how.
      this.#child.send(message, () => undefined)
    })
  }

  #receive(message: FromSandbox): void {
    if ('worn' in message && message.worn) this.#worn = true
    if (message.type === 'begun') {
      if (this.#exchange !== undefined) this.#exchange.begun = true
    } else if (message.type === 'part') this.#exchange?.parts.push(message.bytes)
    else if (message.type === 'failed') this.#finish((exchange) => exchange.reject(MillraceError.from(message.error)))
    else this.#finish((exchange) => exchange.resolve(message))
  }

  #finish(settle: (exchange: Exchange) => void): void {
    const exchange = this.#exchange
    this.#exchange = undefined
    if (exchange !== undefined) settle(exchange)
  }
}

/** Time a query gets to stop by itself before its process is killed. */
const INTERRUPT_GRACE_MS = 1_000
const START_MS_MAX = 30_000
const ANALYSE_MS_MAX = 5_000
/** JavaScript's part of a query process: rows on their way out. */
const HEAP_MIB_MAX = 256

/** Killed, aborted by V8 or by the C++ allocator: memory. Anything else is a crash. */
function deathOf(code: number | null, signal: NodeJS.Signals | null): MillraceError {
  const how = signal ?? (code === null ? 'not running' : `exit code ${code}`)
  if (signal === 'SIGKILL' || signal === 'SIGABRT' || signal === 'SIGTRAP' || code === 134 || code === 137) {
    return memoryExceeded()
  }
  return new MillraceError('unavailable', 'query-crashed', `The process that ran the query ended (${how}).`, {
    hint: 'A new one has taken its place: try again. If this query does it again, please report it.',
    context: { how },
  })
}

function timedOut(timeMs: number): MillraceError {
  return new MillraceError('unavailable', 'query-timeout', `The query took longer than ${formatMs(timeMs)}.`, {
    hint: 'Filter or aggregate more, make it a table that is kept up to date, or raise limits.queryTime.',
    context: { limit_ms: timeMs },
  })
}

function cancelled(): MillraceError {
  return new MillraceError('unavailable', 'query-cancelled', 'The query was cancelled: its client went away.')
}

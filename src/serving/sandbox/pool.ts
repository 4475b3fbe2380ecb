import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { MillraceError } from '../../base/errors.ts'
import type { Analysis, SandboxQuery, SandboxSettings } from './protocol.ts'
import { SqlProcess, type SqlResult } from './sql-process.ts'

export interface PoolOptions extends Omit<SandboxSettings, 'temporary'> {
  /** Directory of the pool alone: emptied at the start. */
  readonly temporary: string
  /** Queries that run at once, one in each process. */
  readonly processes: number
  /** Queries that may wait for a process; one more is refused. */
  readonly waiting: number
  readonly clock: Clock
}

/** A few query processes, started as they are needed and replaced when they die. */
export class SqlPool {
  readonly #options: PoolOptions
  readonly #idle: SqlProcess[] = []
  readonly #all = new Set<SqlProcess>()
  readonly #waiting: { resolve: () => void; reject: (error: MillraceError) => void }[] = []
  #busy = 0
  #started = 0
  #closed = false

  private constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Opens a pool with one process ready. */
  static async open(options: PoolOptions): Promise<SqlPool> {
    await rm(options.temporary, { recursive: true, force: true })
    const pool = new SqlPool(options)
    await pool.#with(undefined, async () => undefined)
    return pool
  }

  /** What a statement refers to. Errors: those of the gate, `unavailable`/`queries-busy`. */
  analyse(sql: string, signal?: AbortSignal): Promise<Analysis> {
    return this.#with(signal, (process) => process.analyse(sql))
  }

  /** Runs a query. `receive` reads the answer's file, if it has one, before the process takes another query. */
  query<T>(
    query: SandboxQuery,
    timeMs: number,
    signal: AbortSignal | undefined,
    receive: (result: SqlResult) => Promise<T>,
  ): Promise<T> {
    return this.#with(signal, async (process) => receive(await process.query(query, timeMs, signal)))
  }

  /** Process ids, for tests and status. */
  get pids(): number[] {
    return [...this.#all].flatMap((process) => process.pid ?? [])
  }

  /** Kills the processes; queries under way or waiting fail. */
  async close(): Promise<void> {
    this.#closed = true
    for (const waiter of this.#waiting.splice(0)) waiter.reject(closing())
    await Promise.all([...this.#all].map((process) => process.kill()))
    await rm(this.#options.temporary, { recursive: true, force: true })
  }

  async #with<T>(signal: AbortSignal | undefined, work: (process: SqlProcess) => Promise<T>): Promise<T> {
    await this.#turn(signal)
    let givenBack = Promise.resolve()
    try {
      for (let failed = 0; ; failed++) {
        const process = await this.#take()
        try {
          return await work(process)
        } catch (error) {
          if (!process.diedIdle || failed === this.#options.processes) throw error
        } finally {
          if (process.diedIdle) this.#all.delete(process)
          else givenBack = this.#giveBack(process)
        }
      }
    } finally {
      void givenBack.then(() => this.#leave())
    }
  }

  /** Keeps the process for the next query; a dead or worn one is replaced first, while the place stays taken. */
  async #giveBack(process: SqlProcess): Promise<void> {
    if (process.alive && !process.worn) this.#idle.push(process)
    else {
      await process.kill()
      this.#all.delete(process)
      try {
        this.#idle.push(await this.#start())
      } catch {
        // The next query tries again, and its sender hears of it.
      }
    }
  }

  /** Gives the place to whoever waits longest. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#busy--
    else next.resolve()
  }

  /** Waits for one of the places, first come first served. */
  async #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed) throw closing()
    if (this.#busy < this.#options.processes) this.#busy++
    else {
      if (this.#waiting.length >= this.#options.waiting) {
        throw new MillraceError('unavailable', 'queries-busy', `${this.#waiting.length} queries are waiting already.`, {
          hint: 'Send fewer at once, or try again in a moment.',
        })
      }
      await new Promise<void>((resolve, reject) => {
        const waiter = { resolve, reject }
        this.#waiting.push(waiter)
        signal?.addEventListener(
          'abort',
          () => {
            const at = this.#waiting.indexOf(waiter)
            if (at < 0) return
            this.#waiting.splice(at, 1)
            reject(new MillraceError('unavailable', 'query-cancelled', 'The query was cancelled while it waited.'))
          },
          { once: true },
        )
      })
    }
  }

  async #take(): Promise<SqlProcess> {
    for (let process = this.#idle.pop(); process !== undefined; process = this.#idle.pop()) {
      if (process.alive) return process
      this.#all.delete(process)
    }
    return this.#start()
  }

  async #start(): Promise<SqlProcess> {
    if (this.#closed) throw closing()
    const { clock, processes: _, waiting: __, ...settings } = this.#options
    const temporary = join(settings.temporary, String(++this.#started))
    const process = await SqlProcess.start({ ...settings, temporary }, clock)
    this.#all.add(process)
    if (this.#closed) {
      await process.kill()
      throw closing()
    }
    return process
  }
}

function closing(): MillraceError {
  return new MillraceError('unavailable', 'closing', 'The server is closing.', { hint: 'Try again when it is back.' })
}

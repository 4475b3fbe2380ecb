import { Worker } from 'node:worker_threads'
import type { Clock } from '../../base/clock.ts'
import { MillraceError, assert } from '../../base/errors.ts'
import {
  type FunctionRequest,
  type FunctionResponse,
  type FunctionTask,
  type FunctionThreadOptions,
  type LostRow,
  PROGRESS,
  type TaskReport,
} from './function-messages.ts'

export interface FunctionPoolOptions extends Pick<FunctionThreadOptions, 'directory'> {
  /** As in `FunctionThreadOptions`; a project without functions needs none. */
  readonly loader: string | undefined
  readonly clock: Clock
  /** Threads at most; each starts with its first task. */
  readonly threads: number
  /** Bytes of JavaScript objects a thread may hold. */
  readonly memory: number
}

/** The worker threads that call functions. A thread that hangs or dies is replaced, and what it was at is done again. */
export class FunctionPool {
  readonly #options: FunctionPoolOptions
  readonly #idle: FunctionThread[] = []
  readonly #waiting: ((thread: FunctionThread) => void)[] = []
  #threads = 0

  constructor(options: FunctionPoolOptions) {
    this.#options = options
  }

  /** Tasks that can run at once. */
  get size(): number {
    return this.#options.threads
  }

  /**
   * Runs a task when a thread is free. A call that keeps its thread for longer than `timeoutMs`, or ends it, is given up: its row
   * is refused, and the others are taken again. Errors: those of the task, and `invalid`/`function-hangs`, `function-ends` where
   * no row can be told to be the reason.
   */
  async run(task: FunctionTask, timeoutMs: number): Promise<TaskReport> {
    const lost: LostRow[] = []
    let alone = false
    for (;;) {
      const thread = await this.#take()
      const attempt = task.kind === 'reduce' ? task : { ...task, alone, lost }
      const outcome = await thread.run(attempt, timeoutMs).finally(() => this.#release(thread))
      if ('report' in outcome) return outcome.report
      const { running, rule, reason } = outcome
      if (running.length === 1) lost.push({ row: running[0]!, rule, reason })
      else if (!alone && task.kind !== 'reduce') alone = true
      else throw endedThread(task.table, rule, reason)
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#idle.map((thread) => thread.close()))
  }

  #take(): Promise<FunctionThread> {
    const idle = this.#idle.pop()
    if (idle) return Promise.resolve(idle)
    if (this.#threads < this.#options.threads) {
      this.#threads++
      return Promise.resolve(new FunctionThread(this.#options))
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #release(thread: FunctionThread): void {
    const next = this.#waiting.shift()
    if (next) next(thread)
    else this.#idle.push(thread)
  }
}

function endedThread(table: string, rule: LostRow['rule'], reason: string): MillraceError {
  const [code, what] = rule === 'timeout' ? ['function-hangs', 'hangs'] : ['function-ends', 'ends its thread']
  return new MillraceError('invalid', code, `The function of '${table}' ${what}: ${reason}.`, {
    hint: 'It does so beside its calls, or in reduce; correct it, or raise timeout.',
    context: { dataset: table },
  })
}

/** What came of a task: or the rows whose calls were under way when the thread ended, and why it did. */
type ThreadOutcome = { readonly report: TaskReport } | (Omit<LostRow, 'row'> & { readonly running: readonly number[] })

class FunctionThread {
  readonly #options: FunctionPoolOptions
  /** Of the present worker alone: one that is being ended may still write. */
  #progress = new SharedArrayBuffer(PROGRESS.bytes)
  #worker: Worker | undefined
  #ready = false
  #next = 1
  #task: { readonly id: number; resolve(outcome: ThreadOutcome): void; reject(error: Error): void } | undefined

  constructor(options: FunctionPoolOptions) {
    this.#options = options
  }

  run(task: FunctionTask, timeoutMs: number): Promise<ThreadOutcome> {
    const worker = (this.#worker ??= this.#start())
    PROGRESS.running(this.#progress).fill(0)
    const id = this.#next++
    const ended = new AbortController()
    const outcome = new Promise<ThreadOutcome>((resolve, reject) => {
      this.#task = { id, resolve, reject }
    }).finally(() => {
      this.#task = undefined
      ended.abort()
      this.#worker?.unref()
    })
    worker.ref()
    worker.postMessage({ ...task, id } satisfies FunctionRequest)
    void this.#watch(timeoutMs, ended.signal)
    return outcome
  }

  #start(): Worker {
    const { loader, directory, memory } = this.#options
    assert(loader !== undefined, 'a project with functions is opened with what loads it')
    this.#progress = new SharedArrayBuffer(PROGRESS.bytes)
    const worker = new Worker(
      new URL(import.meta.url.endsWith('.ts') ? './function-worker.ts' : './function-worker.js', import.meta.url),
      {
        workerData: { loader, directory, progress: this.#progress } satisfies FunctionThreadOptions,
        resourceLimits: { maxOldGenerationSizeMb: Math.ceil(memory / 1024 ** 2) },
      },
    )
    this.#ready = false
    worker.on('message', (response: FunctionResponse) => {
      this.#ready = true
      if (response.id !== this.#task?.id) return
      if ('error' in response) this.#task.reject(MillraceError.from(response.error))
      else this.#task.resolve(response)
    })
    worker.on('error', (error) => this.#ended(worker, 'thread', `the thread ended: ${error.message}`))
    worker.on('exit', (code) => this.#ended(worker, 'thread', `the thread ended with code ${code}`))
    return worker
  }

  /** Ends the thread when nothing has moved in it for too long. */
  async #watch(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const beats = PROGRESS.beats(this.#progress)
    let seen = Atomics.load(beats, 0)
    let since = clock.monotonic()
    for (;;) {
      await clock.sleep(Math.max(LOOK_MS_MIN, timeoutMs / LOOKS), signal)
      if (signal.aborted) return
      const now = clock.monotonic()
      const beat = Atomics.load(beats, 0)
      // A project may take its time to load: that is no call.
      if (beat !== seen || !this.#ready) [seen, since] = [beat, now]
      else if (now - since >= timeoutMs) return this.#hangs(`it kept its thread for more than ${timeoutMs} ms`)
    }
  }

  #hangs(reason: string): void {
    const worker = this.#worker!
    this.#ended(worker, 'timeout', reason)
    void worker.terminate()
  }

  #ended(worker: Worker, rule: LostRow['rule'], reason: string): void {
    if (worker !== this.#worker) return
    this.#worker = undefined
    const running = [...PROGRESS.running(this.#progress).entries()].flatMap(([row, mark]) => (mark === 1 ? [row] : []))
    if (this.#ready) this.#task?.resolve({ running, rule, reason })
    else this.#task?.reject(notLoaded(reason))
  }

  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    await worker?.terminate()
  }
}

/** How often a thread is looked at within its time limit. */
const LOOKS = 8
const LOOK_MS_MIN = 10

function notLoaded(reason: string): MillraceError {
  return new MillraceError('invalid', 'not-loaded', `The project cannot be loaded into a worker thread: ${reason}.`, {
    hint: 'Project files are loaded again in every thread that calls functions: they should only declare.',
  })
}

import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { MillraceError } from '../../base/errors.ts'
import type { BatchJob, BatchResult, LaneJob, LaneResponse, LaneWorkerOptions, RestoreJob } from './lane-messages.ts'

/** The worker threads that run lanes. A lane stays with one thread, which keeps its state; threads are shared by lanes. */
export class Lanes {
  readonly #workers: LaneThread[]
  readonly #assigned = new Map<string, LaneThread>()
  readonly #processors = availableParallelism()

  private constructor(workers: LaneThread[]) {
    this.#workers = workers
  }

  /** Threads start on their first job, unless warmed. */
  static open(count: number, options: LaneWorkerOptions): Lanes {
    return new Lanes(Array.from({ length: count }, () => new LaneThread(options)))
  }

  /** Starts as many threads as lanes will want, so that the first batch need not wait for one. */
  warm(lanes: number): void {
    for (const worker of this.#workers.slice(0, lanes)) worker.start()
  }

  batch(job: BatchJob): Promise<BatchResult> {
    const worker = this.#of(job.lane)
    // A processor without a lane of its own can prepare the next batch of another.
    const ahead = this.#workers.filter((other) => other.isBusy).length < this.#processors
    return worker.run({ ...job, ahead }) as Promise<BatchResult>
  }

  restore(job: RestoreJob): Promise<{ keys: number }> {
    return this.#of(job.lane).run(job) as Promise<{ keys: number }>
  }

  async forget(lane: string): Promise<void> {
    await this.#of(lane).run({ kind: 'forget', lane })
    this.#assigned.delete(lane)
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()))
  }

  #of(lane: string): LaneThread {
    let worker = this.#assigned.get(lane)
    if (!worker) {
      // In turn: lanes of one stream are on different threads as far as there are some.
      worker = this.#workers[this.#assigned.size % this.#workers.length]!
      this.#assigned.set(lane, worker)
    }
    return worker
  }
}

class LaneThread {
  readonly #options: LaneWorkerOptions
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  #worker: Worker | undefined
  #next = 1

  constructor(options: LaneWorkerOptions) {
    this.#options = options
  }

  get isBusy(): boolean {
    return this.#waiting.size > 0
  }

  run(job: LaneJob): Promise<unknown> {
    const worker = this.start()
    const id = this.#next++
    // An idle thread must not keep the process alive; a busy one must.
    worker.ref()
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.postMessage({ ...job, id })
    })
  }

  start(): Worker {
    if (!this.#worker) {
      this.#worker = this.#start()
      this.#worker.unref()
    }
    return this.#worker
  }

  #start(): Worker {
    const worker = new Worker(
      new URL(import.meta.url.endsWith('.ts') ? './lane-worker.ts' : './lane-worker.js', import.meta.url),
      { workerData: this.#options },
    )
    worker.on('message', (response: LaneResponse) => {
      const waiter = this.#waiting.get(response.id)
      if (!waiter) return
      this.#waiting.delete(response.id)
      // One that is closed is waited for.
      if (this.#waiting.size === 0 && worker === this.#worker) worker.unref()
      if ('error' in response) waiter.reject(MillraceError.from(response.error))
      else waiter.resolve(response.result)
    })
    worker.on('error', (error) => this.#fail(error))
    worker.on('exit', (code) => this.#fail(new Error(`lane thread ended with code ${code}`)))
    return worker
  }

  // A dead thread takes its state with it; the next job starts another, and lanes are restored from the lake.
  #fail(cause: Error): void {
    this.#worker = undefined
    const error = new MillraceError('unavailable', 'lane-ended', `A lane thread ended: ${cause.message}`, {
      cause,
      hint: 'The batch is retried from the log.',
    })
    for (const waiter of this.#waiting.values()) waiter.reject(error)
    this.#waiting.clear()
  }

  /** Lets the thread end by itself: one that is torn down while the engine starts or calls back takes the process with it. */
  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    if (!worker) return
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
    worker.ref()
    worker.postMessage('close')
    await ended
  }
}

import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../base/clock.ts'
import { MillraceError, asMillraceError, assert } from '../../base/errors.ts'
import type { Project } from '../../project/project.ts'
import type { Table } from '../../project/table.ts'
import { CALL_DEFAULTS, type FunctionContext, type Transform } from '../../project/transform.ts'
import { applier } from './apply-rows.ts'
import { Caller } from './function-calls.ts'
import {
  type ApplyTask,
  type FunctionRequest,
  type FunctionResponse,
  type FunctionTask,
  type FunctionThreadOptions,
  PROGRESS,
  type PairTask,
  type ProjectLoader,
  type TaskReport,
} from './function-messages.ts'
import { LineWriter } from './line-file.ts'
import { Pairs } from './pairs.ts'
import { reducePairs } from './reduce-pairs.ts'
import { callRows } from './row-calls.ts'
import { digestOf } from './source-digest.ts'

/** How often an event loop that turns says so. */
const BEAT_MS = 50

/** A thread that calls the functions of a project. It keeps nothing but caches: every task can be done again elsewhere. */
class FunctionWorker {
  readonly #project: Project
  readonly #beats: Int32Array
  readonly #running: Uint8Array
  readonly #callers = new Map<string, Caller>()
  readonly #checked = new Set<string>()

  constructor(project: Project, progress: SharedArrayBuffer) {
    this.#project = project
    this.#beats = PROGRESS.beats(progress)
    this.#running = PROGRESS.running(progress)
  }

  async run(task: FunctionTask): Promise<TaskReport> {
    const ended = new AbortController()
    void this.#beat(ended.signal)
    try {
      const table = this.#tableOf(task)
      const transform = table.transform!
      switch (task.kind) {
        case 'apply':
          return await this.#apply(task, table, transform)
        case 'pair':
          return await this.#pair(task, transform)
        case 'reduce':
          return await reducePairs(task, table, transform, this.#progressed)
      }
    } finally {
      ended.abort()
    }
  }

  async #beat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#progressed()
      await systemClock.sleep(BEAT_MS, signal)
    }
  }

  readonly #progressed = () => void Atomics.add(this.#beats, 0, 1)

  readonly #mark = (row: number, running: 0 | 1) => {
    Atomics.store(this.#running, row, running)
    Atomics.add(this.#beats, 0, 1)
  }

  #tableOf({ table: name, file, digest }: FunctionTask): Table {
    const table = this.#project.dataset(name)
    assert(table.kind === 'table' && table.transform, `${name} is made by a function`)
    if (!this.#checked.has(name) && file !== undefined && digestOf(file) !== digest) throw changed(name, file)
    this.#checked.add(name)
    return table
  }

  async #apply(task: ApplyTask, table: Table, transform: Transform): Promise<TaskReport> {
    const output = new LineWriter(task.output)
    const report = await callRows({
      ...this.#calls(task, transform),
      take: applier(table, transform),
      keep: (text) => output.write(text),
    })
    output.close()
    return report
  }

  async #pair(task: PairTask, transform: Transform): Promise<TaskReport> {
    const output = new LineWriter(task.output)
    const pairs = new Pairs(task.table, transform, output)
    const report = await callRows({
      ...this.#calls(task, transform),
      take: (result) => pairs.take(result),
      keep: (taken) => pairs.keep(taken),
    })
    pairs.flush()
    output.close()
    return report
  }

  #calls(task: ApplyTask | PairTask, { functions, call, batch, options }: Transform) {
    const name = call === 'mapReduce' ? 'map' : call
    const caller = this.#callers.get(task.table) ?? new Caller(task.table, options, systemClock)
    this.#callers.set(task.table, caller)
    caller.begin(task.trial)
    return {
      task,
      caller,
      call: functions[name] as (row: unknown, context: FunctionContext) => unknown,
      batch,
      concurrency: options.concurrency ?? CALL_DEFAULTS.concurrency,
      mark: this.#mark,
    }
  }
}

/** Its rows would be said to be of the code that was there when the project was started. */
function changed(table: string, file: string): MillraceError {
  return new MillraceError('invalid', 'code-changed', `${file} has changed since the project was started.`, {
    hint: 'Start the project again, and the table is computed by the new code.',
    context: { dataset: table, file },
  })
}

if (parentPort) {
  const port = parentPort
  const { loader, directory, progress } = workerData as FunctionThreadOptions
  const { loadProject } = (await import(loader)) as ProjectLoader
  const worker = new FunctionWorker(await loadProject(directory), progress)
  port.on('message', (request: FunctionRequest) => {
    void worker
      .run(request)
      .then(
        (report): FunctionResponse => ({ id: request.id, report }),
        (error: unknown): FunctionResponse => ({ id: request.id, error: asMillraceError(error).toJSON() }),
      )
      .then((response) => port.postMessage(response))
  })
  port.postMessage({ id: 0, report: { taken: 0, refused: 0 } } satisfies FunctionResponse)
}

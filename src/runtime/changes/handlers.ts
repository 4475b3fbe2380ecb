import type { LakeTable } from '../../lake/table.ts'
import type { Handler } from '../../project/handler.ts'
import type { HandlerStatus } from '../../project/status.ts'
import type { HandlerPlace } from './handler-places.ts'
import { type HandlerCalls, HandlerRunner, type HandlerRunnerOptions } from './handler-runner.ts'
import { changesRows } from '../warehouse.ts'

/** The handlers of a project that this process calls. */
export class Handlers {
  readonly #options: Omit<HandlerRunnerOptions, 'handler'>
  readonly #runners = new Map<string, HandlerRunner>()

  constructor(options: Omit<HandlerRunnerOptions, 'handler'>) {
    this.#options = options
  }

  get runners(): ReadonlyMap<string, HandlerRunner> {
    return this.#runners
  }

  /** Becomes the one that calls a handler, and reads how far it is. What goes wrong is the handler's. */
  async take(handler: Handler): Promise<HandlerRunner> {
    const runner = new HandlerRunner({ ...this.#options, handler })
    this.#runners.set(handler.name, runner)
    await runner.open()
    return runner
  }

  /** Leaves a handler to others: resolves when it is called no more. */
  async give({ name }: Handler): Promise<void> {
    const runner = this.#runners.get(name)
    this.#runners.delete(name)
    await runner?.stop()
  }

  start(): void {
    for (const runner of this.runners.values()) runner.start()
  }

  /** Delivers what is due, once. */
  async drain(): Promise<void> {
    await this.#all((runner) => runner.drain())
  }

  async stop(): Promise<void> {
    await this.#all((runner) => runner.stop())
  }

  /** The handlers that follow a dataset. */
  of(dataset: string): HandlerRunner[] {
    return [...this.runners.values()].filter(({ handler }) => handler.dataset.name === dataset)
  }

  async #all(work: (runner: HandlerRunner) => Promise<void>): Promise<void> {
    await Promise.all([...this.runners.values()].map(work))
  }
}

/** `place` is undefined for a handler never seen, or when that cannot be told. */
export function handlerStatus(
  { name }: Handler,
  place: HandlerPlace | undefined,
  table: LakeTable,
  { failures, error }: Pick<HandlerCalls, 'failures' | 'error'>,
): HandlerStatus {
  return {
    name,
    state: error === undefined ? 'ok' : 'failed',
    lag: place === undefined ? 0 : lagOf(place, table),
    failures,
    ...(error === undefined ? {} : { last_error: error.message }),
  }
}

function lagOf({ position: { done, into } }: HandlerPlace, table: LakeTable): number {
  const main = table.snapshot('main')
  if (!main || main.id === done) return 0
  // The change it is in the middle of, or all there is, counts as one.
  const current = into !== undefined || done === 0n ? 1 : 0
  const published = table.published()
  const from = into?.to ?? (done === 0n ? main.id : done)
  const newer = published.slice(published.lastIndexOf(from) + 1).map((id) => table.snapshot(id))
  return current + newer.filter((snapshot) => snapshot !== undefined && changesRows(snapshot)).length
}

/** Snapshots that handlers still need, by id as text: what came after them is not delivered. */
export function neededBy(runners: readonly HandlerRunner[]): string[] {
  return runners.flatMap(({ place }) => {
    if (place === undefined) return []
    const { done, into } = place.position
    return [String(done === 0n && into ? into.to : done)]
  })
}

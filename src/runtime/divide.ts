import type { Handler } from '../project/handler.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import type { Duties, Ownership } from './parts.ts'
import type { Role } from './role.ts'
import type { StreamRunner } from './streams/stream-runner.ts'
import type { TableRunner } from './tables/table-runner.ts'

/** What processes of a project divide among them, and how this one takes a part up and leaves it. */
export interface Divided {
  readonly streams: readonly StreamRunner[]
  readonly tables: readonly Table[]
  readonly handlers: readonly Handler[]
  /** Of the streams' partitions, those it is about; all unless told. */
  isTouched?(runner: StreamRunner, partition: number): boolean
  takePartition(runner: StreamRunner, partition: number, epoch: number): Promise<void>
  /** Tables that functions make of a stream's rows: the partitions of one are those of the other. */
  sharing(stream: Stream): readonly TableRunner[]
  takeTable(table: Table): Promise<void>
  giveTable(table: Table): Promise<void>
  loseTable(table: Table): void
  takeHandler(handler: Handler): Promise<void>
  giveHandler(handler: Handler): Promise<void>
}

/** Takes what falls to this process, as others come and go: partitions of streams; tables and handlers. */
export function divide(ownership: Ownership, work: Divided): void {
  for (const { role, items, duties } of sharesOf(work)) ownership.start(role, items, duties)
}

/** Takes all of it, whoever has it. Errors: `unavailable`/`held-elsewhere`. */
export async function claim(ownership: Ownership, work: Divided): Promise<void> {
  for (const { role, items, duties } of sharesOf(work)) await ownership.claim(role, items, duties)
}

interface Share {
  readonly role: Role
  readonly items: readonly string[]
  readonly duties: Duties
}

function sharesOf(work: Divided): Share[] {
  return [partitionsOf(work), tablesAndHandlersOf(work)].filter(({ items }) => items.length > 0)
}

function tablesAndHandlersOf(work: Divided): Share {
  const tables = new Map(work.tables.map((table) => [table.name, table]))
  const handlers = new Map(work.handlers.map((handler) => [`on ${handler.name}`, handler]))
  const duties: Duties = {
    take(item) {
      const handler = handlers.get(item)
      return handler ? work.takeHandler(handler) : work.takeTable(tables.get(item)!)
    },
    give(item) {
      const handler = handlers.get(item)
      return handler ? work.giveHandler(handler) : work.giveTable(tables.get(item)!)
    },
    lose(item) {
      const handler = handlers.get(item)
      if (handler) void work.giveHandler(handler)
      else work.loseTable(tables.get(item)!)
    },
  }
  return { role: 'schedule', items: [...tables.keys(), ...handlers.keys()], duties }
}

function partitionsOf(work: Divided): Share {
  const { isTouched = () => true } = work
  const partitions = new Map<string, { runner: StreamRunner; partition: number }>(
    work.streams.flatMap((runner) =>
      runner.log.partitions
        .filter(({ partition }) => isTouched(runner, partition))
        .map(({ partition }) => [`${runner.stream.name}/${partition}`, { runner, partition }] as const),
    ),
  )
  const duties: Duties = {
    take(item, epoch) {
      const { runner, partition } = partitions.get(item)!
      return work.takePartition(runner, partition, epoch)
    },
    async give(item) {
      const { runner, partition } = partitions.get(item)!
      const tables = work.sharing(runner.stream)
      await Promise.all([
        // A replay under way needs all partitions to its end, and whoever compacts takes files away.
        runner.rewriting(() => runner.disown(partition)),
        ...tables.map((table) => table.givePartition(partition)),
      ])
    },
    lose(item) {
      const { runner, partition } = partitions.get(item)!
      runner.lose(partition)
      for (const { shares } of work.sharing(runner.stream)) shares!.lose(partition)
    },
  }
  return { role: 'process', items: [...partitions.keys()], duties }
}

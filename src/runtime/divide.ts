import type { Handler } from '../project/handler.ts'
import type { Stream } from '../project/stream.ts'
import type { Table } from '../project/table.ts'
import type { Ownership } from './parts.ts'
import type { StreamRunner } from './stream-runner.ts'
import type { TableRunner } from './table-runner.ts'

/** What processes of a project divide among them, and how this one takes a part up and leaves it. */
export interface Divided {
  readonly streams: readonly StreamRunner[]
  readonly tables: readonly Table[]
  readonly handlers: readonly Handler[]
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
  dividePartitions(ownership, work)
  const tables = new Map(work.tables.map((table) => [table.name, table]))
  const handlers = new Map(work.handlers.map((handler) => [`on ${handler.name}`, handler]))
  if (tables.size + handlers.size === 0) return
  ownership.start('schedule', [...tables.keys(), ...handlers.keys()], {
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
  })
}

function dividePartitions(ownership: Ownership, work: Divided): void {
  const partitions = new Map<string, { runner: StreamRunner; partition: number }>(
    work.streams.flatMap((runner) =>
      runner.log.partitions.map(
        ({ partition }) => [`${runner.stream.name}/${partition}`, { runner, partition }] as const,
      ),
    ),
  )
  if (partitions.size === 0) return
  ownership.start('process', [...partitions.keys()], {
    take(item, epoch) {
      const { runner, partition } = partitions.get(item)!
      return work.takePartition(runner, partition, epoch)
    },
    async give(item) {
      const { runner, partition } = partitions.get(item)!
      const tables = work.sharing(runner.stream)
      await Promise.all([runner.disown(partition), ...tables.map((table) => table.givePartition(partition))])
    },
    lose(item) {
      const { runner, partition } = partitions.get(item)!
      runner.lose(partition)
      for (const { shares } of work.sharing(runner.stream)) shares!.lose(partition)
    },
  })
}

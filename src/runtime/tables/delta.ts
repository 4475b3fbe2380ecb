import type { DataFile } from '../../lake/data-file.ts'
import type { SqlTemplate } from '../../project/sql.ts'
import type { EngineStep } from '../engine.ts'
import type { InputChanges, Pins } from './inputs.ts'

/** Files to read of each input. */
export type FilesOf = ReadonlyMap<string, readonly DataFile[]>

/**
 * The rows a query gains when its inputs gain rows and lose none, as readings of the query that are put together;
 * undefined when they cannot be told from the new rows alone.
 *
 * A query that treats each row by itself gives for the new rows what it gains. One that also joins (inner joins, each
 * input read once) is linear in each of its inputs: the new rows of the first with all of the others, then those of the
 * second with the old of the first, and so on.
 */
export async function deltaReadings(
  engine: EngineStep,
  sql: SqlTemplate,
  pins: Pins,
  changes: InputChanges,
  render: (files: FilesOf) => Promise<string>,
): Promise<FilesOf[] | undefined> {
  if ([...changes.values()].some(({ removed }) => removed.length > 0)) return undefined
  if (sql.references.length !== sql.datasets.length) return undefined
  const added = new Map([...changes].map(([name, change]) => [name, change.added]))
  const all: FilesOf = new Map(
    await Promise.all(
      [...pins].map(
        async ([name, { table, snapshot }]) => [name, snapshot ? await table.files(snapshot) : []] as const,
      ),
    ),
  )
  const shape = await engine.shapeOf(await render(all))
  if (shape === 'by row') return [added]
  if (shape !== 'joined') return undefined
  const old = new Map([...all].map(([name, files]) => [name, without(files, added.get(name)!)]))
  const names = [...all.keys()]
  return names.flatMap((name, i) => {
    const fresh = added.get(name)!
    if (fresh.length === 0) return []
    return [new Map(names.map((other, j) => [other, j < i ? old.get(other)! : j === i ? fresh : all.get(other)!]))]
  })
}

function without(files: readonly DataFile[], gone: readonly DataFile[]): DataFile[] {
  const paths = new Set(gone.map(({ path }) => path))
  return files.filter(({ path }) => !paths.has(path))
}

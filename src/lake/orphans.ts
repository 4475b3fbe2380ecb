import { MillraceError } from '../base/errors.ts'
import { formatMs } from '../base/duration.ts'
import { normalLocation } from './location.ts'
import { dataPaths, manifestsOf } from './reachable.ts'
import type { LakeTable } from './table.ts'

/** No commit takes this long between writing a file and referring to it. */
const SAFETY_AGE_MS_MIN = 3_600_000

/**
 * Deletes files below the table's `data/` and `metadata/` that no snapshot needs and that were last written more than
 * `olderThanMs` ago: what crashed commits left, and what expiry could not delete. Younger files may belong to a commit
 * under way, so an age below an hour is refused (`invalid` / `bad-age`); those written since `sparedSinceMs` stay as well. Uploads that nobody has ended
 * in all that time are given up. Returns the paths deleted.
 */
export async function removeOrphans(
  table: LakeTable,
  olderThanMs: number,
  sparedSinceMs: number = Infinity,
): Promise<string[]> {
  if (!(olderThanMs >= SAFETY_AGE_MS_MIN)) {
    throw new MillraceError(
      'invalid',
      'bad-age',
      `Orphans younger than ${formatMs(SAFETY_AGE_MS_MIN)} may belong to a commit under way.`,
      {
        hint: 'Give an age of at least an hour; a day is a good one.',
      },
    )
  }
  const { store, clock, manifests } = table.context
  // Listed before the table is refreshed: what was committed since is then among the files needed.
  const before = Math.min(clock.now() - olderThanMs, sparedSinceMs)
  await store.abandonUploads(table.location, before)
  const old: string[] = []
  for (const part of ['data', 'metadata'])
    for await (const { location, modifiedMs } of store.files(`${table.location}/${part}`))
      if (modifiedMs < before) old.push(location)
  if (old.length === 0) return []

  await table.refresh()
  const { view } = table
  const snapshots = view.metadata.snapshots ?? []
  const lists = await manifestsOf(manifests, snapshots)
  const needed = new Set([...snapshots.map((snapshot) => normalLocation(snapshot['manifest-list'])), ...lists.keys()])
  for await (const path of dataPaths(manifests, lists.values(), view, 'live')) needed.add(path)
  const orphans = old.filter((path) => !needed.has(path) && !table.ownsFile(path))
  for (const path of orphans) await store.remove(path)
  return orphans
}

import type { DataFile } from './data-file.ts'
import type { Manifests, TableView } from './manifests.ts'
import { findSnapshot } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'

/** Files whose rows came and went. Rows of `removed` that are also in `added` under another path cancel out as multisets. */
export interface Changes {
  readonly added: DataFile[]
  readonly removed: DataFile[]
}

/**
 * Logical changes along the ancestry from `from` (exclusive; undefined: from the beginning) to `to` (inclusive). Snapshots
 * of operation `replace` changed no row and are skipped, so a file that was added and compacted away in between is
 * reported as added: it still exists, because the snapshot that added it is still there.
 *
 * Undefined means "cannot tell": `from` is no ancestor of `to`, or a snapshot in between has expired.
 */
export async function changesBetween(
  view: TableView,
  manifests: Manifests,
  from: bigint | undefined,
  to: bigint,
): Promise<Changes | undefined> {
  const chain = ancestry(view.metadata, from, to)
  if (!chain) return undefined
  const added = new Map<string, DataFile>()
  const removed = new Map<string, DataFile>()
  for (const snapshot of chain) {
    if (snapshot.summary['operation'] === 'replace') continue
    const id = snapshot['snapshot-id']
    for (const manifest of await manifests.list(snapshot)) {
      if (manifest.addedSnapshotId !== id) continue
      for (const { status, snapshotId, file } of await manifests.entries(manifest, view)) {
        if (snapshotId !== id || status === 'existing') continue
        if (status === 'added') added.set(file.path, file)
        // Added and removed in between: nothing happened.
        else if (!added.delete(file.path)) removed.set(file.path, file)
      }
    }
  }
  return { added: [...added.values()], removed: [...removed.values()] }
}

/** Snapshots after `from` up to `to`, oldest first; undefined when the chain does not lead to `from`. */
function ancestry(metadata: TableMetadata, from: bigint | undefined, to: bigint): SnapshotJson[] | undefined {
  const chain: SnapshotJson[] = []
  let at: bigint | undefined = to
  while (at !== undefined && at !== from) {
    const snapshot = findSnapshot(metadata, at)
    if (!snapshot) return undefined
    chain.push(snapshot)
    at = snapshot['parent-snapshot-id'] ?? undefined
  }
  // `from` itself may have expired: its files are not needed, only that it is where the chain goes.
  return at === from ? chain.reverse() : undefined
}

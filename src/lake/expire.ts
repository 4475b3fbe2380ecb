import { assert } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import { isBelow, normalLocation } from './location.ts'
import { findSnapshot, logWithout } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'
import { dataPaths, manifestsOf, remainingManifestsOf } from './reachable.ts'
import type { LakeTable } from './table.ts'

/** Which snapshots stay. */
export interface Retention {
  /** So many of the newest of each ref stay whatever their age; at least 1. */
  readonly keepLast: number
  /** Younger ones stay too. */
  readonly maxAgeMs: number
}

export interface Expired {
  readonly snapshots: number
  /** Data files, manifests and manifest lists deleted. */
  readonly files: number
}

const REMOVALS_AT_ONCE = 16

/**
 * Forgets old snapshots, then deletes the files that only they needed. What stays of each ref is its newest snapshots
 * without a gap: the last `keepLast`, those younger than `maxAgeMs`, and on to the newest that carries a step's record
 * (any `millrace.*` key), from which the runtime goes on after a crash. A crash after the first step leaves orphans,
 * never a snapshot without its files.
 */
export async function expireSnapshots(table: LakeTable, retention: Retention): Promise<Expired> {
  assert(retention.keepLast >= 1, 'the snapshot a ref is at stays')
  let expired: SnapshotJson[] = []
  const view = await table.transact(async ({ metadata }) => {
    const keep = retained(metadata, table.refs, retention, table.context.clock.now())
    const snapshots = metadata.snapshots ?? []
    expired = snapshots.filter((snapshot) => !keep.has(snapshot['snapshot-id']))
    if (expired.length === 0) return undefined
    return {
      metadata: {
        ...metadata,
        snapshots: snapshots.filter((snapshot) => keep.has(snapshot['snapshot-id'])),
        'snapshot-log': logWithout(metadata['snapshot-log'] ?? [], keep),
      },
    }
  })
  if (expired.length === 0) return { snapshots: 0, files: 0 }
  const { manifests, store } = table.context
  const needed = await manifestsOf(manifests, view.metadata.snapshots ?? [])
  const dropped = await remainingManifestsOf(manifests, expired)
  for (const path of needed.keys()) dropped.delete(path)

  const unneeded = new Set<string>()
  for await (const path of dataPaths(manifests, dropped.values(), view, 'all')) unneeded.add(path)
  if (unneeded.size > 0)
    for await (const path of dataPaths(manifests, needed.values(), view, 'live')) unneeded.delete(path)
  const gate = new Semaphore(REMOVALS_AT_ONCE)
  // Data files before the manifests that name them.
  const lists = expired.map((snapshot) => normalLocation(snapshot['manifest-list']))
  let files = 0
  for (const paths of [[...unneeded], [...dropped.keys(), ...lists]]) {
    const own = paths.filter((path) => isBelow(path, table.location))
    await Promise.all(own.map((path) => gate.run(() => store.remove(path))))
    files += own.length
  }
  return { snapshots: expired.length, files }
}

function retained(metadata: TableMetadata, refs: LakeTable['refs'], retention: Retention, nowMs: number): Set<bigint> {
  const isYoung = (snapshot: SnapshotJson): boolean => nowMs - snapshot['timestamp-ms'] <= retention.maxAgeMs
  // What no ref leads to, such as a candidate that failed its audit, goes by age alone.
  const keep = new Set((metadata.snapshots ?? []).filter(isYoung).map((snapshot) => snapshot['snapshot-id']))
  for (const id of Object.values(refs)) {
    const line = lineOf(metadata, id)
    const record = line.findIndex(({ summary }) => Object.keys(summary).some((key) => key.startsWith('millrace.')))
    const count = Math.max(retention.keepLast, record + 1, line.findLastIndex(isYoung) + 1)
    for (const snapshot of line.slice(0, count)) keep.add(snapshot['snapshot-id'])
  }
  return keep
}

/** A snapshot and its ancestors that are there, newest first. */
function lineOf(metadata: TableMetadata, id: bigint): SnapshotJson[] {
  const line: SnapshotJson[] = []
  let at = findSnapshot(metadata, id)
  while (at) {
    line.push(at)
    const parent = at['parent-snapshot-id']
    at = parent === undefined || parent === null ? undefined : findSnapshot(metadata, parent)
  }
  return line
}

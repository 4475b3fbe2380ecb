import { MillraceError, assert } from '../base/errors.ts'
import type { DataFile } from './data-file.ts'
import { encodeManifest } from './manifest.ts'
import type { ManifestEntry } from './manifest.ts'
import { describeManifest, encodeManifestList, liveFiles } from './manifest-list.ts'
import type { ManifestFile } from './manifest-list.ts'
import type { Manifests, TableView } from './manifests.ts'
import { MANIFEST_FILES_MAX, manifestsToMerge } from './merge.ts'
import { currentSchema, findSnapshot, lineOf, refId, withRef } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'
import type { Spec } from './partition.ts'
import type { Commit } from './snapshot.ts'
import type { NewFile } from './store.ts'

/** What a commit needs beside the table: names and ids are the caller's, so that a retry can keep or change them. */
export interface CommitContext {
  readonly manifests: Manifests
  readonly directory: string
  readonly snapshotId: bigint
  readonly nowMs: number
  /** A new random part of a file name. */
  readonly suffix: () => string
  readonly randomBytes: (count: number) => Uint8Array
}

/** New metadata and the files it refers to, not yet written. */
export interface PreparedCommit {
  readonly metadata: TableMetadata
  readonly files: readonly NewFile[]
  readonly snapshot: SnapshotJson
}

/** Makes the next metadata of a table from a change. Pure but for reading manifests; nothing is written. */
export async function prepareCommit(view: TableView, change: Commit, context: CommitContext): Promise<PreparedCommit> {
  checkChange(change)
  const { metadata } = view
  const ref = change.ref ?? 'main'
  const current = refId(metadata, ref)
  if (change.parent !== undefined && (change.parent ?? undefined) !== current) throw moved(ref, change.parent, current)
  const parentId = current ?? refId(metadata, 'main')
  const parent = parentId === undefined ? undefined : snapshotOf(metadata, parentId)
  const summary = typeof change.summary === 'function' ? change.summary(lineOf(metadata, parentId)) : change.summary
  const listed = parent ? await context.manifests.list(parent) : []

  const sequenceNumber = metadata['last-sequence-number'] + 1n
  const removal = await removeFiles(listed, new Set(change.remove), view, context)
  const drafts = removal.drafts
  // Files of another table with the same specs keep theirs.
  for (const [specId, files] of Map.groupBy(change.add, (file) => file.specId ?? view.defaultSpec.id)) {
    const added = files.map((file): ManifestEntry => ({
      status: 'added',
      snapshotId: context.snapshotId,
      sequenceNumber: undefined,
      fileSequenceNumber: undefined,
      file,
    }))
    draft(drafts, specId).unshift(...added)
  }
  const kept = await mergeManifests(removal.kept, drafts, view, context)
  const written = writeDrafts(drafts, sequenceNumber, view, context)

  const manifests = [...written.manifests, ...kept]
  const listPath = `${context.directory}/snap-${context.snapshotId}-${context.suffix()}.avro`
  const list = encodeManifestList(
    manifests,
    { id: context.snapshotId, parentId, sequenceNumber },
    context.randomBytes(16),
  )
  const timestampMs = Math.max(context.nowMs, metadata['last-updated-ms'])
  const snapshot: SnapshotJson = {
    'snapshot-id': context.snapshotId,
    ...(parentId === undefined ? {} : { 'parent-snapshot-id': parentId }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': timestampMs,
    summary: { operation: change.operation, ...summary, ...totalsOf(change, removal.files, parent, listed) },
    'manifest-list': listPath,
    'schema-id': view.schemaId,
  }
  const next = {
    ...metadata,
    'last-sequence-number': sequenceNumber,
    snapshots: [...(metadata.snapshots ?? []), snapshot],
  }
  return {
    metadata: withRef(next, ref, context.snapshotId, timestampMs),
    files: [...written.files, { path: listPath, bytes: list }],
    snapshot,
  }
}

function checkChange({ operation, add, remove }: Commit): void {
  assert(operation !== 'append' || remove.length === 0, 'an append removes nothing')
  assert(operation !== 'delete' || add.length === 0, 'a delete adds nothing')
  assert(new Set(add.map((file) => file.path)).size === add.length, 'every file is added once')
}

function snapshotOf(metadata: TableMetadata, id: bigint): SnapshotJson {
  const snapshot = findSnapshot(metadata, id)
  if (snapshot) return snapshot
  throw new MillraceError(
    'corrupt',
    'bad-metadata',
    `The table at ${metadata.location} refers to snapshot ${id}, which is not in its metadata.`,
  )
}

export function moved(ref: string, expected: bigint | null, current: bigint | undefined): MillraceError {
  return new MillraceError(
    'conflict',
    'moved',
    `'${ref}' is at snapshot ${current ?? 'none'}, not at ${expected ?? 'none'}.`,
    {
      hint: 'Read the new snapshot, work out the change again on top of it, and commit that.',
      context: { ref },
    },
  )
}

/** New manifests by partition spec: the entries they will hold. */
type Drafts = Map<number, ManifestEntry[]>

function draft(drafts: Drafts, specId: number): ManifestEntry[] {
  let entries = drafts.get(specId)
  if (!entries) drafts.set(specId, (entries = []))
  return entries
}

/** Rewrites the manifests that hold the files to remove; the others are kept unread. */
async function removeFiles(
  listed: readonly ManifestFile[],
  paths: Set<string>,
  view: TableView,
  context: CommitContext,
): Promise<{ kept: ManifestFile[]; drafts: Drafts; files: DataFile[] }> {
  const kept: ManifestFile[] = []
  const drafts: Drafts = new Map()
  const files: DataFile[] = []
  for (const manifest of listed) {
    // What only tells of removals by the parent has nothing left to say.
    if (liveFiles(manifest) === 0) continue
    const entries = paths.size === 0 ? [] : await context.manifests.entries(manifest, view)
    if (!entries.some((entry) => entry.status !== 'deleted' && paths.has(entry.file.path))) {
      kept.push(manifest)
      continue
    }
    const rewritten = draft(drafts, manifest.specId)
    for (const entry of entries) {
      if (entry.status === 'deleted') continue
      const removed = paths.delete(entry.file.path)
      if (removed) files.push(entry.file)
      rewritten.push(
        removed ? { ...entry, status: 'deleted', snapshotId: context.snapshotId } : { ...entry, status: 'existing' },
      )
    }
  }
  const [missing] = paths
  if (missing !== undefined) {
    throw new MillraceError(
      'conflict',
      'file-not-live',
      `${missing} is not in the table's current snapshot: it was replaced or removed meanwhile.`,
      {
        hint: 'Read the current files, work out the change again, and commit that.',
        context: { path: missing, missing: paths.size },
      },
    )
  }
  return { kept, drafts, files }
}

/** Takes small manifests into the drafts; returns those left as they are. */
async function mergeManifests(
  kept: readonly ManifestFile[],
  drafts: Drafts,
  view: TableView,
  context: CommitContext,
): Promise<ManifestFile[]> {
  const specId = view.defaultSpec.id
  const own = draft(drafts, specId)
  const merged = manifestsToMerge(
    kept.filter((manifest) => manifest.specId === specId),
    own.length,
  )
  for (const manifest of merged) {
    for (const entry of await context.manifests.entries(manifest, view)) {
      if (entry.status !== 'deleted') own.push({ ...entry, status: 'existing' })
    }
  }
  return kept.filter((manifest) => !merged.has(manifest))
}

function writeDrafts(
  drafts: Drafts,
  sequenceNumber: bigint,
  view: TableView,
  context: CommitContext,
): { manifests: ManifestFile[]; files: NewFile[] } {
  const manifests: ManifestFile[] = []
  const files: NewFile[] = []
  const schema = currentSchema(view.metadata)
  for (const [specId, entries] of drafts) {
    const spec: Spec = view.spec(specId)
    for (let at = 0; at < entries.length; at += MANIFEST_FILES_MAX) {
      const part = entries.slice(at, at + MANIFEST_FILES_MAX)
      const bytes = encodeManifest(spec, schema, part, context.randomBytes(16))
      const path = `${context.directory}/${context.suffix()}-m0.avro`
      files.push({ path, bytes })
      manifests.push(
        describeManifest(part, spec, { path, length: bytes.length, snapshotId: context.snapshotId, sequenceNumber }),
      )
    }
  }
  return { manifests, files }
}

/** What a commit changed, and the totals every reader may ask for. */
function totalsOf(
  change: Commit,
  removed: readonly DataFile[],
  parent: SnapshotJson | undefined,
  listed: readonly ManifestFile[],
): Record<string, string> {
  const added = change.add
  const addedRows = sum(added, (file) => file.records)
  const removedRows = sum(removed, (file) => file.records)
  assert(
    change.operation !== 'replace' || addedRows === removedRows,
    `a replace keeps its ${removedRows} rows, not ${addedRows}`,
  )
  const addedBytes = sum(added, (file) => file.bytes)
  const removedBytes = sum(removed, (file) => file.bytes)
  const partitions = new Set([...added, ...removed].map((file) => file.partition.map(String).join('\0')))
  const before = parent?.summary ?? {}
  const total = (key: string, computed: number): number => (before[key] === undefined ? computed : Number(before[key]))
  const filesBefore = total('total-data-files', sum(listed, liveFiles))
  const rowsBefore = total(
    'total-records',
    sum(listed, (manifest) => manifest.addedRows + manifest.existingRows),
  )
  const counts: Record<string, number> = {
    'added-data-files': added.length,
    'added-records': addedRows,
    'added-files-size': addedBytes,
    ...(removed.length === 0
      ? {}
      : { 'deleted-data-files': removed.length, 'deleted-records': removedRows, 'removed-files-size': removedBytes }),
    'changed-partition-count': partitions.size,
    'total-records': rowsBefore + addedRows - removedRows,
    'total-data-files': filesBefore + added.length - removed.length,
    'total-files-size': total('total-files-size', 0) + addedBytes - removedBytes,
    'total-delete-files': 0,
    'total-position-deletes': 0,
    'total-equality-deletes': 0,
  }
  return Object.fromEntries(Object.entries(counts).map(([key, n]) => [key, String(n)]))
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  let total = 0
  for (const item of items) total += of(item)
  return total
}

import { dirname } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import type { Disk } from '../storage/disk.ts'
import { stringifyJson } from './json.ts'
import type { Lake } from './lake.ts'
import { isBelow } from './location.ts'
import { encodeManifest } from './manifest.ts'
import type { ManifestEntry } from './manifest.ts'
import { encodeManifestList } from './manifest-list.ts'
import type { ManifestFile } from './manifest-list.ts'
import { currentSchema } from './metadata.ts'
import type { SnapshotJson, TableMetadata } from './metadata.ts'
import { manifestsOf } from './reachable.ts'
import { type LakeTable, nameOf } from './table.ts'

/** What carrying a table has cost. */
export interface Carried {
  readonly snapshots: number
  /** Data files of all snapshots, and those of them that were not there yet. */
  readonly files: number
  readonly copied: number
  readonly bytes: number
}

const COPIES_AT_ONCE = 4
const COPY_BYTES = 4 * 1024 * 1024
/** They hold addresses, and readers do without them. */
const LEFT_BEHIND = ['statistics', 'partition-statistics']

/**
 * Makes a table of a lake on this machine's disk in another lake too, as the same table: its uuid, schemas, snapshots with
 * their ids, times and summaries, refs. Data files are copied byte for byte; manifests and lists, which hold addresses, are written anew. Readers
 * of the other lake see the whole table or none. Interrupted, it is called again: files that are there are not copied again, and a table that
 * is there with another history of the same uuid is put in place anew.
 *
 * Errors: `conflict`/`table-exists` for a table of another uuid; `invalid`/`file-elsewhere`; those of both stores.
 */
export async function carryTable(source: LakeTable, target: Lake, disk: Disk): Promise<Carried> {
  const { metadata } = source.view
  const manifests = await manifestsOf(source.context.manifests, metadata.snapshots ?? [])
  const entries = new Map<ManifestFile, readonly ManifestEntry[]>()
  for (const manifest of manifests.values())
    entries.set(manifest, await source.context.manifests.entries(manifest, source.view))
  const live = [...entries.values()].flat().filter(({ status }) => status !== 'deleted')
  const files = new Map(live.map(({ file }) => [file.path, file]))
  const summary = {
    snapshots: metadata.snapshots?.length ?? 0,
    files: files.size,
    bytes: [...files.values()].reduce((sum, { bytes }) => sum + bytes, 0),
  }
  if (await isThere(source, target)) return { ...summary, copied: 0 }
  const location = target.locationOf(source.id)
  const moved = (path: string) => location + path.slice(source.location.length)
  for (const path of files.keys()) if (!isBelow(path, source.location)) throw elsewhere(source, path)
  await target.context.store.makeTable(location)
  const copied = await carryFiles([...files.keys()], (path) => carryFile(path, moved(path), target, location, disk))
  await target.createFrom(source.id, await metadataAt(source, target, entries, moved))
  return { ...summary, copied }
}

/** Whether the table is there as it is here; one that an earlier call made of an earlier state goes. */
async function isThere(source: LakeTable, target: Lake): Promise<boolean> {
  const found = await target.load(source.id)
  if (!found) return false
  if (historyOf(found.view.metadata) === historyOf(source.view.metadata)) return true
  if (found.view.metadata['table-uuid'] !== source.view.metadata['table-uuid']) {
    throw new MillraceError('conflict', 'table-exists', `The target has another table ${nameOf(source.id)}.`, {
      hint: 'Name a target with a lake of its own (another bucket, prefix or path), or drop the table there.',
      context: { table: nameOf(source.id) },
    })
  }
  await target.drop(source.id)
  return false
}

/** What makes two copies of a table the same, addresses aside. */
function historyOf(metadata: TableMetadata): string {
  const { snapshots = [], refs = {}, properties = {} } = metadata
  return stringifyJson([
    metadata['table-uuid'],
    snapshots.map((snapshot) => snapshot['snapshot-id']),
    Object.entries(refs).map(([name, ref]) => [name, ref['snapshot-id']]),
    metadata['last-sequence-number'],
    metadata.schemas.length,
    metadata['current-schema-id'],
    metadata['partition-specs'].length,
    properties,
  ])
}

/** Several at once; the first failure ends it once those under way have ended. Returns how many were not there yet. */
async function carryFiles(paths: readonly string[], carry: (path: string) => Promise<boolean>): Promise<number> {
  let [next, copied, failed] = [0, 0, false]
  const work = async () => {
    while (next < paths.length && !failed) {
      try {
        if (await carry(paths[next++]!)) copied++
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const results = await Promise.allSettled(Array.from({ length: COPIES_AT_ONCE }, work))
  const failure = results.find((result) => result.status === 'rejected')
  if (failure) throw failure.reason
  return copied
}

/** A file gets its name at its place, on the disk or in the bucket, once it is there whole. Returns whether it was not there yet. */
async function carryFile(from: string, to: string, target: Lake, table: string, disk: Disk): Promise<boolean> {
  const isNew = !(await target.context.store.exists(to))
  if (isNew) await copyFile(from, target.local.pathOf(to), disk)
  // Also of one that was there: an earlier call may have ended before its name was durable.
  await target.local.sync([to], table)
  return isNew
}

async function copyFile(from: string, to: string, disk: Disk): Promise<void> {
  await disk.makeDirectory(dirname(to))
  const unfinished = `${to}.copy`
  await disk.remove(unfinished)
  const reader = await disk.open(from, 'read')
  try {
    const writer = await disk.open(unfinished, 'create')
    try {
      for (let at = 0; ;) {
        const chunk = await reader.read(at, COPY_BYTES)
        if (chunk.length === 0) break
        await writer.write(chunk)
        at += chunk.length
      }
      await writer.dataSync()
    } finally {
      await writer.close()
    }
  } finally {
    await reader.close()
  }
  await disk.rename(unfinished, to)
}

/** Writes manifests and lists with the addresses of the target; the metadata that refers to them. */
async function metadataAt(
  { view, id, context }: LakeTable,
  target: Lake,
  entries: ReadonlyMap<ManifestFile, readonly ManifestEntry[]>,
  moved: (path: string) => string,
): Promise<TableMetadata> {
  const { store, suffix, randomBytes } = target.context
  const location = target.locationOf(id)
  const schema = currentSchema(view.metadata)
  const lists = context.manifests
  const written = new Map<string, ManifestFile>()
  for (const [manifest, own] of entries) {
    // Without the file as it was encoded, which has its old address.
    const anew = own.map(({ encoded: _encoded, ...entry }): ManifestEntry => {
      const { path, records, bytes, partition, columns, splitOffsets, specId } = entry.file
      const rest = { records, bytes, partition, columns }
      const optional = { ...(splitOffsets ? { splitOffsets } : {}), ...(specId === undefined ? {} : { specId }) }
      return { ...entry, file: { path: moved(path), ...rest, ...optional } }
    })
    const bytes = encodeManifest(view.spec(manifest.specId), schema, anew, randomBytes(16))
    const path = `${location}/metadata/${suffix()}-m0.avro`
    await store.write({ path, bytes })
    written.set(manifest.path, { ...manifest, path, length: bytes.length })
  }
  const snapshots: SnapshotJson[] = []
  for (const snapshot of view.metadata.snapshots ?? []) {
    const listed = (await lists.list(snapshot)).map(({ path }) => written.get(path)!)
    const ids = {
      id: snapshot['snapshot-id'],
      parentId: snapshot['parent-snapshot-id'] ?? undefined,
      sequenceNumber: snapshot['sequence-number'],
    }
    const path = `${location}/metadata/snap-${ids.id}-${suffix()}.avro`
    await store.write({ path, bytes: encodeManifestList(listed, ids, randomBytes(16)) })
    snapshots.push({ ...snapshot, 'manifest-list': path })
  }
  const kept = Object.entries(view.metadata).filter(([key]) => !LEFT_BEHIND.includes(key))
  return { ...(Object.fromEntries(kept) as unknown as TableMetadata), location, snapshots, 'metadata-log': [] }
}

function elsewhere(table: LakeTable, path: string): MillraceError {
  return new MillraceError(
    'invalid',
    'file-elsewhere',
    `${nameOf(table.id)} has a file outside its own place: ${path}.`,
    {
      hint: 'Another engine put it there. Rewrite the table with that engine, or drop it, and call again.',
      context: { table: nameOf(table.id), path },
    },
  )
}

import { MillraceError } from '../../base/errors.ts'
import { isBelow, normalLocation } from '../location.ts'
import { TableView } from '../manifests.ts'
import type { SnapshotJson, TableMetadata } from '../metadata.ts'
import type { TableContext } from '../table.ts'
import { badRequest } from './error.ts'

/** Files of kinds that Millrace does not read are left to the engines that wrote them. */
const UNREADABLE = new Set(['delete-files', 'unsupported-file', 'unsupported-type'])

/**
 * Makes the files of a commit from outside durable, and so sees that they are there: whoever wrote them need not have
 * synced them, and metadata that outlives its manifests in a power loss would take the whole table with it. Throws
 * `invalid` / `bad-request` when files of a snapshot are missing, or its manifests lie outside the table.
 */
export async function syncForeignFiles(
  context: TableContext,
  next: TableMetadata,
  base?: TableMetadata,
): Promise<void> {
  const known = new Set(base?.snapshots)
  const paths = new Set<string>()
  for (const snapshot of next.snapshots ?? []) {
    if (known.has(snapshot)) continue
    paths.add(normalLocation(snapshot['manifest-list']))
    try {
      for await (const path of writtenFiles(context, next, snapshot)) paths.add(path)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      if (error.code === 'file-missing') throw badRequest(error.message, 'Write all files before the commit.')
      if (!UNREADABLE.has(error.code)) throw error
    }
  }
  try {
    await context.store.local.sync([...paths], next.location)
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not-found')
      throw badRequest(error.message, 'Write all files before the commit.')
    throw error
  }
}

async function* writtenFiles(
  { manifests }: TableContext,
  metadata: TableMetadata,
  snapshot: SnapshotJson,
): AsyncGenerator<string> {
  const view = new TableView(0, metadata)
  for (const manifest of await manifests.list(snapshot)) {
    if (manifest.addedSnapshotId !== snapshot['snapshot-id']) continue
    if (!isBelow(manifest.path, metadata.location))
      throw badRequest(`The manifest ${manifest.path} is not below ${metadata.location}.`)
    yield manifest.path
    for (const { status, file } of await manifests.entries(manifest, view)) if (status === 'added') yield file.path
  }
}

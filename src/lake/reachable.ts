import { MillraceError } from '../base/errors.ts'
import type { ManifestFile } from './manifest-list.ts'
import type { Manifests, TableView } from './manifests.ts'
import type { SnapshotJson } from './metadata.ts'

/** The manifests of several snapshots, each once, by path. */
export async function manifestsOf(
  manifests: Manifests,
  snapshots: readonly SnapshotJson[],
): Promise<Map<string, ManifestFile>> {
  const found = new Map<string, ManifestFile>()
  for (const snapshot of snapshots)
    for (const manifest of await manifests.list(snapshot)) found.set(manifest.path, manifest)
  return found
}

/** As manifestsOf, for snapshots whose files may have been deleted in part: what is gone is passed over. */
export async function remainingManifestsOf(
  manifests: Manifests,
  snapshots: readonly SnapshotJson[],
): Promise<Map<string, ManifestFile>> {
  const found = new Map<string, ManifestFile>()
  for (const snapshot of snapshots) {
    for (const manifest of await orGone(manifests.list(snapshot))) found.set(manifest.path, manifest)
  }
  return found
}

/** Paths of the data files that manifests name: those live in them, or all. */
export async function* dataPaths(
  manifests: Manifests,
  files: Iterable<ManifestFile>,
  view: TableView,
  which: 'live' | 'all',
): AsyncGenerator<string> {
  for (const manifest of files) {
    const entries = manifests.entries(manifest, view)
    for (const { status, file } of which === 'live' ? await entries : await orGone(entries)) {
      if (which === 'all' || status !== 'deleted') yield file.path
    }
  }
}

async function orGone<T>(read: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await read
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'file-missing') return []
    throw error
  }
}

import { liveFiles } from './manifest-list.ts'
import type { ManifestFile } from './manifest-list.ts'

/** So many manifests of one size class are merged into one of the next. */
const MERGE_COUNT = 8

/** A manifest of this many files is left alone; larger ones are split. An overwrite rewrites the one its files are in. */
export const MANIFEST_FILES_MAX = MERGE_COUNT ** 3

/**
 * Which manifests to merge into the one a commit writes anyway, which holds `files` entries. Size classes are powers of
 * eight, as levels in a log-structured merge tree: an entry is rewritten once for each class, a list stays at about eight
 * manifests for each class, and a commit rarely rewrites more than it adds.
 */
export function manifestsToMerge(manifests: readonly ManifestFile[], files: number): Set<ManifestFile> {
  const classes = new Map<number, ManifestFile[]>()
  for (const manifest of manifests) {
    const size = liveFiles(manifest)
    if (size >= MANIFEST_FILES_MAX) continue
    const members = classes.get(sizeClass(size))
    if (members) members.push(manifest)
    else classes.set(sizeClass(size), [manifest])
  }
  const merged = new Set<ManifestFile>()
  let total = files
  for (const level of [...classes.keys()].sort((a, b) => a - b)) {
    const members = classes.get(level)!
    const own = files > 0 && sizeClass(total) === level ? 1 : 0
    if (members.length + own < MERGE_COUNT) continue
    for (const manifest of members) {
      merged.add(manifest)
      total += liveFiles(manifest)
    }
  }
  return merged
}

function sizeClass(files: number): number {
  return Math.floor(Math.log2(Math.max(1, files)) / Math.log2(MERGE_COUNT))
}

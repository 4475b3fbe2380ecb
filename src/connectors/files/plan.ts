import type { FileVersion } from '../files.ts'

/** What the log keeps with each append that came from a file: the part of the file it holds. */
export interface FileMark {
  kind: 'file'
  source: string
  file: string
  /** SHA-256 of the content, the first 32 hexadecimal digits. */
  etag: string
  bytes: number
  mtimeMs: number
  /** 1 for the first time the file was loaded, one more each time its content had changed. */
  load: number
  /** Number of the append within the load, from 0. */
  part: number
  /** Whether the load is complete with this part. */
  last: boolean
  /** Records of the load up to the end of this part: those of the file when it is the last. */
  records: number
}

/** An append of the log: records [offset, to) of a partition, and where they came from. */
export interface MarkedRange {
  readonly partition: number
  readonly offset: number
  readonly to: number
  readonly mark: unknown
}

/** Records [offset, to) of a log partition. */
export interface LogRange {
  readonly partition: number
  readonly offset: number
  readonly to: number
}

/** A file to load, or to go on loading. */
export interface FileLoad {
  readonly version: FileVersion
  readonly etag: string
  readonly reason: 'new' | 'changed' | 'unfinished'
  readonly load: number
  /** Number of the next part to append. */
  readonly part: number
  /** Records that earlier parts of this load hold: `readFile`'s `fromRecord`. */
  readonly fromRecord: number
  /** What the file held before: not valid any more once this load is complete. */
  readonly supersedes: readonly LogRange[]
}

export interface LoadPlan {
  readonly loads: readonly FileLoad[]
  readonly unchanged: readonly FileVersion[]
  /** Files loaded once that are not there any more; their records stay. */
  readonly removed: readonly { readonly source: string; readonly file: string }[]
}

/** The parts of one load of one file, in order. */
interface KnownLoad {
  readonly load: number
  readonly parts: readonly (LogRange & { readonly mark: FileMark })[]
}

/**
 * Decides what there is to do, from the files present and what the log says was loaded. Pure: the same input gives the
 * same plan, so a crash at any point leads to the same records, once.
 *
 * @param present the files of all sources of a stream, each with its etag (`knownEtags`, else `fileEtag`)
 * @param marks the marked appends of the stream, in any order; marks of other kinds are left alone
 */
export function planLoads(
  present: readonly (FileVersion & { readonly etag: string })[],
  marks: readonly MarkedRange[],
): LoadPlan {
  const known = knownLoads(marks)
  const loads: FileLoad[] = []
  const unchanged: FileVersion[] = []
  for (const { etag, ...version } of present) {
    const earlier = known.get(keyOf(version)) ?? []
    const latest = earlier.at(-1)
    if (latest === undefined) {
      loads.push({ version, etag, reason: 'new', load: 1, part: 0, fromRecord: 0, supersedes: [] })
    } else if (etagOf(latest) === etag && isComplete(latest)) {
      unchanged.push(version)
    } else if (etagOf(latest) === etag && isWhole(latest)) {
      const { load, parts } = latest
      const fromRecord = parts.reduce((sum, range) => sum + range.to - range.offset, 0)
      const supersedes = rangesOf(earlier.slice(0, -1))
      loads.push({ version, etag, reason: 'unfinished', load, part: parts.length, fromRecord, supersedes })
    } else {
      const supersedes = rangesOf(earlier)
      loads.push({ version, etag, reason: 'changed', load: latest.load + 1, part: 0, fromRecord: 0, supersedes })
    }
  }
  const here = new Set(present.map(keyOf))
  const removed = [...known]
    .filter(([key]) => !here.has(key))
    .map(([, [load]]) => ({ source: load!.parts[0]!.mark.source, file: load!.parts[0]!.mark.file }))
  return { loads, unchanged, removed }
}

/**
 * The etags of those files whose size and modification time are what they were when the file was last loaded: their
 * content need not be read again. A change that keeps both is not seen.
 */
export function knownEtags(present: readonly FileVersion[], marks: readonly MarkedRange[]): Map<FileVersion, string> {
  const known = knownLoads(marks)
  const etags = new Map<FileVersion, string>()
  for (const version of present) {
    const mark = known.get(keyOf(version))?.at(-1)?.parts[0]?.mark
    if (mark?.bytes === version.bytes && mark.mtimeMs === version.mtimeMs) etags.set(version, mark.etag)
  }
  return etags
}

/** The records that a later, complete load of their file has replaced: what reads the log again leaves them out. */
export function supersededRanges(marks: readonly MarkedRange[]): LogRange[] {
  return [...knownLoads(marks).values()].flatMap((loads) => {
    const current = loads.findLastIndex(isComplete)
    return rangesOf(loads.slice(0, Math.max(current, 0)))
  })
}

/** Per file, its loads from first to latest. */
function knownLoads(marks: readonly MarkedRange[]): Map<string, KnownLoad[]> {
  const files = new Map<string, Map<number, (LogRange & { mark: FileMark })[]>>()
  for (const { partition, offset, to, mark } of marks) {
    if (!isFileMark(mark)) continue
    const loads = files.get(keyOf(mark)) ?? new Map<number, (LogRange & { mark: FileMark })[]>()
    files.set(keyOf(mark), loads)
    const parts = loads.get(mark.load) ?? []
    loads.set(mark.load, parts)
    parts.push({ partition, offset, to, mark })
  }
  return new Map(
    [...files].map(([key, loads]) => [
      key,
      [...loads]
        .map(([load, parts]) => ({ load, parts: parts.toSorted((a, b) => a.mark.part - b.mark.part) }))
        .toSorted((a, b) => a.load - b.load),
    ]),
  )
}

function isFileMark(mark: unknown): mark is FileMark {
  return typeof mark === 'object' && mark !== null && 'kind' in mark && mark.kind === 'file'
}

function etagOf({ parts }: KnownLoad): string {
  return parts[0]!.mark.etag
}

function isComplete({ parts }: KnownLoad): boolean {
  return parts.at(-1)!.mark.last
}

/** Whether the parts are the first ones of a file, each once: only then is it known where to go on. */
function isWhole({ parts }: KnownLoad): boolean {
  return parts.every((range, i) => range.mark.part === i && range.mark.etag === parts[0]!.mark.etag)
}

function rangesOf(loads: readonly KnownLoad[]): LogRange[] {
  return loads.flatMap(({ parts }) => parts.map(({ partition, offset, to }) => ({ partition, offset, to })))
}

function keyOf({ source, file }: { source: string; file: string }): string {
  return JSON.stringify([source, file])
}

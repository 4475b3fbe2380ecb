import type { Clock } from '../../base/clock.ts'
import { type MillraceError, asMillraceError } from '../../base/errors.ts'
import {
  type FileLoad,
  type FileMark,
  type FileVersion,
  fileEtag,
  knownEtags,
  planLoads,
  readFile,
  scanFiles,
  supersededRanges,
} from '../../connectors/files.ts'
import type { RecordBatch } from '../../log/log.ts'
import type { FilesSource } from '../../project/source.ts'
import type { Superseded } from '../record.ts'
import type { StreamRunner } from './stream-runner.ts'

export interface LoadProgress {
  readonly stream: string
  /** Files done and in all. */
  readonly files: number
  readonly filesTotal: number
  readonly records: number
  readonly bytes: number
  readonly bytesTotal: number
  readonly file: string
}

export interface LoadReport {
  readonly stream: string
  readonly loaded: readonly string[]
  readonly changed: readonly string[]
  readonly unchanged: number
  /** Files loaded before that are gone; their records stay. */
  readonly removed: readonly string[]
  /** Sources whose pattern matches no file. */
  readonly unmatched: readonly string[]
  readonly failed: readonly { readonly file: string; readonly error: MillraceError }[]
  readonly records: number
}

export interface LoadOptions {
  /** Makes records durable in a stream. */
  append(stream: string, batch: RecordBatch): Promise<unknown>
  readonly projectDirectory: string
  readonly clock: Clock
  readonly signal?: AbortSignal
  onProgress?(progress: LoadProgress): void
}

/**
 * Brings the files of a stream's sources into its log: new and changed ones whole, an unfinished one from where it
 * stopped. The log's marks are the only record of what was loaded, so a crash at any point loses and doubles nothing.
 */
export async function loadFiles(runner: StreamRunner, options: LoadOptions): Promise<LoadReport> {
  const { stream } = runner
  const present: (FileVersion & { etag: string })[] = []
  const failed: { file: string; error: MillraceError }[] = []
  const unmatched: string[] = []
  for (const source of stream.sources) {
    const versions = await scanFiles(source, options.projectDirectory)
    if (versions.length === 0) unmatched.push(source.path)
    const etags = knownEtags(versions, runner.log.marks())
    for (const version of versions) {
      try {
        present.push({ ...version, etag: etags.get(version) ?? (await fileEtag(version)) })
      } catch (error) {
        failed.push({ file: version.file, error: asMillraceError(error) })
      }
    }
  }
  const plan = planLoads(present, runner.log.marks())
  // A file that could not be read is not gone.
  const unread = new Set(failed.map((f) => f.file))
  const loaded: string[] = []
  const changed: string[] = []
  const bytesTotal = plan.loads.reduce((sum, load) => sum + load.version.bytes, 0)
  const done = { files: 0, records: 0, bytes: 0 }
  for (const load of plan.loads) {
    if (options.signal?.aborted) break
    try {
      await loadFile(runner, load, options, (records, bytes) =>
        options.onProgress?.({
          stream: stream.name,
          files: done.files,
          filesTotal: plan.loads.length,
          records: done.records + records,
          bytes: done.bytes + bytes,
          bytesTotal,
          file: load.version.file,
        }),
      ).then((records) => (done.records += records))
      ;(load.reason === 'changed' ? changed : loaded).push(load.version.file)
    } catch (error) {
      failed.push({ file: load.version.file, error: asMillraceError(error) })
      if (runner.failure) throw runner.failure
    }
    done.files++
    done.bytes += load.version.bytes
  }
  return {
    stream: stream.name,
    loaded,
    changed,
    unchanged: plan.unchanged.length,
    removed: plan.removed.map((file) => file.file).filter((file) => !unread.has(file)),
    unmatched,
    failed,
    records: done.records,
  }
}

async function loadFile(
  runner: StreamRunner,
  load: FileLoad,
  options: LoadOptions,
  onProgress: (records: number, bytes: number) => void,
): Promise<number> {
  const { version, etag } = load
  const source = runner.stream.sources.find((s) => s.name === version.source) as FilesSource
  let { part, fromRecord: records } = load
  const read = { fromRecord: records, ...(options.signal === undefined ? {} : { signal: options.signal }) }
  for await (const batch of readFile(source, version, read)) {
    records += batch.records
    const mark: FileMark = {
      kind: 'file',
      source: version.source,
      file: version.file,
      etag,
      bytes: version.bytes,
      mtimeMs: version.mtimeMs,
      load: load.load,
      part,
      last: batch.last,
      records,
    }
    await appendWhenRoom(runner, { lines: batch.lines, records: batch.records, source: mark }, options)
    part++
    onProgress(records - load.fromRecord, batch.bytesRead)
  }
  return records - load.fromRecord
}

/** A backlog over its bound slows loading down instead of failing it. */
async function appendWhenRoom(
  runner: StreamRunner,
  batch: RecordBatch,
  { append, clock, signal }: LoadOptions,
): Promise<void> {
  for (;;) {
    try {
      if (runner.failure) throw runner.failure
      await append(runner.stream.name, batch)
      return
    } catch (error) {
      if (asMillraceError(error).code !== 'backlog-full' || signal?.aborted) throw error
      await clock.sleep(BACKLOG_WAIT_MS, signal)
    }
  }
}

const BACKLOG_WAIT_MS = 50

/** Ranges that a newer version of their file has replaced, as the log tells. */
export function supersededOf(runner: StreamRunner): Superseded[] {
  return supersededRanges(runner.log.marks()).map(({ partition, offset, to }) => ({ partition, from: offset, to }))
}

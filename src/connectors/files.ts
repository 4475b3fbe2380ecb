import { createHash } from 'node:crypto'
import { isAbsolute, relative, resolve, sep } from 'node:path'
import { glob } from 'tinyglobby'
import { MillraceError } from '../base/errors.ts'
import type { FileFormat, FilesSource } from '../project/source.ts'
import { type Disk, systemDisk } from '../storage/disk.ts'
import { readContent, readRaw } from './files/bytes.ts'
import { CsvFramer } from './files/csv.ts'
import type { Framer } from './files/framer.ts'
import { JsonFramer, NdjsonFramer } from './files/json.ts'
import { parquetFields, readParquet } from './files/parquet.ts'
import { RecordWriter } from './files/records.ts'
import { TextReader } from './files/text.ts'

export { type FileLoad, type FileMark, type MarkedRange } from './files/plan.ts'
export { knownEtags, planLoads, supersededRanges } from './files/plan.ts'

/** A file as it was when it was looked at. */
export interface FileVersion {
  /** Name of the source it belongs to. */
  source: string
  /** Path relative to the project, with forward slashes. */
  file: string
  /** Absolute path. */
  path: string
  bytes: number
  mtimeMs: number
}

/** Some of a file's records, in order. */
export interface FileBatch {
  /** NDJSON, each line ending in a newline (docs/sources.md). Empty only when the whole rest of the file holds no record. */
  lines: Uint8Array
  records: number
  /** Bytes of the file, as it is on disk, read so far. */
  bytesRead: number
  /** No more records follow, and the file was the same version to its end. */
  last: boolean
}

export interface ReadFileOptions {
  /** Leave out this many records: those a broken-off load has recorded already. Default 0. */
  fromRecord?: number
  /** Size that batches aim for. Default 1 MiB. */
  batchBytes?: number
  /** Larger records are rejected. Default 1 MiB. */
  recordLimit?: number
  /** Fields that the file must have, beside those its source speaks of. CSV with field names, and Parquet. */
  fields?: readonly string[]
  signal?: AbortSignal
  disk?: Disk
}

const MIB = 1024 * 1024

/**
 * The files of a source, sorted by name. None is no error: a pattern that matches nothing is for the caller to report.
 *
 * @param projectDirectory absolute path that the source's pattern is relative to
 */
export async function scanFiles(
  source: FilesSource,
  projectDirectory: string,
  disk: Disk = systemDisk,
): Promise<FileVersion[]> {
  const paths = await glob(source.path, {
    cwd: projectDirectory,
    absolute: true,
    onlyFiles: true,
    expandDirectories: false,
  })
  const versions = await Promise.all(
    paths.map(async (found): Promise<FileVersion | undefined> => {
      const path = resolve(found)
      const stat = await disk.stat(path)
      if (stat === undefined || stat.directory) return undefined
      const file = relative(projectDirectory, path)
      return {
        source: source.name,
        file: isAbsolute(file) ? path : file.split(sep).join('/'),
        path,
        bytes: stat.size,
        mtimeMs: stat.mtimeMs,
      }
    }),
  )
  return versions
    .filter((version) => version !== undefined)
    .toSorted((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0))
}

/** The first 32 hexadecimal digits of the SHA-256 of a file as it is on disk. Errors: as `readFile` on changed files. */
export async function fileEtag(
  file: FileVersion,
  options: { signal?: AbortSignal; disk?: Disk } = {},
): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of readRaw(file, { disk: options.disk ?? systemDisk, signal: options.signal }))
    hash.update(chunk)
  return hash.digest('hex').slice(0, 32)
}

/**
 * Reads a file as NDJSON records in batches, at least one, the last one marked. The same content gives the same records
 * however often it is read. Memory does not grow with the file.
 *
 * Errors, after which nothing more of the file can be read: `unavailable`/`file-changed`, `unavailable`/`cancelled`; `invalid`/`bad-gzip`,
 * `bad-json`, `bad-parquet`, `no-header`, `bad-header`, `bad-encoding`, `missing-field`: correct the file or the declaration;
 * `invalid`/`bad-source`, `bad-encoding-name`, `unknown-format`: correct the declaration. A single record that cannot be
 * framed is no error but a record with `$reject`.
 */
export async function* readFile(
  source: FilesSource,
  file: FileVersion,
  options: ReadFileOptions = {},
): AsyncGenerator<FileBatch> {
  const writer = new RecordWriter(source, file, {
    fromRecord: options.fromRecord ?? 0,
    batchBytes: options.batchBytes ?? MIB,
    recordLimit: options.recordLimit ?? MIB,
  })
  let bytesRead = 0
  for await (const read of formatOf(source, file) === 'parquet'
    ? parquet(source, file, writer, options)
    : text(source, file, writer, options)) {
    bytesRead = read
    // One batch is kept back: only the end of the file shows whether it is the last.
    while (writer.ready.length > 1) yield { ...writer.ready.shift()!, bytesRead, last: false }
  }
  writer.flush()
  while (writer.ready.length > 1) yield { ...writer.ready.shift()!, bytesRead, last: false }
  yield { ...(writer.ready.shift() ?? { lines: new Uint8Array(0), records: 0 }), bytesRead: file.bytes, last: true }
}

/** The field names a file declares itself, as they stand in it; undefined when it has none to declare (JSON, CSV without them). */
export async function readHeader(
  source: FilesSource,
  file: FileVersion,
  options: { signal?: AbortSignal; disk?: Disk } = {},
): Promise<readonly string[] | undefined> {
  const format = formatOf(source, file)
  const reading = { disk: options.disk ?? systemDisk, signal: options.signal }
  if (format === 'parquet') return parquetFields(file, reading)
  if (format !== 'csv' || (source.header ?? true) !== true) return undefined
  const framer = new CsvFramer(
    source,
    file,
    new RecordWriter(source, file, { fromRecord: Infinity, batchBytes: MIB, recordLimit: MIB }),
    [],
  )
  const reader = new TextReader(source.encoding ?? 'utf-8', `Source '${source.name}'`)
  for await (const chunk of readContent(file, reading)) {
    framer.push(reader.push(chunk))
    if (framer.header !== undefined) return framer.header
  }
  framer.push(reader.end())
  framer.end()
  return framer.header
}

/** Feeds a text file to its framer; yields the bytes read after each piece. */
async function* text(
  source: FilesSource,
  file: FileVersion,
  writer: RecordWriter,
  options: ReadFileOptions,
): AsyncGenerator<number> {
  const framer = framerOf(source, file, writer, options)
  const reader = new TextReader(source.encoding ?? 'utf-8', `Source '${source.name}'`)
  let bytesRead = 0
  const reading = {
    disk: options.disk ?? systemDisk,
    signal: options.signal,
    onRead: (bytes: number) => (bytesRead = bytes),
  }
  for await (const chunk of readContent(file, reading)) {
    framer.push(reader.push(chunk))
    yield bytesRead
  }
  framer.push(reader.end())
  framer.end()
}

async function* parquet(
  source: FilesSource,
  file: FileVersion,
  writer: RecordWriter,
  options: ReadFileOptions,
): AsyncGenerator<number> {
  const reading = { disk: options.disk ?? systemDisk, signal: options.signal, needed: options.fields ?? [] }
  for await (const share of readParquet(source, file, writer, reading)) yield Math.round(share * file.bytes)
}

function framerOf(source: FilesSource, file: FileVersion, writer: RecordWriter, options: ReadFileOptions): Framer {
  switch (formatOf(source, file)) {
    case 'ndjson':
      return new NdjsonFramer(source, writer)
    case 'json':
      return new JsonFramer(source, file, writer)
    default:
      return new CsvFramer(source, file, writer, options.fields ?? [])
  }
}

const FORMATS: Record<string, FileFormat> = {
  csv: 'csv',
  tsv: 'csv',
  ndjson: 'ndjson',
  jsonl: 'ndjson',
  json: 'json',
  parquet: 'parquet',
}

/** The format declared, or else that of the extension. Throws `invalid`/`unknown-format`. */
function formatOf(source: FilesSource, file: FileVersion): FileFormat {
  const extension = /\.([^./]+?)(?:\.gz)?$/i.exec(file.file)?.[1]?.toLowerCase() ?? ''
  const format = source.format ?? FORMATS[extension]
  if (format !== undefined) return format
  throw new MillraceError('invalid', 'unknown-format', `${file.file}: its name does not tell the format of the file.`, {
    hint: `Give source '${source.name}' a format: csv, ndjson, json or parquet.`,
    context: { source: source.name, file: file.file },
  })
}

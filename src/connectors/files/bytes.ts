import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { MillraceError, messageOf } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import type { FileVersion } from '../files.ts'

export interface ReadOptions {
  disk: Disk
  signal: AbortSignal | undefined
  /** Called with the number of bytes of the file (compressed, if it is) read so far. */
  onRead?: (bytes: number) => void
}

const CHUNK_BYTES = 128 * 1024

export function isGzip(path: string): boolean {
  return /\.gz$/i.test(path)
}

/** The content of a file in chunks, gunzipped when its name ends in `.gz`. Errors: as `readRaw`, and `invalid`/`bad-gzip`. */
export async function* readContent(file: FileVersion, options: ReadOptions): AsyncGenerator<Buffer> {
  if (!isGzip(file.path)) {
    yield* readRaw(file, options)
    return
  }
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
  const raw = readRaw(file, options)
  // The callback only keeps a failure from being thrown twice: iterating gunzip throws it.
  pipeline(Readable.from(raw, { objectMode: false }), gunzip, () => undefined)
  try {
    for await (const chunk of gunzip) yield chunk as Buffer
  } catch (error) {
    throw gzipError(error, file)
  } finally {
    // The streams close the file some time after they are given up; the caller may rely on its being closed.
    await raw.return(undefined)
  }
}

/**
 * The bytes of a file as they are on disk. Errors: `unavailable`/`file-changed` when it is not, or does not stay, the
 * version that was asked for; `unavailable`/`cancelled`; those of the disk.
 */
export async function* readRaw(file: FileVersion, { disk, signal, onRead }: ReadOptions): AsyncGenerator<Buffer> {
  await expectUnchanged(file, disk)
  const handle = await disk.open(file.path, 'read')
  try {
    for (let position = 0; ;) {
      throwIfCancelled(file, signal)
      const chunk = await handle.read(position, CHUNK_BYTES)
      position += chunk.length
      if (chunk.length === 0) break
      onRead?.(position)
      yield chunk
    }
  } finally {
    await handle.close()
  }
  await expectUnchanged(file, disk)
}

/** Throws `unavailable`/`file-changed` unless size and modification time on disk are the version's. */
export async function expectUnchanged(file: FileVersion, disk: Disk): Promise<void> {
  const now = await disk.stat(file.path)
  if (now !== undefined && now.size === file.bytes && now.mtimeMs === file.mtimeMs) return
  throw new MillraceError(
    'unavailable',
    'file-changed',
    `${file.file} ${now === undefined ? 'was removed' : 'changed'} while it was being loaded.`,
    {
      hint: 'It is tried again by itself. Writing under another name and renaming the finished file avoids this.',
      context: { source: file.source, file: file.file },
    },
  )
}

export function throwIfCancelled(file: FileVersion, signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return
  throw new MillraceError('unavailable', 'cancelled', `Loading ${file.file} was cancelled.`, {
    hint: 'It goes on from the last recorded part when the project runs again.',
    context: { source: file.source, file: file.file },
  })
}

function gzipError(error: unknown, file: FileVersion): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (!code.startsWith('Z_')) return error
  const truncated = code === 'Z_BUF_ERROR'
  return new MillraceError(
    'invalid',
    'bad-gzip',
    `${file.file}: ${truncated ? 'the gzip data ends too early; the file is not complete' : `the gzip data is damaged (${messageOf(error)})`}.`,
    {
      hint: 'Deliver the file again, whole; what was read of it is then replaced.',
      context: { source: file.source, file: file.file },
      cause: error,
    },
  )
}

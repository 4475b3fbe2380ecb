import { join } from 'node:path'
import { MillraceError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import type { Disk } from '../../storage/disk.ts'
import { replaceFile } from '../../storage/disk.ts'
import type { StreamLog } from '../log.ts'
import type { StoredFile } from './files.ts'
import { FrameCache, frameOf, listFiles, storedHeaders } from './files.ts'
import type { FrameHeader } from './frame.ts'
import { headerBytesMax } from './frame.ts'
import { KeyTable } from './keys.ts'
import type { LogLimits } from './limits.ts'
import { defaultLogLimits } from './limits.ts'
import { MarkLedger } from './marks.ts'
import { LocalPartition } from './partition.ts'
import { recoverTail } from './recover.ts'
import type { Tail } from './writer.ts'
import { newTail } from './writer.ts'

export interface LocalLogOptions {
  /** The stream's own directory; made when missing. The caller holds the data directory's lock. */
  readonly directory: string
  readonly stream: string
  /** May grow, never shrink. Records of one key that came before and after may then be in different partitions. */
  readonly partitions: number
  readonly disk: Disk
  readonly clock: Clock
  readonly limits?: Partial<LogLimits>
  /** Called once, when a write or fsync has failed and nothing will be acknowledged any more. The process should end. */
  onFatal(error: MillraceError): void
  /** Records have been made durable in a partition. */
  onGrown?(partition: number): void
}

/**
 * Opens (or makes) the embedded log of a stream and recovers it: docs/formats/log.md.
 *
 * Errors: `corrupt`/`log-corrupt` or `log-gap` naming file and byte, `invalid`/`partitions-decreased`, `invalid`/`log-version`.
 */
export async function openLocalLog(options: LocalLogOptions): Promise<StreamLog> {
  const limits = { ...defaultLogLimits, ...options.limits }
  await options.disk.makeDirectory(options.directory)
  await checkManifest(options)
  const partitions: LocalPartition[] = []
  let failed = false
  const onFatal = (error: MillraceError): void => {
    if (failed) return
    failed = true
    for (const partition of partitions) partition.fail(error)
    options.onFatal(error)
  }
  const numbers = Array.from({ length: options.partitions }, (_, partition) => partition)
  partitions.push(
    ...(await Promise.all(numbers.map((partition) => openPartition(options, partition, limits, onFatal)))),
  )
  return {
    stream: options.stream,
    partitions,
    marks: () => partitions.flatMap((partition) => partition.marks.list()),
    close: async () => {
      await Promise.all(partitions.map((partition) => partition.close()))
    },
  }
}

interface Manifest {
  readonly format: number
  readonly stream: string
  readonly partitions: number
}

async function checkManifest({ disk, directory, stream, partitions }: LocalLogOptions): Promise<void> {
  const path = join(directory, 'log.json')
  const manifest: Manifest = { format: 1, stream, partitions }
  if ((await disk.stat(path)) !== undefined) {
    const found = parseManifest(path, (await disk.readFile(path)).toString('utf8'))
    if (found.format !== manifest.format) {
      throw new MillraceError(
        'invalid',
        'log-version',
        `${path} has format ${found.format}; this Millrace reads ${manifest.format}.`,
        {
          hint: 'Use the newer Millrace that wrote it.',
        },
      )
    }
    if (found.stream !== stream) {
      throw new MillraceError(
        'invalid',
        'log-of-other-stream',
        `${path} belongs to stream '${found.stream}', not '${stream}'.`,
        {
          hint: 'Give each stream a directory of its own.',
        },
      )
    }
    if (found.partitions > partitions) {
      throw new MillraceError(
        'invalid',
        'partitions-decreased',
        `Stream '${stream}' has ${found.partitions} partitions, ${partitions} are declared.`,
        {
          hint: `Declare ${found.partitions} or more: a partition holds records and cannot go away.`,
        },
      )
    }
    if (found.partitions === partitions) return
  }
  await replaceFile(disk, path, Buffer.from(`${JSON.stringify(manifest)}\n`))
}

function parseManifest(path: string, text: string): Manifest {
  try {
    return JSON.parse(text) as Manifest
  } catch (cause) {
    throw new MillraceError('corrupt', 'log-corrupt', `${path} is not JSON.`, {
      hint: 'Restore it from a copy.',
      context: { path, position: 0 },
      cause,
    })
  }
}

async function openPartition(
  options: LocalLogOptions,
  partition: number,
  limits: LogLimits,
  onFatal: (error: MillraceError) => void,
): Promise<LocalPartition> {
  const { disk, clock, stream } = options
  const directory = join(options.directory, String(partition))
  await disk.makeDirectory(directory)
  const { files, tail: found } = await listFiles(disk, directory)
  const marks = await MarkLedger.open(disk, directory, partition)
  const memory = new Memory(marks, new KeyTable(limits), clock)
  const cache = new FrameCache(limits.cachedFrames)
  const past = await headersNeeded(disk, files, { cache, covered: marks.covered, limits, nowMs: clock.now() })
  for (const header of past) memory.add(header)
  const tail = found === undefined ? undefined : await openTail(disk, found, limits, memory)
  return new LocalPartition({
    files,
    marks,
    cache,
    onGrown: () => options.onGrown?.(partition),
    writer: {
      place: { stream, partition, directory },
      disk,
      clock,
      limits,
      keys: memory.keys,
      end: tail?.to ?? files.at(-1)?.to ?? 0,
      tail,
      onFatal,
    },
  })
}

async function openTail(
  disk: Disk,
  { path, from }: { readonly path: string; readonly from: number },
  limits: LogLimits,
  memory: Memory,
): Promise<Tail> {
  const tail = newTail(path, from)
  const { bytes, to } = await recoverTail(disk, path, from, headerBytesMax(limits), {
    frame: (header, _, line) => {
      memory.add(header)
      tail.frames.push(frameOf({ header, line }))
      tail.lines = line + 1 + header.records
    },
  })
  tail.bytes = bytes
  tail.to = to
  return tail
}

/** What the log remembers of its frames: keys and marks. */
class Memory {
  readonly marks: MarkLedger
  readonly keys: KeyTable
  readonly #clock: Clock

  constructor(marks: MarkLedger, keys: KeyTable, clock: Clock) {
    this.marks = marks
    this.keys = keys
    this.#clock = clock
  }

  /** Frames are added in order. */
  add({ offset: from, records, key, mark, bytes, crc, atMs }: FrameHeader): void {
    const to = from + records
    if (mark !== undefined) this.marks.add(from, to, mark)
    if (key !== undefined) this.keys.add(key, { from, to, bytes, crc, atMs }, this.#clock.now())
  }
}

/**
 * Headers, in order, of those frames of sealed files that carry a mark which the sidecar does not have, or a key that may
 * still be repeated. Segments not yet merged are all walked, so a gap in them is found now and not when they are needed.
 */
async function headersNeeded(
  disk: Disk,
  files: readonly StoredFile[],
  needs: { readonly cache: FrameCache; readonly covered: number; readonly limits: LogLimits; readonly nowMs: number },
): Promise<FrameHeader[]> {
  const { cache, covered, limits, nowMs } = needs
  const byFile: FrameHeader[][] = []
  let keys = 0
  let keysWanted = true
  for (const file of files.toReversed()) {
    if (!keysWanted && file.to <= covered && file.compression === 'zstd') break
    const frames = await storedHeaders(disk, file, headerBytesMax(limits))
    cache.set(file.path, frames.map(frameOf))
    const newestMs = frames.reduce((newest, { header }) => Math.max(newest, header.atMs), 0)
    keysWanted &&= keys < limits.keys && newestMs >= nowMs - limits.keyAgeMs
    const needed = frames
      .map(({ header }) => header)
      .filter((header) => header.mark !== undefined || (keysWanted && header.key !== undefined))
    keys += needed.reduce((sum, { key }) => sum + (key === undefined ? 0 : 1), 0)
    byFile.push(needed)
  }
  return byFile.reverse().flat()
}

import type { MillraceError } from '../../base/errors.ts'
import { asMillraceError } from '../../base/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import { FrameScanner, crcOf, decodeHeader } from './frame.ts'
import type { ScanHandlers } from './frame.ts'
import { headerPositions, rawChunks } from './read.ts'

export interface RecoveredTail {
  /** Length of the whole and right frames. */
  readonly bytes: number
  /** Offset after the last of them. */
  readonly to: number
  /** Bytes of a torn write that were cut off. */
  readonly cut: number
}

/**
 * Reads the tail segment whole, cuts off a torn write and syncs what is left, so that whatever is read from it from here
 * on is durable. Throws `corrupt`/`log-corrupt` when bytes changed after they were written (docs/formats/log.md, "Torn
 * tail and corruption").
 */
export async function recoverTail(
  disk: Disk,
  path: string,
  from: number,
  headerMax: number,
  handlers: ScanHandlers,
): Promise<RecoveredTail> {
  const scanner = new FrameScanner(path, from, headerMax, handlers)
  let damage: MillraceError | undefined
  try {
    for await (const chunk of rawChunks(disk, { path, compression: 'none' })) scanner.push(chunk)
    scanner.finish()
  } catch (error) {
    damage = asMillraceError(error)
    if (damage.code !== 'log-corrupt') throw damage
  }
  const file = await disk.open(path, 'update')
  try {
    const cut = (await file.size()) - scanner.position
    if (damage !== undefined) {
      const rest = await file.read(scanner.position, cut)
      if (!isTorn(rest, scanner.offset, headerMax)) throw damage
      await file.truncate(scanner.position)
    }
    await file.dataSync()
    return { bytes: scanner.position, to: scanner.offset, cut }
  } finally {
    await file.close()
  }
}

/**
 * Whether bytes that begin with a bad frame at `offset` are a write that never finished, rather than one that was changed
 * later: they end before the frame does, or parts of them read as zeros and no frame of a later write follows.
 */
export function isTorn(rest: Buffer, offset: number, headerMax: number): boolean {
  const newline = rest.indexOf(10)
  if (newline === -1 && rest.length <= headerMax) return true
  const header = newline === -1 ? undefined : decodeHeader(rest.subarray(0, newline))
  if (header !== undefined && header.offset === offset && newline + 1 + header.bytes > rest.length) return true
  if (!rest.includes(0)) return false
  return !holdsLaterWrite(rest, offset)
}

function holdsLaterWrite(rest: Buffer, offset: number): boolean {
  for (const at of headerPositions(rest)) {
    const newline = rest.indexOf(10, at)
    if (newline === -1) return false
    const header = decodeHeader(rest.subarray(at, newline))
    if (header === undefined || header.write <= offset) continue
    const payload = rest.subarray(newline + 1, newline + 1 + header.bytes)
    if (payload.length === header.bytes && crcOf([payload]) === header.crc) return true
  }
  return false
}

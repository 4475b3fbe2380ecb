/** Every bound of the embedded log, in one place. Per partition unless said otherwise. */
export interface LogLimits {
  /** Payload bytes of one append. */
  readonly appendBytes: number
  /** Payload bytes that may wait for the disk; beyond it appends are refused. */
  readonly pendingBytes: number
  /** Payload bytes after which a write takes no further append: bounds how long an acknowledgement waits for its neighbours. */
  readonly writeBytes: number
  /** A segment this long is sealed by itself. */
  readonly segmentBytes: number
  /** Idempotency keys remembered: how many, how long, and the length of one. */
  readonly keys: number
  readonly keyAgeMs: number
  readonly keyLength: number
  /** Bytes of one source mark as JSON. */
  readonly markBytes: number
  /** Raw bytes of a merged file, about. */
  readonly mergedBytes: number
  /** Small files below the checkpoint are merged when there are this many, however small. */
  readonly mergedFiles: number
  /** Zstandard level of merged files. */
  readonly compressionLevel: number
  /** Frames of sealed segments kept in memory; those of other segments are read again when asked for. */
  readonly cachedFrames: number
}

const MiB = 1024 * 1024

export const defaultLogLimits: LogLimits = {
  appendBytes: 64 * MiB,
  pendingBytes: 128 * MiB,
  writeBytes: 16 * MiB,
  segmentBytes: 64 * MiB,
  keys: 1_000_000,
  keyAgeMs: 24 * 60 * 60 * 1000,
  keyLength: 512,
  markBytes: 64 * 1024,
  mergedBytes: 64 * MiB,
  mergedFiles: 64,
  compressionLevel: 3,
  cachedFrames: 100_000,
}

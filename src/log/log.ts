import type { MillraceError } from '../base/errors.ts'

/** A stream's durable log: the port. Adapters: `local/` (segment files), `kafka/` (topics); conformance suite: test/log/conformance.ts. */
export interface StreamLog {
  readonly stream: string
  readonly partitions: readonly PartitionLog[]
  /** Every source mark ever appended, by partition and offset; neighbours with equal marks are one entry. */
  marks(): readonly Mark[]
  /** What reading waits for, where records come from elsewhere: it goes on by itself. */
  waitingFor?(): MillraceError | undefined
  /** Waits for appends under way, refuses new ones, releases files. */
  close(): Promise<void>
}

/**
 * One ordered slice of a stream. Offsets number its records. The embedded log counts from 0 without gaps; on Kafka offsets begin where
 * the topic does, and skip what is no record (transaction markers, what compaction removed): frames tell.
 */
export interface PartitionLog {
  readonly partition: number
  /** First offset still kept. */
  readonly start: number
  /** Offset after the last record that is acknowledged, by this process or, as far as it knows, by others. Never goes back. */
  readonly end: number
  /** Offset up to which the lake has committed; `start` until told. */
  readonly checkpoint: number
  /** Raw bytes between checkpoint and end; exact at segment borders, in proportion to records within a segment. */
  readonly backlogBytes: number
  readonly backlogRecords: number
  /** Bytes held on disk. */
  readonly bytes: number

  /**
   * Adds records in the given order; resolves when they are durable. Buffers must not be changed before that.
   *
   * Errors: `unavailable`/`backlog-full` (too much waits for the disk), `invalid`/`append-too-large`,
   * `invalid`/`bad-key`, `invalid`/`bad-mark`, `invalid`/`idempotency-mismatch`, `unavailable`/`log-closed`; after a failed write or fsync
   * always the error that ended the log (`unavailable`/`disk-full`, `corrupt`/`io-error`, …).
   */
  append(batch: RecordBatch): Promise<Appended>

  /**
   * Sealed segments with the records from `from` on, oldest first, each beginning where the one before ends; the first may begin before
   * `from`. They reach to `end`, or where records come from elsewhere as far as they are here: then call again, also when there
   * are none yet. What lies below `from` need not be kept any longer, unless held. Errors as `segments`.
   */
  take(from: number): Promise<Segment[]>

  /**
   * Segments that hold the records of [from, to), oldest first, for reading them again; `to` is the end if left out. The first may begin
   * before `from`, the last end after `to`. A segment may be gone once the next one is asked for.
   *
   * Errors: `invalid`/`offset-gone` when retention has removed `from`; `corrupt`/`log-behind` when `from` lies beyond the end.
   */
  segments(from: number, to?: number): AsyncIterable<Segment>

  /** Offset of the first record that arrived at `atMs` (ms since the epoch) or later; `end` for none. */
  offsetAt(atMs: number): Promise<number>

  /** The frames of a segment, in order, each with consecutive offsets: which lines of it are headers, when each arrived, its mark. */
  frames(segment: Segment): Promise<readonly Frame[]>

  /** The exact bytes, without the newline, of the records at these offsets, in the order asked. Errors: `invalid`/`not-in-segment`. */
  readRecords(segment: Segment, offsets: readonly number[]): Promise<Buffer[]>

  /** Keeps the files of segments listed until now on disk, whatever compaction and retention do, until the returned function is called. */
  hold(): () => void

  /** Finds out where the log begins and ends now, where other processes append and remove too. */
  look(): Promise<void>

  /**
   * Begins to tell of records that come, and finds out which came meanwhile where other processes append: from here on
   * they are processed from `offset`. Errors: `corrupt`/`log-behind` when it lies beyond the end.
   */
  follow(offset: number): Promise<void>

  /** Another process goes on from here: what was read ahead is let go. */
  leave(): Promise<void>

  /** Tells that the lake holds everything below `offset`. Going back is ignored. Errors: `corrupt`/`log-behind` beyond the end. */
  checkpointed(offset: number): void

  /** Merges small sealed segments below the checkpoint into compressed ones. Returns the number of files merged away. */
  compact(): Promise<number>

  /** Removes oldest records, by whole files, that are below the checkpoint and past either bound. Returns the new start. */
  retain(policy: Retention): Promise<number>

  /** Reads everything back and checks it. Corruption found is returned, not thrown; only the first is reported. */
  verify(): Promise<Verification>
}

export interface RecordBatch {
  /** Complete lines, each ending in `\n`, none blank: one buffer, or several read as if concatenated. */
  readonly lines: readonly Uint8Array[] | Uint8Array
  /** Number of lines. */
  readonly records: number
  /** Idempotency key: a second append with it changes nothing and gets the first one's offsets. */
  readonly key?: string
  /** Where the records came from: any JSON value, kept for ever (see `marks`). */
  readonly source?: unknown
  /** When they arrived, ms since the epoch, where that was in another log before. Default: now. */
  readonly atMs?: number
}

/** Offsets [from, to) of an append. `repeated`: its key was known and nothing was written. */
export interface Appended {
  readonly from: number
  readonly to: number
  readonly repeated: boolean
}

/** A file of whole frames that will not change: NDJSON, headers among the records (docs/formats/log.md). Plain data. It may hold no record. */
export interface Segment {
  readonly partition: number
  readonly path: string
  readonly compression: 'none' | 'zstd'
  /** Offsets [from, to), gaps included. */
  readonly from: number
  readonly to: number
  /** Size on disk. */
  readonly bytes: number
  /** Size uncompressed, headers included. */
  readonly rawBytes: number
}

/** An append within a segment, or on Kafka what came together. */
export interface Frame {
  /** Offset of its first record. */
  readonly offset: number
  readonly records: number
  /** Line number of its header in the segment, from 0. Record `offset + i` is line `line + 1 + i`. */
  readonly line: number
  /** When it was appended, ms since the epoch. */
  readonly atMs: number
  readonly mark?: unknown
}

/** Records [offset, to) of a partition came from `mark`. */
export interface Mark {
  readonly partition: number
  readonly offset: number
  readonly to: number
  readonly mark: unknown
}

export interface Retention {
  /** Files whose newest record is older are removed. */
  readonly ageMs?: number
  /** Oldest files are removed until the partition holds no more than this on disk. */
  readonly bytes?: number
}

export interface Verification {
  readonly files: number
  readonly frames: number
  readonly records: number
  readonly rawBytes: number
  /** `corrupt`/`log-corrupt`, naming file and byte position. */
  readonly corruption?: Error
}

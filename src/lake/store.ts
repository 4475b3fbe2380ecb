/** A file to write: nothing refers to it before it is durable. */
export interface NewFile {
  readonly path: string
  readonly bytes: Uint8Array
}

/** A file that is to be put if there is none of its name. */
export interface Draft {
  /** Prepares it; nobody sees it yet. */
  write(): Promise<void>
  /**
   * Puts it, after `write`; durable with all files written to the same directory when it resolves. Returns whether it is ours:
   * false when somebody else's was there. Throws `corrupt` / `commit-unknown` when it may be there or not, or may not
   * last; anything else thrown means that it is not there.
   */
  publish(): Promise<boolean>
  /** Clears away what `write` left; called in any case. */
  discard(): Promise<void>
}

/**
 * Where a lake keeps its files: a directory, or a bucket. Files are written once and never changed, so that nothing but
 * `Draft` needs care when several processes write. Addresses are in the normal form of location.ts.
 */
export interface LakeStore {
  /** Tables lie in `root/<namespace>/<name>`. */
  readonly root: string
  /** What an Iceberg client needs to reach the files, as its own settings call it; never credentials. */
  readonly clientSettings: Readonly<Record<string, string>>
  /** The files' local side: where an engine in this process reads and writes them. */
  readonly local: LocalFiles
  /** Whether a table may lie at a place. */
  reaches(location: string): boolean
  /** Throws `invalid` / `not-found`. */
  read(location: string): Promise<Buffer>
  exists(location: string): Promise<boolean>
  /** Names directly below a place, of files and of what holds files; empty when there is none. */
  names(place: string): Promise<string[]>
  /** All files below a place, however deep. */
  files(place: string): AsyncIterable<{ readonly location: string; readonly modifiedMs: number }>
  /** Writes a new file of a name nobody else has; durable, but for its name on a disk, when it resolves. */
  write(file: NewFile): Promise<void>
  /** Makes the names of files durable that were written directly below a place. */
  settle(place: string): Promise<void>
  draft(location: string, bytes: Buffer): Draft
  /** Writes a small file over any that is there; readers see the old one or the new one, and after a power loss either. */
  note(location: string, bytes: Buffer): Promise<void>
  /** Removes a file; none is no error. */
  remove(location: string): Promise<void>
  /** Gives up what was begun to be written below a place before a time, ms, and never ended, where that takes up room. */
  abandonUploads(place: string, beforeMs: number): Promise<void>
  /** Prepares the place of a namespace, which may be there. */
  makeNamespace(name: string): Promise<void>
  /** Prepares the places `data` and `metadata` of a table, which may be there. */
  makeTable(location: string): Promise<void>
  /** Prepares for work on a table that is there. */
  openTable(location: string): Promise<void>
  /** Removes a table with all its files. Wherever it is interrupted the table is whole or is none. */
  removeTable(location: string): Promise<void>
}

/** The local side of a store: paths for engines that know only the file system of this machine. */
export interface LocalFiles {
  /** Everything below it may be read by those who query the lake. */
  readonly directory: string
  /** Where a file of the lake is read and written on this machine. Places elsewhere keep their path. */
  pathOf(location: string): string
  /** The inverse of `pathOf`. */
  locationOf(path: string): string
  /** Files that somebody reads. */
  hold(): Hold
  /** Makes files durable that were written to their local path and belong to a table. */
  sync(locations: readonly string[], table: string): Promise<void>
}

/** Keeps files at their local paths while they are read. */
export interface Hold {
  /** Errors: `unavailable` / `cache-full` when they do not fit beside what others read; those of the store. */
  add(files: readonly { readonly path: string; readonly bytes?: number }[]): Promise<void>
  release(): void
}

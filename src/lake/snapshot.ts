import type { DataFile } from './data-file.ts'

/**
 * What a commit did to the rows: `append` only added, `overwrite` added and removed, `delete` only removed, `replace`
 * changed files but no row (compaction).
 */
export type Operation = 'append' | 'overwrite' | 'replace' | 'delete'

/** One committed version of a table. */
export interface Snapshot {
  readonly id: bigint
  readonly parentId?: bigint
  /** Grows by one with each snapshot of the table. */
  readonly sequenceNumber: bigint
  readonly timestampMs: number
  readonly operation: Operation
  /** Everything but the operation: Iceberg's totals and our `millrace.*` keys. */
  readonly summary: Readonly<Record<string, string>>
  readonly schemaId: number
}

/** What to commit. */
export interface Commit {
  readonly operation: Operation
  readonly add: readonly DataFile[]
  /** Paths of live files. One that is not live in the parent fails the commit with `conflict` / `file-not-live`. */
  readonly remove: readonly string[]
  /**
   * Own keys, `millrace.*`. The lake adds Iceberg's counts and totals. As a function: of the snapshots that the commit comes to
   * stand on, newest first, those that another process committed a moment ago among them. It is asked again when
   * there are newer, and may throw, which ends the commit.
   */
  readonly summary: Readonly<Record<string, string>> | ((line: Iterable<Snapshot>) => Readonly<Record<string, string>>)
  /** Branch to commit to, `main` by default. A new branch begins at main's snapshot; main does not move. */
  readonly ref?: string
  /** The snapshot the ref must be at (null: none), else `conflict` / `moved`. Without it a lost race is rebased and retried. */
  readonly parent?: bigint | null
}

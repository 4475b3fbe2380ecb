import type { PartitionValue } from './transform.ts'

/** What is known of one column in one data file. Counts include nulls; bounds are in Iceberg's single-value form. */
export interface ColumnStats {
  readonly bytes?: number
  readonly values?: number
  readonly nulls?: number
  readonly nans?: number
  readonly lower?: Uint8Array
  readonly upper?: Uint8Array
}

/** A Parquet file of a table. */
export interface DataFile {
  /** Absolute path. */
  readonly path: string
  readonly records: number
  readonly bytes: number
  /** One value for each field of the table's partition, in its order. */
  readonly partition: readonly PartitionValue[]
  /** By field id. */
  readonly columns: Readonly<Record<number, ColumnStats>>
  /** Byte offsets of the row groups. */
  readonly splitOffsets?: readonly number[]
  /** The partition spec the file was written under; of files in the table only. */
  readonly specId?: number
  /** Set when the file is fsynced already: the commit then does not do it again. */
  readonly synced?: boolean
}

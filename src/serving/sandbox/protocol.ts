import type { SerializedError } from '../../base/errors.ts'
import type { ParameterValues } from '../../engine/duckdb/bind.ts'

/** What a query process is started with. Sent once; the settings it leads to are locked afterwards. */
export interface SandboxSettings {
  /** Directories that relations may read from, and no others. Fixed for the life of the process. */
  readonly roots: readonly string[]
  /** An empty directory of this process's own: spilled intermediates and Parquet answers. */
  readonly temporary: string
  /** What DuckDB may allocate by its own account. The process as a whole is bounded a little above. */
  readonly memoryBytes: number
  readonly temporaryBytes: number
  readonly threads: number
  /** Views kept over relations; the least recently used goes first. */
  readonly views: number
}

/** A relation as it crosses the process border. */
export interface SandboxRelation {
  readonly name: string
  readonly version: string
  readonly sql: string
  readonly columns: readonly { readonly name: string; readonly json: boolean }[]
}

/** `arrays` and `objects` are JSON rows, comma separated, without the brackets around. */
export type RowFormat = 'arrays' | 'objects' | 'csv'

export interface SandboxQuery {
  readonly sql: string
  readonly parameters: ParameterValues
  readonly relations: readonly SandboxRelation[]
  readonly format: RowFormat | 'parquet'
  readonly maxRows: number
  readonly maxBytes: number
  /** Number of trailing columns that order the rows: not part of the answer, reported for the last row. */
  readonly keys: number
}

/** What the gate found in a statement it let pass. */
export interface Analysis {
  /** Relations referred to, each once, with the place of the first mention. */
  readonly tables: readonly { readonly name: string; readonly position: number | undefined }[]
  /** False when the same data may give another answer: now(), random(), a sample. */
  readonly stable: boolean
}

export interface ResultColumn {
  readonly name: string
  /** Millrace's name of the type, or DuckDB's in lower case where Millrace has none. */
  readonly type: string
}

export interface QueryOutcome {
  readonly columns: readonly ResultColumn[]
  readonly rows: number
  /** There were more rows than `maxRows`. */
  readonly truncated: boolean
  /** The key columns of the last row as text, and how many rows at the end share them. */
  readonly last: { readonly keys: readonly (string | null)[]; readonly tied: number } | undefined
  /** The Parquet answer. The receiver removes it. */
  readonly file: { readonly path: string; readonly bytes: number } | undefined
}

export type ToSandbox =
  | { readonly type: 'start'; readonly settings: SandboxSettings }
  | { readonly type: 'analyse'; readonly sql: string }
  | { readonly type: 'query'; readonly query: SandboxQuery }
  | { readonly type: 'interrupt' }

export type FromSandbox =
  | { readonly type: 'ready' }
  /** A request has arrived: from here on, an end of the process is that request's doing. */
  | { readonly type: 'begun' }
  | { readonly type: 'analysed'; readonly analysis: Analysis }
  | { readonly type: 'part'; readonly bytes: Uint8Array }
  | { readonly type: 'done'; readonly outcome: QueryOutcome; readonly worn: boolean }
  | { readonly type: 'failed'; readonly error: SerializedError; readonly worn: boolean }

import type { RecordLines } from '../log/lines.ts'
import type { IdentifiedField } from '../project/columns.ts'
import type { Endpoint } from '../project/endpoint.ts'

/** What serving needs of the running platform. The composition root supplies it; serving never reaches into the runtime. */
export interface Platform {
  readonly project: string
  /** Undefined when ready; else what is being waited for. */
  notReady(): string | undefined
  /** Appends records to a stream; resolves when they are durable. Throws unavailable/backlog-full, invalid/unknown-dataset … */
  append(stream: string, batch: IncomingBatch): Promise<{ received: number; repeated: boolean }>
  datasets(): Promise<DatasetStatus[]>
  /** Throws invalid/unknown-dataset with a suggestion. */
  dataset(name: string): Promise<DatasetDetail>
  endpoints(): readonly Endpoint[]
  /** Names of the streams: what ingest checks before it reads a body. */
  streamNames(): readonly string[]
  /** Names that SQL may refer to. */
  relationNames(): readonly string[]
  /** The published rows of a dataset (for a stream: with its hot rows). Files stay readable until `release`. */
  relation(name: string): Promise<Relation>
  /** The rows in quarantine of a dataset. */
  quarantine(name: string): Promise<Relation>
  /** Writes asked for by the command line beside a running server: `run`, `replay`, `quarantine-replay`, `maintain`, `verify`. */
  control(
    verb: string,
    input: Record<string, unknown>,
    progress: (event: Record<string, unknown>) => void,
  ): Promise<unknown>
}

/** Records as a request brought them, with its Idempotency-Key. The buffers are used again once `append` has resolved. */
export interface IncomingBatch extends RecordLines {
  key?: string
}

/** Something DuckDB can select from. */
export interface Relation {
  readonly name: string
  /** Changes whenever the rows do: made of snapshot ids and, for hot rows, a counter. Material for ETags and caches. */
  readonly version: string
  readonly fields: readonly IdentifiedField[]
  /** A DuckDB table expression over local files: goes after FROM. */
  readonly sql: string
  /** Directories the expression reads from. */
  readonly directories: readonly string[]
  /** Rows, where metadata tells. */
  readonly rows?: number
  /** Tells the platform that the files are no longer being read. */
  release(): void
}

export interface DatasetStatus {
  name: string
  kind: 'stream' | 'table'
  /** `ok`, `blocked` (an audit failed: the last good snapshot is served), `failed` (the last refresh threw), `held` (an input is blocked or failed), `empty`. */
  state: 'ok' | 'blocked' | 'failed' | 'held' | 'empty'
  /** Why, when not ok. */
  reason?: string
  /** Newest snapshot id, as text (64 bits), published or not. */
  snapshot: string | null
  /** Published snapshot id. */
  published: string | null
  /** Rows published. */
  rows: number
  received: number
  accepted: number
  duplicates: number
  quarantined: number
  /** Whether it has a quarantine: rows that do not fit, or that its function fails for, are kept there. */
  refuses: boolean
  /** Acknowledged records not yet in a published snapshot (streams), or input snapshots not yet derived (tables). */
  lag: number
  /** Age of the newest published data in milliseconds; null when there is none. */
  freshness_ms: number | null
}

export interface DatasetDetail extends DatasetStatus {
  doc?: string
  fields: readonly IdentifiedField[]
  /** Names of the datasets it reads and of those that read it. */
  inputs: string[]
  outputs: string[]
  checks: {
    name: string
    severity: 'quarantine' | 'warn' | 'block'
    state: 'passed' | 'failed' | 'unknown'
    message?: string
  }[]
  files: number
  bytes: number
  /** The declaration's SQL, for tables. */
  sql?: string
}

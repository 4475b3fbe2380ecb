import type { IdentifiedField } from './columns.ts'

/** How a dataset is: what `GET /v1/datasets` and `millrace status --json` tell of each. */
export interface DatasetStatus {
  name: string
  kind: 'stream' | 'table'
  /** `ok`, `blocked` (an audit failed: the last good snapshot is served), `failed` (the last refresh threw), `held` (an input is blocked or failed, or what it reads from does not answer), `empty`. */
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
  /** Acknowledged records not yet in a published snapshot (streams), or input snapshots not yet derived (tables). Null where the answering process does not see the log. */
  lag: number | null
  /** Age of the newest published data in milliseconds; null when there is none. */
  freshness_ms: number | null
  /** Event time up to which all that is on time has come, ISO 8601 UTC; null without an event time, or before the first event. */
  watermark: string | null
  /** The project's code that is called with its changes, where there is any. */
  handlers?: HandlerStatus[]
}

/** How a handler does. */
export interface HandlerStatus {
  name: string
  /** `failed`: the last call failed, and is made again. */
  state: 'ok' | 'failed'
  /** Published changes that were not delivered whole. */
  lag: number
  /** Failed calls in a row. */
  failures: number
  /** What went wrong the last time, while `failed`. */
  last_error?: string
}

/** All that is known of one dataset: `GET /v1/datasets/{name}`. */
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

/** Something that ran: what `GET /v1/runs` and `millrace status --runs --json` tell of each. */
export interface RunStatus {
  id: string
  /** `refresh`: a step of a table. */
  kind: string
  dataset?: string
  /** The process. */
  holder: string
  /** ISO 8601 UTC. */
  started_at: string
  /** Null while it runs, and for one whose process ended before it did. */
  ended_at: string | null
  outcome: 'succeeded' | 'failed' | 'stopped' | null
  /** `rows` of the table afterwards, of these `added`, and `removed`; `intervals` that were computed. */
  counts?: Record<string, number>
  error?: { code: string; message: string; hint?: string }
}

export interface RunsQuestion {
  dataset?: string
  outcome?: 'succeeded' | 'failed' | 'stopped'
  /** Those that began before the run of this id. */
  before?: string
  limit?: number
}

import type { ParameterValues } from '../engine/duckdb/bind.ts'
import type { RecordLines } from '../log/lines.ts'
import type { IdentifiedField } from '../project/columns.ts'
import type { Endpoint } from '../project/endpoint.ts'
import type { DatasetDetail, DatasetStatus, RunStatus, RunsQuestion } from '../project/status.ts'

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
  /** What the publications of a dataset change. Throws invalid/unknown-dataset. */
  changes(name: string): DatasetChanges
  /** What ran, newest first. */
  runs(question: RunsQuestion): Promise<RunStatus[]>
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

/** The published changes of one dataset, in order. A place in them is a text that stays good across restarts. */
export interface DatasetChanges {
  readonly name: string
  readonly fields: readonly IdentifiedField[]
  /** The place before all rows of the present snapshot. */
  readonly start: string
  /** The place after all that is published now. */
  present(): string
  /** Throws invalid/bad-position for what is no place. */
  check(place: string): void
  /** The next rows: undefined when there is nothing newer, 'lost' when it can no longer be told what came next. */
  page(place: string, question: ChangesQuestion): Promise<ChangesPage | 'lost' | undefined>
  /** Publications so far; taken before looking for a page, `after` it misses none. */
  count(): number
  after(seen: number, signal: AbortSignal): Promise<void>
}

export interface ChangesQuestion {
  readonly columns: readonly IdentifiedField[]
  /** SQL on the columns, parameters as `$name`. */
  readonly conditions: readonly string[]
  readonly parameters: ParameterValues
  /** The page ends with the row that reaches either. */
  readonly rowsMax: number
  readonly bytesMax: number
}

export interface ChangesPage {
  /** Text of JSON objects, each with the place after it. What a change removed comes first. */
  readonly rows: readonly { readonly removed: boolean; readonly row: string; readonly after: string }[]
  /** The place after the page. */
  readonly next: string
}

import { MillraceError } from '../base/errors.ts'

/**
 * What a step writes into the summary of its snapshot: the ranges it read, the code that ran, what came of it. The lake
 * is the checkpoint: after a crash the runtime goes on from the newest of these (docs/formats/lake.md).
 */
export interface StepRecord {
  /** Run that made the snapshot. */
  readonly run: string
  /** Fingerprint of the declaration. */
  readonly code: string
  /** Streams, and tables of functions that workers share: next offset to read, per log partition. */
  readonly offsets?: readonly number[]
  /**
   * Streams with an event time: the newest accepted, per log partition, ms since the epoch; null before the first. What functions
   * make of them: that of the records taken.
   */
  readonly newest?: readonly (number | null)[]
  /** What several workers share, and its quarantine: epoch of the lease under which each log partition was last taken; null before the first. */
  readonly epochs?: readonly (number | null)[]
  /** Windowed tables: event time up to which all input was taken to have come, ms since the epoch. */
  readonly watermark?: number | undefined
  /** Session tables: start of the earliest session still open, ms since the epoch. */
  readonly frontier?: number | undefined
  /** Streams, and tables made by functions: totals since the beginning. */
  readonly counts?: Counts
  /** Streams: number of replays done. Tables of functions that workers share: how often rows were made anew that were there. */
  readonly replays?: number
  /** Tables of functions that workers share: which rows the offsets count, so that it is told when the input has others. */
  readonly source?: string
  /** Tables made by functions: number of steps done. */
  readonly steps?: number
  /** Streams: offset ranges whose records were superseded by a newer version of their file. */
  readonly superseded?: readonly Superseded[]
  /** Tables: version of the rows of each dataset read (computing or checking), by name; null for one without snapshots. */
  readonly inputs?: Readonly<Record<string, string | null>>
  /** Tables with checks: fingerprint of these, for a changed check makes an audit due. */
  readonly checks?: string | undefined
  /** Results of the dataset checks. */
  readonly audits?: readonly AuditResult[] | undefined
}

/** Conserved: received = accepted + duplicates + quarantined. */
export interface Counts {
  readonly received: number
  readonly accepted: number
  readonly duplicates: number
  readonly quarantined: number
}

export interface Superseded {
  readonly partition: number
  readonly from: number
  readonly to: number
}

export interface AuditResult {
  readonly check: string
  readonly severity: 'warn' | 'block'
  readonly passed: boolean
  /** What was found, for people. */
  readonly message: string
}

export const NO_COUNTS: Counts = { received: 0, accepted: 0, duplicates: 0, quarantined: 0 }

export function addCounts(a: Counts, b: Counts): Counts {
  return {
    received: a.received + b.received,
    accepted: a.accepted + b.accepted,
    duplicates: a.duplicates + b.duplicates,
    quarantined: a.quarantined + b.quarantined,
  }
}

/** Summary properties of a record. Values are JSON where they are not plain text. */
export function recordSummary(record: StepRecord): Record<string, string> {
  const { run, code, checks, counts, ...rest } = record
  const summary: Record<string, string> = { 'millrace.run': run, 'millrace.code': code }
  if (checks !== undefined) summary['millrace.checks'] = checks
  for (const [name, value] of Object.entries(counts ?? {})) summary[`millrace.${name}`] = String(value)
  for (const [name, value] of Object.entries(rest))
    if (value !== undefined) summary[`millrace.${name}`] = JSON.stringify(value)
  return summary
}

/** The record in a summary; undefined when the snapshot is not one of Millrace's steps. */
export function readRecord(summary: Readonly<Record<string, string>>): StepRecord | undefined {
  const run = summary['millrace.run']
  const code = summary['millrace.code']
  if (run === undefined || code === undefined) return undefined
  const json = <T>(name: string): T | undefined => {
    const text = summary[`millrace.${name}`]
    if (text === undefined) return undefined
    try {
      return JSON.parse(text) as T
    } catch (cause) {
      throw new MillraceError('corrupt', 'bad-summary', `Summary property millrace.${name} is not JSON: ${text}`, {
        cause,
      })
    }
  }
  const received = summary['millrace.received']
  const counts =
    received === undefined
      ? undefined
      : {
          received: Number(received),
          accepted: Number(summary['millrace.accepted']),
          duplicates: Number(summary['millrace.duplicates']),
          quarantined: Number(summary['millrace.quarantined']),
        }
  const parts = {
    offsets: json<number[]>('offsets'),
    newest: json<(number | null)[]>('newest'),
    epochs: json<(number | null)[]>('epochs'),
    watermark: json<number>('watermark'),
    frontier: json<number>('frontier'),
    replays: json<number>('replays'),
    source: json<string>('source'),
    steps: json<number>('steps'),
    superseded: json<Superseded[]>('superseded'),
    inputs: json<Record<string, string | null>>('inputs'),
    audits: json<AuditResult[]>('audits'),
    checks: summary['millrace.checks'],
    counts,
  }
  return { run, code, ...Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) }
}

/** The part of a summary that a maintenance commit (compaction) must carry on unchanged. */
export function carriedSummary(summary: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(summary).filter(([key]) => key.startsWith('millrace.')))
}

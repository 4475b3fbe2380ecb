import { availableParallelism } from 'node:os'
import { durationMs } from '../base/duration.ts'
import type { Config } from '../project/config.ts'

/** Every bound of the serving side. Sizes in bytes, times in milliseconds. */
export interface ServingLimits {
  /** A request body of records, compressed or not, and after decompression. */
  readonly bodyBytes: number
  readonly recordBytes: number
  /** Memory kept for bodies to come. */
  readonly pooledBytes: number
  /** Any other request body: SQL and control requests. */
  readonly requestBytes: number
  readonly queryRows: number
  readonly queryMs: number
  readonly queryMemoryBytes: number
  /** What DuckDB may spill to disk for one query. */
  readonly querySpillBytes: number
  readonly resultBytes: number
  /** Queries that run at once, each in its process, and that may wait. */
  readonly queryProcesses: number
  readonly queriesWaiting: number
  readonly queryThreads: number
  /** Views kept in each query process. */
  readonly views: number
  /** Answers kept for repeated questions: in all, and the largest one. */
  readonly cacheBytes: number
  readonly cachedAnswerBytes: number
  /** Statements whose analysis is remembered. */
  readonly analyses: number
  /** Rows of one page of `…/rows` and `…/quarantine`: unless asked, and at most. */
  readonly pageRows: number
  readonly pageRowsMax: number
  /** Clients that follow a dataset at once. */
  readonly liveConnections: number
  /** One event of `…/live` ends with the row that reaches either. */
  readonly liveEventRows: number
  readonly liveEventBytes: number
  /** What is read of a change at a time, such pages kept for other clients at the same place, and reads at once. */
  readonly livePageRows: number
  readonly livePageBytes: number
  readonly livePages: number
  readonly liveReads: number
  /** A client that has not taken an event after so long is cut off. */
  readonly liveStallMs: number
  /** Longest silence before a comment says that the connection lives. */
  readonly liveHeartbeatMs: number
}

const MIB = 1024 * 1024

/** The limits a project's configuration leads to. Errors: `invalid`/`bad-duration`. */
export function servingLimits(config: Config): ServingLimits {
  return {
    bodyBytes: config.server?.bodyLimit ?? 16 * MIB,
    recordBytes: config.ingest?.recordLimit ?? MIB,
    pooledBytes: 32 * MIB,
    requestBytes: MIB,
    queryRows: config.limits?.queryRows ?? 100_000,
    queryMs: durationMs(config.limits?.queryTime ?? '30 seconds', 'limits.queryTime'),
    queryMemoryBytes: config.limits?.queryMemory ?? 512 * MIB,
    querySpillBytes: 1024 * MIB,
    resultBytes: 64 * MIB,
    queryProcesses: 2,
    queriesWaiting: 100,
    queryThreads: Math.min(4, availableParallelism()),
    views: 200,
    cacheBytes: 32 * MIB,
    cachedAnswerBytes: MIB,
    analyses: 500,
    pageRows: 100,
    pageRowsMax: 10_000,
    liveConnections: 100,
    liveEventRows: 500,
    liveEventBytes: 64 * 1024,
    livePageRows: 20_000,
    livePageBytes: 2 * MIB,
    livePages: 8,
    liveReads: 2,
    liveStallMs: 10_000,
    liveHeartbeatMs: 15_000,
  }
}

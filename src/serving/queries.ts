import { createHash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { ParameterValues } from '../engine/duckdb/bind.ts'
import { AnswerCache, type KeptAnswer, Recent } from './cache.ts'
import type { ServingLimits } from './limits.ts'
import type { Platform, Relation } from './platform.ts'
import { SqlPool } from './sandbox/pool.ts'
import type { Analysis, QueryOutcome, RowFormat, SandboxQuery, SandboxRelation } from './sandbox/protocol.ts'
import { lineAndColumn } from './sandbox/sql-error.ts'

/** A question to the published data. */
export interface Question {
  readonly sql: string
  readonly parameters: ParameterValues
  readonly format: RowFormat | 'parquet'
  readonly maxRows: number
  /** Trailing columns that order the rows and stay out of the answer. */
  readonly keys?: number
  /** Relations of SQL written here rather than by a user; without them they are found in the SQL. Released by the caller. */
  readonly relations?: readonly Relation[]
  /** The request's If-None-Match. */
  readonly ifNoneMatch?: string | undefined
  /** Aborts the query. */
  readonly signal?: AbortSignal
}

export type Answer =
  /** The asker has this answer already. */
  | { readonly kind: 'unchanged'; readonly etag: string }
  /** `etag` is missing where the same data may give another answer. */
  | (KeptAnswer & { readonly kind: 'rows'; readonly etag: string | undefined })
  /** A Parquet file, its name removed already: read the handle to its end and close it. */
  | (Pick<QueryOutcome, 'columns' | 'rows' | 'truncated'> & {
      readonly kind: 'file'
      readonly etag: string | undefined
      readonly handle: FileHandle
      readonly bytes: number
    })

export interface QueriesOptions {
  readonly platform: Platform
  readonly limits: ServingLimits
  /** Directories that relations read from. */
  readonly directories: readonly string[]
  /** A directory for query processes alone; emptied at the start. */
  readonly temporary: string
  readonly clock: Clock
}

/**
 * Answers questions over published relations: analysed by the gate, told apart by the versions they read, answered from the
 * cache or by a query process.
 */
export class Queries {
  readonly #platform: Platform
  readonly #pool: SqlPool
  readonly #limits: ServingLimits
  readonly #cache: AnswerCache
  readonly #analyses: Recent<string, Analysis>

  constructor(platform: Platform, pool: SqlPool, limits: ServingLimits) {
    this.#platform = platform
    this.#pool = pool
    this.#limits = limits
    this.#cache = new AnswerCache(limits.cacheBytes, limits.cachedAnswerBytes)
    this.#analyses = new Recent(limits.analyses)
  }

  /** Starts the first query process. Errors: `unavailable`/`query-process`. */
  static async open(options: QueriesOptions): Promise<Queries> {
    const { limits } = options
    const pool = await SqlPool.open({
      roots: options.directories,
      temporary: options.temporary,
      memoryBytes: limits.queryMemoryBytes,
      temporaryBytes: limits.querySpillBytes,
      threads: limits.queryThreads,
      views: limits.views,
      processes: limits.queryProcesses,
      waiting: limits.queriesWaiting,
      clock: options.clock,
    })
    return new Queries(options.platform, pool, limits)
  }

  /** Ends the query processes; questions under way or waiting fail. */
  close(): Promise<void> {
    return this.#pool.close()
  }

  /**
   * Errors: `invalid` / `bad-sql`, `forbidden-sql`, `not-a-query`, `several-statements`, `unknown-dataset`,
   * `missing-parameter`, `unknown-parameter`, `result-too-large`; `unavailable` / `query-timeout`, `query-memory`,
   * `query-crashed`, `query-cancelled`, `queries-busy`.
   */
  async ask(question: Question): Promise<Answer> {
    if (question.relations !== undefined) return this.#answer(question, question.relations, true)
    const analysis = await this.#analyse(question.sql, question.signal)
    const relations = await this.#resolve(question.sql, analysis)
    try {
      return await this.#answer(question, relations, analysis.stable)
    } finally {
      for (const relation of relations) relation.release()
    }
  }

  async #analyse(sql: string, signal: AbortSignal | undefined): Promise<Analysis> {
    const kept = this.#analyses.get(sql)
    if (kept !== undefined) return kept
    const analysis = await this.#pool.analyse(sql, signal)
    this.#analyses.set(sql, analysis)
    return analysis
  }

  /** All relations or none: what was taken before a failure is released. */
  async #resolve(sql: string, { tables }: Analysis): Promise<Relation[]> {
    const known = this.#platform.relationNames()
    const names = new Set(
      tables.map(({ name, position }) => {
        // SQL names are case-insensitive, dataset names are lower case.
        const lower = name.toLowerCase()
        if (known.includes(lower)) return lower
        throw unknownDataset(name, known, position === undefined ? undefined : lineAndColumn(sql, position))
      }),
    )
    const settled = await Promise.allSettled([...names].map((name) => this.#platform.relation(name)))
    const failed = settled.find((result) => result.status === 'rejected')
    const relations = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    if (failed === undefined) return relations
    for (const relation of relations) relation.release()
    throw failed.reason
  }

  async #answer(question: Question, relations: readonly Relation[], stable: boolean): Promise<Answer> {
    const { sql, parameters, format, maxRows, keys = 0 } = question
    const versions = relations.map(({ name, version }) => [name, version])
    const etag = stable ? etagOf([sql, parameters, format, maxRows, keys, versions]) : undefined
    if (etag !== undefined && matchesEtag(question.ifNoneMatch, etag)) return { kind: 'unchanged', etag }
    const kept = etag === undefined ? undefined : this.#cache.get(etag)
    if (kept !== undefined) return { kind: 'rows', etag, ...kept }
    const query: SandboxQuery = {
      sql,
      parameters,
      relations: relations.map(sandboxRelation),
      format,
      maxRows,
      maxBytes: this.#limits.resultBytes,
      keys,
    }
    return this.#pool.query(
      query,
      this.#limits.queryMs,
      question.signal,
      async ({ file, ...outcome }): Promise<Answer> => {
        if (file !== undefined) {
          const handle = await open(file.path, 'r')
          await rm(file.path)
          return { kind: 'file', etag, handle, bytes: file.bytes, ...outcome }
        }
        if (etag !== undefined) this.#cache.set(etag, outcome)
        return { kind: 'rows', etag, ...outcome }
      },
    )
  }
}

function sandboxRelation({ name, version, sql, fields }: Relation): SandboxRelation {
  return {
    name,
    version,
    sql,
    columns: fields.map((field) => ({ name: field.name, json: field.type.kind === 'json' })),
  }
}

function unknownDataset(
  name: string,
  known: readonly string[],
  place: { line: number; column: number } | undefined,
): MillraceError {
  const where = place === undefined ? '' : `Line ${place.line}, column ${place.column}: `
  return new MillraceError('invalid', 'unknown-dataset', `${where}There is no dataset '${name}'.`, {
    hint: didYouMean(name, known),
    context: { dataset: name, ...place },
  })
}

/** Weak: the same rows, though perhaps in another order where the query leaves it open. */
function etagOf(material: unknown): string {
  const text = JSON.stringify(material, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
  return `W/"${createHash('sha256').update(text).digest('base64url').slice(0, 27)}"`
}

/** RFC 9110, 13.1.2: the weak comparison. */
function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  const opaque = etag.replace(/^W\//, '')
  return header.split(',').some((tag) => {
    const trimmed = tag.trim()
    return trimmed === '*' || trimmed.replace(/^W\//, '') === opaque
  })
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert } from '../base/errors.ts'
import type { ParameterValues } from '../engine/duckdb/bind.ts'
import type { DatasetStatus, RunStatus } from '../project/status.ts'
import { endpointNamed, endpointParameters, endpointSql } from '../serving/endpoints.ts'
import { servingLimits } from '../serving/limits.ts'
import { Queries } from '../serving/queries.ts'
import { SqlPool } from '../serving/sandbox/pool.ts'
import type { RowFormat } from '../serving/sandbox/protocol.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { LakePlatform } from './lake-platform.ts'
import { loadProject } from './load-project.ts'
import { type Sight, openSight } from './sight.ts'
import { type ServerClient, runningServer } from './server-client.ts'

/** Runs that are told, as many as a server tells. */
const RUNS = 100

type Format = 'json' | 'csv'
type Parameters = readonly (string | number)[] | Readonly<Record<string, string>>

/** Reads what is published: from the server that runs on the data directory, or else from the lake. */
export interface Reader {
  /** The answer to a SELECT: the document of `POST /v1/sql`, or CSV. The same limits hold either way. */
  query(sql: string, format: Format, parameters?: Parameters): Promise<Buffer>
  /** The answer of an endpoint, whose parameters are given as text: the document of `GET /v1/endpoints/{name}`, or CSV. */
  endpoint(name: string, format: Format, parameters: URLSearchParams): Promise<Buffer>
  datasets(): Promise<DatasetStatus[]>
  /** What ran last, newest first. */
  runs(): Promise<RunStatus[]>
  /** Where it reads from: a URL, or undefined for the lake. */
  readonly url: string | undefined
  close(): Promise<void>
}

/** Errors: `invalid`/`no-project` and what else keeps a project from loading, when no server runs. */
export async function openReader(home: Home, effects: Effects): Promise<Reader> {
  const server = await runningServer(home.data)
  return server === undefined ? LakeReader.open(home, effects) : new ServerReader(server)
}

const MEDIA_TYPES: Readonly<Record<Format, string>> = { json: 'application/json', csv: 'text/csv' }

class ServerReader implements Reader {
  readonly #server: ServerClient

  constructor(server: ServerClient) {
    this.#server = server
  }

  get url(): string {
    return this.#server.url
  }

  query(sql: string, format: Format, parameters: Parameters = []): Promise<Buffer> {
    return this.#server.ask('POST', '/v1/sql', { sql, parameters }, MEDIA_TYPES[format])
  }

  endpoint(name: string, format: Format, parameters: URLSearchParams): Promise<Buffer> {
    const path = `/v1/endpoints/${encodeURIComponent(name)}?${parameters.toString()}`
    return this.#server.ask('GET', path, undefined, MEDIA_TYPES[format])
  }

  async datasets(): Promise<DatasetStatus[]> {
    const answer = JSON.parse((await this.#server.ask('GET', '/v1/datasets')).toString('utf8')) as {
      datasets: DatasetStatus[]
    }
    return answer.datasets
  }

  async runs(): Promise<RunStatus[]> {
    const { runs } = JSON.parse((await this.#server.ask('GET', '/v1/runs')).toString('utf8')) as { runs: RunStatus[] }
    return runs
  }

  async close(): Promise<void> {}
}

function isList(parameters: Parameters): parameters is readonly (string | number)[] {
  return Array.isArray(parameters)
}

class LakeReader implements Reader {
  readonly url = undefined
  readonly #sight: Sight
  readonly #platform: LakePlatform
  readonly #openPool: () => Promise<{ queries: Queries; close(): Promise<void> }>
  #pool: Promise<{ queries: Queries; close(): Promise<void> }> | undefined
  readonly #rowsMax: number

  private constructor(
    sight: Sight,
    platform: LakePlatform,
    rowsMax: number,
    openPool: () => Promise<{ queries: Queries; close(): Promise<void> }>,
  ) {
    this.#sight = sight
    this.#platform = platform
    this.#rowsMax = rowsMax
    this.#openPool = openPool
  }

  static async open(home: Home, effects: Effects): Promise<LakeReader> {
    const project = await loadProject(home.project)
    const sight = await openSight(project, home, effects)
    const platform = await LakePlatform.open(project, sight, effects.clock).catch(async (error: unknown) => {
      await sight.close()
      throw error
    })
    const limits = servingLimits(project.config)
    return new LakeReader(sight, platform, limits.queryRows, async () => {
      const temporary = await mkdtemp(join(tmpdir(), 'millrace-query-'))
      const pool = await SqlPool.open({
        roots: [sight.lake.local.directory],
        temporary: join(temporary, 'queries'),
        memoryBytes: limits.queryMemoryBytes,
        temporaryBytes: limits.querySpillBytes,
        threads: limits.queryThreads,
        views: limits.views,
        processes: 1,
        waiting: 1,
        clock: effects.clock,
      })
      const close = async () => {
        await pool.close()
        await rm(temporary, { recursive: true, force: true })
      }
      return { queries: new Queries(platform, pool, limits), close }
    })
  }

  query(sql: string, format: Format, parameters: Parameters = []): Promise<Buffer> {
    const untyped = (value: string | number) => ({ type: undefined, value })
    const bound = isList(parameters)
      ? parameters.map(untyped)
      : Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, untyped(value)]))
    return this.#ask(sql, bound, format, 'arrays')
  }

  async endpoint(name: string, format: Format, parameters: URLSearchParams): Promise<Buffer> {
    const endpoint = endpointNamed(this.#platform.endpoints(), name)
    return this.#ask(endpointSql(endpoint), endpointParameters(endpoint, parameters), format, 'objects')
  }

  async #ask(sql: string, parameters: ParameterValues, format: Format, rows: RowFormat): Promise<Buffer> {
    const { queries } = await (this.#pool ??= this.#openPool())
    const answer = await queries.ask({
      sql,
      parameters,
      format: format === 'json' ? rows : 'csv',
      maxRows: this.#rowsMax,
    })
    assert(answer.kind === 'rows', 'a query without ETag or Parquet is answered with rows')
    if (format === 'csv') return Buffer.concat(answer.parts)
    const head = `{"columns":${JSON.stringify(answer.columns)},"rows":[`
    return Buffer.concat([
      Buffer.from(head),
      ...answer.parts,
      Buffer.from(`]${answer.truncated ? ',"truncated":true' : ''}}`),
    ])
  }

  datasets(): Promise<DatasetStatus[]> {
    return this.#platform.datasets()
  }

  runs(): Promise<RunStatus[]> {
    return this.#platform.runs({ limit: RUNS })
  }

  async close(): Promise<void> {
    try {
      if (this.#pool) await (await this.#pool).close()
    } finally {
      await this.#sight.close()
    }
  }
}

import { randomBytes } from 'node:crypto'
import { type Clock, systemClock } from '../../base/clock.ts'
import { MillraceError } from '../../base/errors.ts'
import { uuid } from '../../base/uuid.ts'
import type { Field } from '../../project/columns.ts'
import { type SparkAddress, parseAddress } from './address.ts'
import { rowsOf } from './arrow-values.ts'
import { type Drivers, loadDrivers } from './drivers.ts'
import { type Failed, isBroken, isSessionLost, sparkError } from './errors.ts'
import { backoffMs, execute } from './execution.ts'
import type { Answers, ErrorDetail, Plan } from './protocol.ts'
import { Rpc, RpcError } from './rpc.ts'
import { columnType } from './types.ts'

export interface SparkOptions {
  /** `sc://host:port/;use_ssl=true;token=…;user_id=…`. */
  readonly url: string
  /** Settings of every session: `spark.sql.…`, catalogs among them. */
  readonly settings?: Readonly<Record<string, string>>
  /** A session of before, to find its streaming queries again. */
  readonly sessionId?: string
  /** How long the server may be out of reach before work is given up; 30 s by default. */
  readonly reconnectMs?: number
  readonly clock?: Clock
  readonly random?: (count: number) => Uint8Array
}

export interface QueryOptions {
  /** Bytes of Arrow that all rows may take together; 256 MiB by default. Beyond: `invalid` / `result-too-large`. */
  readonly bytesMax?: number
  readonly signal?: AbortSignal
}

/**
 * What makes Spark read SQL as it is meant for both engines: errors instead of nulls, double quotes around identifiers, and
 * timestamps as UTC without a zone. A backslash in a text begins an escape: Spark 4.1 that takes it as it is written
 * (`escapedStringLiterals`) also reads `'it''s'` with both of its quotes, and `r'a'` with one.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  'spark.sql.session.timeZone': 'UTC',
  'spark.sql.timestampType': 'TIMESTAMP_NTZ',
  'spark.sql.ansi.enabled': 'true',
  'spark.sql.ansi.doubleQuotedIdentifiers': 'true',
  'spark.sql.parser.escapedStringLiterals': 'false',
}

const CLIENT = 'millrace'
const VERSION_MIN = 4
const CALL_MS = 60_000
const RECONNECT_MS = 30_000
const RESULT_BYTES_MAX = 256 * 1024 ** 2
const EXPLAIN_EXTENDED = 2
const INTERRUPT_ALL = 1
const INTERRUPT_OPERATION = 3

type Observed = Pick<Answers['Config'], 'serverSideSessionId'>

/**
 * A session on a Spark Connect server. When the server has forgotten it (restarted, or idle for an hour) it is made anew with
 * the same settings, and what was asked is sent again if nothing of it was begun.
 *
 * Errors of all methods: `invalid` / `bad-sql` about the SQL or its values, `unavailable` when Spark cannot be reached, was
 * restarted in the middle or ran out of memory, `denied` for a wrong token.
 */
export class SparkSession {
  readonly #rpc: Rpc
  readonly #arrow: Drivers['arrow']
  readonly #address: SparkAddress
  readonly #options: SparkOptions
  readonly #clock: Clock
  readonly #settings: Map<string, string>
  #id: string
  /** The server's own id of the session: by it, it tells us when it was restarted. */
  #observed: string | undefined
  #renewal: Promise<void> | undefined

  private constructor(address: SparkAddress, options: SparkOptions, drivers: Drivers) {
    this.#clock = options.clock ?? systemClock
    this.#address = address
    this.#options = options
    this.#settings = new Map(Object.entries({ ...SETTINGS, ...options.settings }))
    this.#rpc = new Rpc(address, this.#clock, drivers)
    this.#arrow = drivers.arrow
    this.#id = options.sessionId ?? this.#uuid()
  }

  /**
   * Connects and sets the session up. Beside the errors above: `invalid` / `driver-missing`, `bad-spark-url`,
   * `spark-too-old` and `no-spark-connect`.
   */
  static async open(options: SparkOptions): Promise<SparkSession> {
    const session = new SparkSession(parseAddress(options.url), options, await loadDrivers())
    try {
      await session.#checkVersion()
      await session.config(Object.fromEntries(session.#settings))
      return session
    } catch (error) {
      session.#rpc.close()
      throw error
    }
  }

  /** The id under which the session can be opened again. */
  get sessionId(): string {
    return this.#id
  }

  /** All rows of a query, as plain values: see `rowsOf`. */
  async rows(sql: string, options: QueryOptions = {}): Promise<Record<string, unknown>[]> {
    const { bytesMax = RESULT_BYTES_MAX } = options
    return this.#run({ root: { sql: { query: sql } } }, sql, options, (batches) =>
      this.#collect(batches, sql, bytesMax),
    )
  }

  /** Runs a statement for what it does. */
  async execute(sql: string, options: Pick<QueryOptions, 'signal'> = {}): Promise<void> {
    const plan: Plan = { command: { sqlCommand: { input: { sql: { query: sql } } } } }
    await this.#run(plan, sql, options, async (answers) => {
      for await (const _ of answers);
    })
  }

  /** Columns and types of a query. Throws `invalid` / `bad-type` for a type that tables cannot hold. */
  async analyze(sql: string): Promise<Field[]> {
    const { schema } = await this.#call('AnalyzePlan', { schema: { plan: { root: { sql: { query: sql } } } } }, sql)
    return (schema?.schema.struct?.fields ?? []).map(({ name, dataType, nullable = false }) => {
      const type = columnType(dataType)
      if (type) return { name, type, nullable }
      throw new MillraceError(
        'invalid',
        'bad-type',
        `Column '${name}' is a Spark ${dataType.kind}, which no table can hold.`,
        {
          hint: 'Cast it, for example to string.',
          context: { column: name },
        },
      )
    })
  }

  /** The plans of a query as Spark prints them: parsed, analyzed, optimized and physical. */
  async explain(sql: string): Promise<string> {
    const plan = { root: { sql: { query: sql } } }
    const { explain } = await this.#call('AnalyzePlan', { explain: { plan, mode: EXPLAIN_EXTENDED } }, sql)
    return explain?.text ?? ''
  }

  /** Sets runtime settings of this session, and of those that take its place. */
  async config(settings: Readonly<Record<string, string>>): Promise<void> {
    const pairs = Object.entries(settings).map(([key, value]) => ({ key, value }))
    for (const { key, value } of pairs) this.#settings.set(key, value)
    await this.#call('Config', { operation: { set: { pairs } } })
  }

  /** Ends what this session runs. */
  async interrupt(): Promise<void> {
    await this.#call('Interrupt', { interruptType: INTERRUPT_ALL })
  }

  /** Lets the server forget the session, and disconnects. */
  async close(): Promise<void> {
    try {
      await this.#rpc.call('ReleaseSession', { sessionId: this.#id, ...this.#user() }, CALL_MS)
    } catch {
      // It goes by itself when it has been idle, or has gone with the server.
    }
    this.#rpc.close()
  }

  async #checkVersion(): Promise<void> {
    const { sparkVersion } = await this.#call('AnalyzePlan', { sparkVersion: {} })
    const version = sparkVersion?.text ?? ''
    if (Number(/^(\d+)\./.exec(version)?.[1] ?? 0) >= VERSION_MIN) return
    throw new MillraceError(
      'invalid',
      'spark-too-old',
      `Spark at ${this.#server} is version ${version || 'unknown'}.`,
      {
        hint: 'Run Apache Spark 4.0 or later; 4.1 is what Millrace is tested with.',
        context: { server: this.#server },
      },
    )
  }

  async #collect(
    answers: AsyncIterable<Answers['ExecutePlan']>,
    sql: string,
    bytesMax: number,
  ): Promise<Record<string, unknown>[]> {
    const rows: Record<string, unknown>[] = []
    let bytes = 0
    for await (const { arrowBatch } of answers) {
      if (!arrowBatch) continue
      bytes += arrowBatch.data.length
      if (bytes > bytesMax) {
        throw new MillraceError(
          'invalid',
          'result-too-large',
          `The rows of a query take more than ${bytesMax} bytes.`,
          {
            hint: 'Let it return less: aggregate, or add a limit.',
            context: { sql: sql.slice(0, 400) },
          },
        )
      }
      for (const row of rowsOf(arrowBatch.data, this.#arrow)) rows.push(row)
    }
    return rows
  }

  /** Runs a plan in this session or, where the server had forgotten it before it began anything, in the one after it. */
  async #run<T>(
    plan: Plan,
    sql: string,
    { signal }: QueryOptions,
    read: (answers: AsyncIterable<Answers['ExecutePlan']>) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted()
    return this.#inSession(sql, async () => {
      const operationId = this.#uuid()
      const interrupt = (): void => void this.#interruptOperation(operationId)
      signal?.addEventListener('abort', interrupt, { once: true })
      let ended = false
      try {
        const answers = execute({
          rpc: this.#rpc,
          clock: this.#clock,
          plan,
          operationId,
          server: this.#server,
          session: this.#session(),
          reconnectMs: this.#reconnectMs,
          ...(signal === undefined ? {} : { signal }),
        })
        const result = await read(this.#observing(answers))
        ended = true
        return result
      } finally {
        signal?.removeEventListener('abort', interrupt)
        // Ours not to wait for: the server forgets it by itself in the end.
        if (!ended) interrupt()
        this.#rpc.call('ReleaseExecute', { ...this.#session(), operationId, releaseAll: {} }, CALL_MS).catch(() => {})
      }
    })
  }

  async *#observing(answers: AsyncIterable<Answers['ExecutePlan']>): AsyncGenerator<Answers['ExecutePlan']> {
    for await (const answer of answers) {
      this.#observe(answer)
      yield answer
    }
  }

  async #call<M extends 'AnalyzePlan' | 'Config' | 'Interrupt'>(
    method: M,
    request: object,
    sql?: string,
  ): Promise<Answers[M]> {
    return this.#inSession(sql, async () => {
      const answer = await this.#answer(method, request)
      this.#observe(answer)
      return answer
    })
  }

  /** Asks what changes nothing when it is asked twice; a server that went away is waited for. */
  async #answer<M extends keyof Answers>(method: M, request: object): Promise<Answers[M]> {
    const before = this.#clock.monotonic() + this.#reconnectMs
    for (let failures = 0; ; failures++) {
      try {
        return await this.#rpc.call(method, { ...this.#session(), ...request }, CALL_MS)
      } catch (error) {
        const mayReturn = error instanceof RpcError && isBroken(error) && this.#observed !== undefined
        if (!mayReturn || this.#clock.monotonic() > before) throw error
        await this.#clock.sleep(backoffMs(failures))
      }
    }
  }

  get #reconnectMs(): number {
    return this.#options.reconnectMs ?? RECONNECT_MS
  }

  /** Work that begins nothing when the session is lost: it is then renewed, and the work done in the new one. */
  async #inSession<T>(sql: string | undefined, work: () => Promise<T>): Promise<T> {
    const failed: Failed = { server: this.#server, ...(sql === undefined ? {} : { sql }) }
    const id = this.#id
    try {
      await this.#renewal
      return await work()
    } catch (error) {
      if (!(error instanceof RpcError)) throw error
      if (!isSessionLost(error)) throw await this.#explained(error, failed)
      await this.#renew(id)
    }
    return work().catch(async (error: unknown) => {
      throw error instanceof RpcError ? await this.#explained(error, failed) : error
    })
  }

  /** A new session in the place of one that is lost; one, however many found out. */
  async #renew(lost: string): Promise<void> {
    if (this.#id === lost) {
      this.#id = this.#uuid()
      this.#observed = undefined
      const pairs = [...this.#settings].map(([key, value]) => ({ key, value }))
      const request = { ...this.#session(), operation: { set: { pairs } } }
      this.#renewal = this.#rpc.call('Config', request, CALL_MS).then((answer) => this.#observe(answer))
    }
    await this.#renewal
  }

  #observe({ serverSideSessionId }: Observed): void {
    if (serverSideSessionId !== undefined) this.#observed = serverSideSessionId
  }

  async #explained(error: RpcError, failed: Failed): Promise<MillraceError> {
    const errorId = error.info['errorId']
    if (errorId === undefined) return sparkError(error, failed)
    const details = await this.#rpc
      .call('FetchErrorDetails', { ...this.#session(), errorId }, CALL_MS)
      .then(({ rootErrorIdx, errors = [] }) => chainOf(errors, rootErrorIdx))
      .catch(() => [])
    return sparkError(error, failed, details)
  }

  async #interruptOperation(operationId: string): Promise<void> {
    const request = { ...this.#session(), interruptType: INTERRUPT_OPERATION, operationId }
    // Nothing to interrupt any more, or nobody to do it.
    await this.#rpc.call('Interrupt', request, CALL_MS).catch(() => {})
  }

  #session(): object {
    return {
      sessionId: this.#id,
      ...this.#user(),
      ...(this.#observed === undefined ? {} : { clientObservedServerSideSessionId: this.#observed }),
    }
  }

  #user(): object {
    const { userId } = this.#address
    return { userContext: { userId, userName: userId }, clientType: CLIENT }
  }

  get #server(): string {
    return `${this.#address.host}:${this.#address.port}`
  }

  #uuid(): string {
    return uuid((this.#options.random ?? randomBytes)(16))
  }
}

/** An error and its causes, in that order. */
function chainOf(errors: readonly ErrorDetail[], root = 0): ErrorDetail[] {
  const chain: ErrorDetail[] = []
  for (let at: number | undefined = root; at !== undefined; at = errors[at]?.causeIdx) {
    const error = errors[at]
    if (!error || chain.includes(error)) break
    chain.push(error)
  }
  return chain
}

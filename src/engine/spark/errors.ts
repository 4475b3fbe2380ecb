import { type ErrorDetails, type ErrorKind, MillraceError } from '../../base/errors.ts'
import { offeredColumns } from '../../project/columns.ts'
import type { ErrorDetail } from './protocol.ts'
import type { RpcError } from './rpc.ts'

/** What a failed call was about. */
export interface Failed {
  /** `host:port` of the server. */
  readonly server: string
  readonly sql?: string
}

/** Classes of SQLSTATE by which Spark says that the SQL or the values are wrong. */
const USER_STATES = /^(?:07|0A|20|21|22|23|2B|2D|34|42|44|54|56|KD00|P0)/

const OUT_OF_MEMORY = /OutOfMemoryError|UNABLE_TO_ACQUIRE_MEMORY|Container killed|exceeds? .*maxResultSize/

/** A part of Spark, the catalog or the storage is gone or out of reach; a server that is going down fails an assertion. */
const LOST =
  /ExecutorLostFailure|SparkContext was shut down|stopped SparkContext|AssertionError assertion failed$|Connection refused|ConnectException|RESTException|UnknownHostException/m

/** The server no longer knows the session, and did nothing of what it was asked. */
export function isSessionLost(error: RpcError): boolean {
  return classOf(error).startsWith('INVALID_HANDLE.SESSION_')
}

/** The server, which knows the session, never got the operation. */
export function isUnknown(error: RpcError): boolean {
  return classOf(error) === 'INVALID_HANDLE.OPERATION_NOT_FOUND'
}

/** The server had the operation once, or may have had it: what became of it cannot be known. */
export function isForgotten(error: RpcError): boolean {
  return classOf(error).startsWith('INVALID_HANDLE.')
}

/** The stream broke; whether the operation goes on can be asked. */
export function isBroken(error: RpcError): boolean {
  if (error.status === 'unavailable' || error.status === 'deadline') return true
  return /^INVALID_CURSOR\.(?:DISCONNECTED|NOT_REATTACHABLE)/.test(classOf(error))
}

/** The error's class: sent beside the message, or in brackets before it. */
function classOf({ info, message }: RpcError): string {
  return info['errorClass'] ?? /^\[([A-Z0-9_.]+)\]/.exec(message)?.[1] ?? ''
}

/**
 * What an error of Spark means for the caller. `details` are what FetchErrorDetails tells of it: the error first, then its
 * causes. Where tasks failed for what a query asked, the class that says so is among the causes.
 */
export function sparkError(error: RpcError, failed: Failed, details: readonly ErrorDetail[] = []): MillraceError {
  const chain = details.length > 0 ? details : [{ message: error.message, sparkThrowable: throwableOf(error) }]
  const told = chain.find(({ sparkThrowable }) => USER_STATES.test(sparkThrowable?.sqlState ?? ''))
  const text = chain
    .map(({ message = '', errorTypeHierarchy = [] }) => `${errorTypeHierarchy[0] ?? ''} ${message}`)
    .join('\n')
  const make = (kind: ErrorKind, code: string, message: string, hint?: string): MillraceError => {
    const about: ErrorDetails = {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
      context: {
        server: failed.server,
        sql: failed.sql === undefined ? undefined : shorten(failed.sql),
        errorClass: told?.sparkThrowable?.errorClass ?? (classOf(error) || undefined),
        sqlState: told?.sparkThrowable?.sqlState ?? error.info['sqlState'],
      },
    }
    return new MillraceError(kind, code, message, about)
  }
  const reached = byStatus(error, failed.server, make)
  if (reached) return reached
  if (/OPERATION_CANCELED/.test(classOf(error))) return make('unavailable', 'interrupted', 'The query was interrupted.')
  if (OUT_OF_MEMORY.test(text)) {
    const hint =
      'Give Spark more memory (spark.executor.memory, spark.driver.memory), or let the query read less at once.'
    return make('unavailable', 'engine-memory', `Spark ran out of memory: ${firstLine(error.message)}`, hint)
  }
  if (/No space left on device/.test(text))
    return make(
      'unavailable',
      'disk-full',
      `A disk of Spark is full: ${firstLine(error.message)}`,
      'Free space; the work is retried.',
    )
  const plugin = /Cannot find catalog plugin class for catalog '([^']*)'/.exec(text)
  if (plugin) {
    const hint =
      'Put iceberg-spark-runtime for its version of Spark and Scala, and iceberg-aws-bundle where the lake is on S3, into jars/ of the server, and restart it.'
    return make('invalid', 'no-iceberg', `Spark at ${failed.server} has no Iceberg.`, hint)
  }
  if (told) {
    const hint = hintOf(told, failed.sql)
    return make('invalid', 'bad-sql', cleaned(told.message ?? error.message), hint)
  }
  if (LOST.test(text)) {
    const hint = 'The work is repeated when Spark can reach its executors, the catalog and the storage again.'
    return make('unavailable', 'engine-lost', `Spark could not finish: ${cleaned(error.message)}`, hint)
  }
  return make('internal', 'engine', cleaned(error.message))
}

function byStatus(
  { status, message }: RpcError,
  server: string,
  make: (kind: ErrorKind, code: string, message: string, hint?: string) => MillraceError,
): MillraceError | undefined {
  switch (status) {
    case 'unavailable':
    case 'deadline':
      return make(
        'unavailable',
        'engine-unreachable',
        `Spark at ${server} does not answer: ${firstLine(message)}`,
        'Check that the Spark Connect server runs and that engine.url in millrace.config.ts names it; the work is retried.',
      )
    case 'denied':
      return make(
        'denied',
        'engine-denied',
        `Spark at ${server} refuses: ${firstLine(message)}`,
        'Give its token in engine.url.',
      )
    case 'unimplemented':
      return make(
        'invalid',
        'no-spark-connect',
        `What answers at ${server} is no Spark Connect server of version 4.`,
        'Start one (sbin/start-connect-server.sh of Spark 4.1), and name its port in engine.url.',
      )
    case 'exhausted':
      return make(
        'invalid',
        'result-too-large',
        `An answer of Spark is too large: ${firstLine(message)}`,
        'Let the query return less.',
      )
    case 'cancelled':
      return make('unavailable', 'interrupted', 'The query was interrupted.')
    case 'failed':
      return undefined
  }
}

/** The server lost the session while it was at work: what became of it is not known. */
export function sessionLost(failed: Failed, cause: unknown): MillraceError {
  return new MillraceError(
    'unavailable',
    'engine-restarted',
    `Spark at ${failed.server} was restarted, or dropped the session, during the work.`,
    {
      hint: 'The work is repeated; nothing of it was committed.',
      context: { server: failed.server },
      cause,
    },
  )
}

function throwableOf({ info }: RpcError): NonNullable<ErrorDetail['sparkThrowable']> {
  const { errorClass, sqlState } = info
  return { ...(errorClass === undefined ? {} : { errorClass }), ...(sqlState === undefined ? {} : { sqlState }) }
}

/** Spark's messages go on with advice, the SQLSTATE, the query and the plan. */
function cleaned(message: string): string {
  const [text = ''] = message
    .replace(/^\s*(?:\([\w.]+\)\s*)?\[[A-Z0-9_.]+\]\s*/, '')
    .split(/\s*(?:SQLSTATE: |Did you mean one of|\n)/)
  return text || firstLine(message)
}

function hintOf({ message = '', sparkThrowable = {} }: ErrorDetail, sql: string | undefined): string | undefined {
  const { messageParameters: parameters = {}, queryContexts = [] } = sparkThrowable
  const proposed = parameters['proposal']?.match(/`(?:[^`]|``)+`/g)?.map((name) => name.slice(1, -1))
  if (proposed) {
    const offered = offeredColumns((parameters['objectName'] ?? '').replaceAll('`', ''), proposed)
    if (offered.length > 0) return `Did you mean ${offered.map((name) => `'${name}'`).join(', ')}?`
  }
  const fragment = queryContexts.find((context) => context.fragment)?.fragment
  if (fragment !== undefined) return `It stands in «${shorten(fragment, 120)}».`
  const [, line, column] = /line (\d+),? pos (\d+)/.exec(message) ?? []
  const text = sql?.split('\n')[Number(line) - 1]
  if (text === undefined) return undefined
  const near = text.slice(Math.max(0, Number(column) - 30), Number(column) + 30).trim()
  return near === '' ? undefined : `It stands near «${near}».`
}

function firstLine(text: string): string {
  return text.split('\n')[0]!.trim()
}

function shorten(sql: string, length = 400): string {
  return sql.length > length ? `${sql.slice(0, length)}…` : sql
}

import { MillraceError } from '../../base/errors.ts'
import { isTlsFault } from '../../storage/tls.ts'

/** What an operation was about, for messages. */
export interface KafkaPlace {
  readonly brokers: readonly string[]
  readonly topic?: string
  /** The cluster was talked to before: what breaks off now does not come of how it is configured. */
  readonly isKnown?: boolean
}

interface DriverError extends Error {
  readonly code?: string
  readonly apiId?: string
  readonly errors?: readonly DriverError[]
  readonly serverErrorMessage?: string | null
}

/** The name of the protocol's error within what the driver threw, such as 'NOT_LEADER_OR_FOLLOWER'; undefined when it is none. */
export function protocolErrorOf(error: unknown): string | undefined {
  for (const found of chain(error)) if (found.apiId !== undefined) return found.apiId
  return undefined
}

function* chain(error: unknown): Generator<DriverError> {
  if (!(error instanceof Error)) return
  const found = error as DriverError
  yield found
  for (const inner of found.errors ?? []) yield* chain(inner)
  yield* chain(found.cause)
}

/** Errors of the protocol that pass by themselves: elections, moves, brokers that come back. */
const PASSING = new Set([
  'CORRUPT_MESSAGE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_TOPIC_ID',
  'INCONSISTENT_TOPIC_ID',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'BROKER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'NETWORK_EXCEPTION',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'NOT_CONTROLLER',
  'KAFKA_STORAGE_ERROR',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
  'UNSTABLE_OFFSET_COMMIT',
  'THROTTLING_QUOTA_EXCEEDED',
  'BROKER_ID_NOT_REGISTERED',
])

const DENIED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
])

/** Whatever the driver threw, as an error that says what to do. */
export function kafkaError(error: unknown, place: KafkaPlace): MillraceError {
  if (error instanceof MillraceError) return error
  const context = { brokers: place.brokers.join(','), topic: place.topic }
  const details = { context, cause: error }
  const at = place.brokers.join(', ')
  const protocol = protocolErrorOf(error)
  if (isLoginFault(error, protocol)) {
    return new MillraceError('denied', 'kafka-login', `Kafka at ${at} refuses the login.`, {
      ...details,
      hint: "Check `sasl` of the target's log: mechanism, username and password.",
    })
  }
  if ([...chain(error)].some((found) => isTls(found, place))) {
    return new MillraceError('invalid', 'kafka-tls', `Kafka at ${at} cannot be talked to: ${lastMessage(error)}`, {
      ...details,
      hint: "Check `tls` of the target's log: whether the brokers' listener speaks TLS, and its certificates.",
    })
  }
  const topic = place.topic === undefined ? '' : ` about topic '${place.topic}'`
  if (protocol !== undefined && DENIED.has(protocol)) {
    return new MillraceError('denied', 'kafka-denied', `Kafka at ${at} refuses a request${topic}: ${protocol}.`, {
      ...details,
      hint: 'Give the user rights to describe, read, write and create the topic (idempotent writes too).',
    })
  }
  if (protocol === undefined || PASSING.has(protocol)) {
    return new MillraceError(
      'unavailable',
      'kafka-unreachable',
      `Kafka at ${at} does not answer${topic}: ${lastMessage(error)}`,
      {
        ...details,
        hint: 'Check that the brokers run, that `brokers` names them, and that the listener needs no login or TLS that is not given.',
      },
    )
  }
  const message = [...chain(error)].find((found) => found.apiId === protocol)?.serverErrorMessage
  return new MillraceError(
    'invalid',
    'kafka-refused',
    `Kafka at ${at} refuses a request${topic}: ${message ?? protocol}.`,
    {
      ...details,
      hint: 'See the log of the broker for its reason.',
    },
  )
}

/** A login that broke off with its connection was not refused. */
function isLoginFault(error: unknown, protocol: string | undefined): boolean {
  if (protocol === 'SASL_AUTHENTICATION_FAILED' || protocol === 'UNSUPPORTED_SASL_MECHANISM') return true
  const found = [...chain(error)]
  const isAsked = found.some(({ code, message }) => code === AUTHENTICATION || (code === USER && /SASL/.test(message)))
  return isAsked && !BROKEN_OFF.has(found.at(-1)!.code ?? '')
}

/** The client takes a connection that ends during its handshake for a listener without TLS; a broker that stops ends them too. */
function isTls({ code = '', message, cause }: DriverError, { isKnown }: KafkaPlace): boolean {
  if (code !== USER) return isTlsFault(code)
  return /TLS/.test(message) && !(isKnown && (cause as DriverError | undefined)?.code === 'ECONNRESET')
}

const AUTHENTICATION = 'PLT_KFK_AUTHENTICATION'
const USER = 'PLT_KFK_USER'
const BROKEN_OFF = new Set(['PLT_KFK_NETWORK', 'PLT_KFK_TIMEOUT', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'])

function lastMessage(error: unknown): string {
  const messages = [...chain(error)].map(({ message }) => message).filter((message) => message !== '')
  const last = messages.at(-1) ?? String(error)
  // What OpenSSL says of an alert is mostly about itself.
  const alert = /tls alert ([a-z ]+)/i.exec(last)?.[1]
  return alert === undefined ? last : `it answers '${alert}'.`
}

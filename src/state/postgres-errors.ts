import { MillraceError, messageOf } from '../base/errors.ts'

/** A class or code of SQLSTATE (PostgreSQL documentation, appendix A), and what the caller must do. */
interface Meaning {
  readonly kind: 'invalid' | 'conflict' | 'unavailable' | 'denied'
  readonly code: string
  readonly hint: string
}

const GONE: Meaning = {
  kind: 'unavailable',
  code: 'state-unavailable',
  hint: 'Try again later; if it stays so, look whether the server runs and can be reached from here.',
}
const LOGIN: Meaning = {
  kind: 'denied',
  code: 'state-denied',
  hint: 'Check user and password in the URL of the state, and what pg_hba.conf lets in.',
}
const RIGHTS: Meaning = {
  kind: 'denied',
  code: 'state-denied',
  hint: 'Give the user the right to create a schema in the database, or the rights on the one that is there.',
}
const BUSY: Meaning = { kind: 'conflict', code: 'state-conflict', hint: 'Try again.' }
const FULL: Meaning = { kind: 'unavailable', code: 'disk-full', hint: "Free some space on the server's disk." }
const TLS: Meaning = {
  kind: 'invalid',
  code: 'state-tls',
  hint: 'Check sslmode and sslrootcert in the URL of the state: https://www.postgresql.org/docs/current/libpq-ssl.html',
}

const MEANINGS: Readonly<Record<string, Meaning>> = {
  // Connection exceptions; operator intervention, as at a shutdown; too many connections.
  '08': GONE,
  '57': GONE,
  '53': GONE,
  '53100': FULL,
  // A standby that has not been promoted.
  '25006': GONE,
  '28': LOGIN,
  '3D000': {
    kind: 'invalid',
    code: 'no-database',
    hint: 'Create the database, or name another one in the URL of the state.',
  },
  '42501': RIGHTS,
  '40': BUSY,
  '55P03': BUSY,
}

/** What an error of the driver means to the caller. `name` says which server it is. What is none of these is a bug, and left as it is. */
export function translated(error: unknown, name: string): unknown {
  const meaning = meaningOf(error)
  if (!meaning) return error
  return new MillraceError(meaning.kind, meaning.code, `${name}: ${saidBy(error)}.`, {
    hint: meaning.hint,
    cause: error,
  })
}

/** Whether the connection that an error came from is of no more use: there is none, or an answer to it may still come. */
export function isConnectionError(error: unknown): boolean {
  return meaningOf(error) === GONE
}

function meaningOf(error: unknown): Meaning | undefined {
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof MillraceError) return undefined
  const code = 'code' in error ? String(error.code) : ''
  if (isSqlState(error)) return MEANINGS[code] ?? MEANINGS[code.slice(0, 2)]
  // The driver's own errors carry no code: a missing password is told by the mechanism that needs it.
  if (/^SASL|password must be a string/.test(error.message)) return LOGIN
  if (/\bSSL\b|\bTLS\b|certificate/i.test(`${code} ${error.message}`)) return TLS
  return GONE
}

/** Errors that the server sent have a severity. */
function isSqlState(error: Error): boolean {
  return 'severity' in error
}

/** Errors of several addresses at once have no message of their own. */
function saidBy(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ')
  return messageOf(error)
}

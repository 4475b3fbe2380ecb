import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIPv4 } from 'node:net'
import { MillraceError } from '../base/errors.ts'

/** Who a request may come from. */
export interface Access {
  /** Bearer token of every request but the health probes; none on loopback only. */
  readonly token: string | undefined
  /** Bearer token of the command line beside this server: for control requests, and good for the others too. */
  readonly controlToken: string
}

/** Refuses to open a door without a lock. Errors: `invalid`/`token-required`. */
export function requireTokenBeyondLoopback(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) return
  throw new MillraceError('invalid', 'token-required', `The server would listen on ${host} without a token.`, {
    hint: 'Set MILLRACE_TOKEN (or server.token) to a long random text, or leave server.host at 127.0.0.1.',
    context: { host },
  })
}

/** Throws `denied`: `token-missing`, `token-wrong`, `foreign-host`, `foreign-origin`. */
export function authorize(request: IncomingMessage, access: Access): void {
  if (access.token === undefined) return refuseForeignPages(request)
  const given = bearer(request)
  if (!matches(given, access.token) && !matches(given, access.controlToken)) throw wrongToken()
}

/** As `authorize`, for requests that change the platform: always by the control token. */
export function authorizeControl(request: IncomingMessage, access: Access): void {
  if (!matches(bearer(request), access.controlToken)) throw wrongToken()
}

/**
 * Without a token, a web page open on this machine could reach a loopback server: by a form or script from elsewhere, or by a
 * name of its own that resolves to 127.0.0.1. Browsers tell both in Origin and Host; programs that send neither pass.
 */
function refuseForeignPages({ headers }: IncomingMessage): void {
  const host = headers.host === undefined ? undefined : hostName(headers.host)
  if (host !== undefined && !isLoopback(host)) {
    throw new MillraceError(
      'denied',
      'foreign-host',
      `Requests for the host '${host}' are not answered without a token.`,
      {
        hint: 'Use 127.0.0.1 or localhost, or set MILLRACE_TOKEN.',
      },
    )
  }
  const origin = headers.origin
  if (origin !== undefined && !(URL.canParse(origin) && isLoopback(hostName(new URL(origin).host)))) {
    throw new MillraceError(
      'denied',
      'foreign-origin',
      `Requests from pages of '${origin}' are not answered without a token.`,
      {
        hint: 'Set MILLRACE_TOKEN and send it as a bearer token.',
      },
    )
  }
}

function bearer(request: IncomingMessage): string {
  const given = /^Bearer +(.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (given === undefined) {
    throw new MillraceError('denied', 'token-missing', 'This request needs a token.', {
      hint: "Send 'Authorization: Bearer TOKEN'; the token is what the server was given as MILLRACE_TOKEN.",
    })
  }
  return given.trim()
}

/** In constant time, whatever the lengths. */
function matches(given: string, token: string): boolean {
  return token !== '' && timingSafeEqual(digest(given), digest(token))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function wrongToken(): MillraceError {
  return new MillraceError('denied', 'token-wrong', 'The token is not the right one.', {
    hint: 'The token is what the server was given as MILLRACE_TOKEN; control requests take the one of the data directory.',
  })
}

function hostName(host: string): string {
  return host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

/**
 * What the caller must do about an error. Retry behaviour derives from it.
 *
 * - `invalid`: fix the input (a declaration, a request, a file)
 * - `conflict`: somebody else moved first; read again and retry
 * - `unavailable`: back off and try later
 * - `corrupt`: stop; stored bytes are not what was written
 * - `denied`: the principal may not do this
 * - `internal`: a bug in Millrace
 */
export type ErrorKind = 'invalid' | 'conflict' | 'unavailable' | 'corrupt' | 'denied' | 'internal'

export interface ErrorDetails {
  /** What to do next, one sentence. */
  hint?: string
  /** Where: dataset, column, file, line, offset … Printed as `key=value`. */
  context?: Record<string, string | number | boolean | undefined>
  cause?: unknown
}

/** The one error type of Millrace. `code` is stable and documented; `message` and `hint` are for people. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError'
  readonly kind: ErrorKind
  readonly code: string
  readonly hint: string | undefined
  readonly context: Record<string, string | number | boolean>

  constructor(kind: ErrorKind, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.kind = kind
    this.code = code
    this.hint = details.hint
    this.context = Object.fromEntries(
      Object.entries(details.context ?? {}).filter(
        (entry): entry is [string, string | number | boolean] => entry[1] !== undefined,
      ),
    )
  }

  /** True when the same call may succeed later without a change by the caller. */
  get retryable(): boolean {
    return this.kind === 'conflict' || this.kind === 'unavailable'
  }

  /** The form that crosses process and thread borders. */
  toJSON(): SerializedError {
    return {
      kind: this.kind,
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      context: this.context,
    }
  }

  static from(serialized: SerializedError): MillraceError {
    const { kind, code, message, hint, context } = serialized
    return new MillraceError(kind, code, message, { ...(hint === undefined ? {} : { hint }), context })
  }
}

export interface SerializedError {
  kind: ErrorKind
  code: string
  message: string
  hint?: string
  context: Record<string, string | number | boolean>
}

/** Turns anything thrown into a MillraceError; what is not one already is a bug (`internal`). */
export function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new MillraceError('internal', 'unexpected', message, { cause: error })
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** A statement about the program itself. Never reachable by user input; stays on in production. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition)
    throw new MillraceError('internal', 'assertion', `Assertion failed: ${what}`, {
      hint: 'This is a bug in Millrace; please report it.',
    })
}

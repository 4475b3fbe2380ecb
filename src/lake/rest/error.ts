import { MillraceError } from '../../base/errors.ts'

/** What a client of the catalog asked for cannot be: a malformed or impossible request. */
export function badRequest(message: string, hint?: string): MillraceError {
  return new MillraceError('invalid', 'bad-request', message, hint === undefined ? {} : { hint })
}

/** The table is not as the client takes it to be: load it again and make the change anew. */
export function commitFailed(message: string): MillraceError {
  return new MillraceError('conflict', 'requirement-failed', message, {
    hint: 'Load the table again, and make the change on top of what is there now.',
  })
}

/** Something of the specification that this catalog does not have. */
export function notSupported(message: string, hint?: string): MillraceError {
  return new MillraceError('invalid', 'not-supported', message, hint === undefined ? {} : { hint })
}

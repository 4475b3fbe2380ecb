import { MillraceError } from '../../base/errors.ts'

/**
 * What became of a request that did not succeed:
 *
 * - `absent`: there is no such object
 * - `taken`: a condition of the request did not hold
 * - `refused`: nothing was done, and the same request may succeed later
 * - `unclear`: it may have been done or not, and the same request may succeed later
 * - `final`: nothing was done, nor will be before somebody changes something
 */
export type Outcome = 'absent' | 'taken' | 'refused' | 'unclear' | 'final'

/** A failed request, without anything of the request itself: what the driver throws may carry signed headers. */
export interface Failure {
  readonly outcome: Outcome
  readonly status: number | undefined
  readonly name: string
  readonly message: string
}

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'])

/** What an object that is not there is told by; the answer to HEAD has no body and so no name of its own. */
const ABSENT = new Set(['NoSuchKey', 'NotFound', 'NoSuchUpload'])
const DENIED = /AccessDenied|AccessKey|NoSuchUser|UserNotFound|Signature|InvalidToken|ExpiredToken|Forbidden/

/** What the driver says of an answer that it could not read to its end. */
const BROKEN = /Deserialization error/

/** What a driver's error means. */
export function failureOf(error: unknown): Failure {
  const { name, message, code, $metadata } = error as {
    name?: string
    message?: string
    code?: string
    $metadata?: { httpStatusCode?: number }
  }
  const status = $metadata?.httpStatusCode
  const told = { status, name: code ?? name ?? 'unknown', message: message ?? String(error) }
  return { outcome: outcomeOf(told, name), ...told }
}

function outcomeOf({ status, name, message }: Omit<Failure, 'outcome'>, errorName: string | undefined): Outcome {
  if (UNREACHABLE.has(name)) return 'refused'
  // Cut off in the middle of an answer, whose status then is only half of what it says.
  if (/^E[A-Z]+$/.test(name) || BROKEN.test(message)) return 'unclear'
  // Without an answer, or with one that only a part of the store has given.
  if (status === undefined) return errorName === 'CredentialsProviderError' ? 'final' : 'unclear'
  if (status === 404) return ABSENT.has(name) ? 'absent' : 'final'
  if (status === 412) return 'taken'
  // 409: another conditional request for the same object was under way (ConditionalRequestConflict).
  if (status === 409 || status === 429 || name === 'SlowDown' || name === 'RequestTimeTooSkewed') return 'refused'
  if (status === 501) return 'final'
  // Below 300: the body broke off, or told of a failure.
  if (status >= 500 || status < 300) return 'unclear'
  return 'final'
}

/** The failure as an error that says what to change. */
export function storeError(failure: Failure, bucket: string, what: string): MillraceError {
  const { status, name, message } = failure
  const details = {
    context: { bucket, status },
    cause: new Error(`${name}: ${message}`),
  }
  if (failure.outcome === 'absent')
    return new MillraceError('invalid', 'not-found', `${what} does not exist.`, { context: { bucket } })
  if (name === 'NoSuchBucket') {
    return new MillraceError('invalid', 'no-such-bucket', `There is no bucket '${bucket}'.`, {
      ...details,
      hint: 'Create the bucket, or correct its name or endpoint in the target.',
    })
  }
  if (name === 'CredentialsProviderError') {
    return new MillraceError('denied', 's3-no-credentials', `No credentials were found for bucket '${bucket}'.`, {
      ...details,
      hint: 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the target credentials.',
    })
  }
  if (status === 401 || status === 403 || DENIED.test(name)) {
    return new MillraceError('denied', 's3-denied', `The store denies access to bucket '${bucket}': ${name}.`, {
      ...details,
      hint: 'Check the credentials of the target, and that they may list, read, write and delete in the bucket.',
    })
  }
  if (status === 301 || name === 'AuthorizationHeaderMalformed' || name === 'PermanentRedirect') {
    return new MillraceError('invalid', 's3-region', `Bucket '${bucket}' is in another region: ${message}`, {
      ...details,
      hint: 'Correct the region of the target.',
    })
  }
  if (failure.outcome === 'final') {
    return new MillraceError('invalid', 's3-refused', `The store refuses ${what}: ${name}: ${message}`, details)
  }
  const answer = status === undefined ? `${name}: ${message}` : `it answers ${status} ${name}`
  return new MillraceError(
    'unavailable',
    's3-unavailable',
    `The store of bucket '${bucket}' cannot be used: ${answer}.`,
    {
      ...details,
      hint: 'Check that the endpoint of the target is right and the store runs; work goes on once it does.',
    },
  )
}

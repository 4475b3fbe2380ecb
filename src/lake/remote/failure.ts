import { MillraceError } from '../../base/errors.ts'

/**
 * What became of a request that did not succeed:
 *
 * - `refused`: nothing was done, and the same request may succeed later
 * - `unclear`: it may have been done or not, and the same request may succeed later
 * - `final`: nothing was done, nor will be before something changes
 */
export type Outcome = 'refused' | 'unclear' | 'final'

/** A failed request, without anything of the request itself, which carries a token. */
export class CatalogFailure extends Error {
  readonly outcome: Outcome
  /** Undefined without an answer. */
  readonly status: number | undefined
  /** `ErrorModel.type` of the specification, as `NoSuchTableException`; without an answer the system's name of the failure. */
  readonly type: string

  constructor(outcome: Outcome, status: number | undefined, type: string, message: string) {
    super(message)
    this.outcome = outcome
    this.status = status
    this.type = type
  }
}

/** Nothing was sent. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** What `fetch` threw: no answer, or half of one. */
export function lostAnswer(error: unknown): CatalogFailure {
  const { name, message, cause } = error as { name?: string; message?: string; cause?: { code?: string } }
  const type = cause?.code ?? name ?? 'unknown'
  const isTls = /CERT|SELF_SIGNED|TLS|SSL|UNABLE_TO_VERIFY/.test(type)
  const outcome = isTls ? 'final' : UNREACHABLE.has(type) ? 'refused' : 'unclear'
  return new CatalogFailure(outcome, undefined, type, message ?? String(error))
}

/** An answer that is none of success (`IcebergErrorResponse` of the specification; of a token, RFC 6749, 5.2). */
export function badAnswer(status: number, body: unknown): CatalogFailure {
  // Success of something that is no catalog, or that broke off.
  if (status < 400) return new CatalogFailure('unclear', status, '', 'which is not that of an Iceberg REST catalog')
  const { error, error_description: description = '' } = (typeof body === 'object' && body !== null ? body : {}) as {
    error?: { type?: string; message?: string } | string
    error_description?: string
  }
  const { type = '', message = '' } = typeof error === 'string' ? { type: error, message: description } : (error ?? {})
  const isUnclear = status >= 500 && status !== 501
  return new CatalogFailure(status === 429 ? 'refused' : isUnclear ? 'unclear' : 'final', status, type, message)
}

/** The failure as an error that says what to change. `what` names what was asked for. */
export function catalogError(failure: CatalogFailure, uri: string, what: string): MillraceError {
  const { status, type, message, outcome } = failure
  const said = [type, message].filter(Boolean).join(': ').replace(/\.$/, '')
  const details = { context: { catalog: uri, ...(status === undefined ? {} : { status }) } }
  const told = said === '' ? '' : `: ${said}`
  if (status === 401 || status === 419) {
    return new MillraceError('denied', 'catalog-login', `The catalog ${uri} does not know who is asking${told}.`, {
      ...details,
      hint: 'Check token, or credential (id:secret), of lake.catalog in the target.',
    })
  }
  if (status === 403) {
    return new MillraceError('denied', 'catalog-denied', `The catalog ${uri} does not allow it: ${what}${told}.`, {
      ...details,
      hint: 'Give the principal of lake.catalog the right to create, read, write and drop tables there. Catalogs that guard places want the lake below their own: check bucket and prefix, or path.',
    })
  }
  if (outcome === 'final') {
    const answer = status === undefined ? '' : ` (${status})`
    return new MillraceError('invalid', 'catalog-refused', `The catalog ${uri} refuses${answer}: ${what}${told}.`, {
      ...details,
      hint: 'Check uri, warehouse and namespace of lake.catalog, and that the lake lies where the catalog keeps its tables (bucket and prefix, or path).',
    })
  }
  const answer = status === undefined ? said : `it answers ${status} ${said}`.trim()
  return new MillraceError('unavailable', 'catalog-unavailable', `The catalog ${uri} cannot be used: ${answer}.`, {
    ...details,
    hint: 'Check that uri of lake.catalog is right and the catalog runs; work goes on once it does.',
  })
}

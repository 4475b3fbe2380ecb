import type { Duration } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import type { Columns, RowOf } from './columns.ts'
import { DECLARED, type Dataset, isDataset, isDeclaration } from './dataset.ts'
import { type Place, callerPlace } from './place.ts'
import type { Stream } from './stream.ts'
import type { Table } from './table.ts'

export interface HandlerOptions {
  /** Names the handler. How far it is, is kept under its name: under another it is a new one. */
  name: string
  /** A new handler begins with all rows there are. Without it, with what is published next. */
  from?: 'start'
  /** Rows of one call at most. Default 1,000. */
  batch?: number
  /** A call that takes longer has failed, and is made again. Default '30 seconds'. */
  timeout?: Duration
  doc?: string
}

/** Rows of one published change, or a part of them where it is large. */
export interface ChangeBatch<Row = Record<string, unknown>> {
  /** The same whenever this batch is delivered again: dataset, snapshot, and the batch's first row in the change. */
  readonly id: string
  readonly dataset: string
  readonly snapshot: string
  /** Rows that came. A row that changed is among both. */
  readonly rows: readonly Row[]
  /** Rows that are gone, as they were. They come before the rows that came in their place. */
  readonly removed: readonly Row[]
  /** What was missed can no longer be told: this is a part of all rows there are, some of which may have been delivered before. */
  readonly reset: boolean
  /** Aborts when the call has taken too long, or the platform stops. */
  readonly signal: AbortSignal
}

/** The call is done when it returns, or what it returns resolves. What it throws makes it be called again, later. */
export type ChangeHandler<Row = Record<string, unknown>> = (batch: ChangeBatch<Row>) => unknown

/** Code that is called with what a dataset publishes. */
export interface Handler {
  readonly [DECLARED]: true
  readonly kind: 'handler'
  readonly name: string
  readonly dataset: Dataset
  readonly handle: ChangeHandler
  readonly from: 'start' | undefined
  readonly batch: number
  readonly timeout: Duration
  readonly doc: string | undefined
  readonly place: Place | undefined
}

/** The columns Millrace gives the rows of a stream: which record of its log a row was. */
interface Origin {
  readonly _partition: number
  readonly _offset: number | bigint
}

/**
 * Declares code that is called with the rows of each published change of a dataset: in order, one call at a time, at least
 * once. A batch that may have been delivered before comes with the same `id`.
 *
 *     export const notify = onChange(orders, async ({ id, rows, signal }) => { … }, { name: 'notify' })
 *
 * Errors: `invalid`/`not-a-dataset`, `not-a-function`.
 */
export function onChange<C extends Columns>(
  dataset: Stream<C>,
  handler: ChangeHandler<RowOf<C> & Origin>,
  options: HandlerOptions,
): Handler
export function onChange(dataset: Table, handler: ChangeHandler, options: HandlerOptions): Handler
export function onChange(dataset: Dataset, handler: ChangeHandler<never>, options?: Partial<HandlerOptions>): Handler {
  // A missing name is found by the rules, as a bad one is.
  const { name = '', from, batch = 1_000, timeout = '30 seconds', doc } = options ?? {}
  requireDataset(dataset, name)
  if (typeof handler !== 'function') {
    throw new MillraceError('invalid', 'not-a-function', `handler '${name}': what is to be called is no function.`, {
      hint: "Write onChange(dataset, async ({ rows }) => { … }, { name: '…' }).",
    })
  }
  return {
    [DECLARED]: true,
    kind: 'handler',
    name,
    dataset,
    handle: handler as ChangeHandler,
    from,
    batch,
    timeout,
    doc,
    place: callerPlace(),
  }
}

function requireDataset(value: unknown, name: string): void {
  if (isDeclaration(value) && isDataset(value)) return
  const found = isDeclaration(value) ? `an ${value.kind}` : value === undefined ? 'undefined' : `a ${typeof value}`
  throw new MillraceError('invalid', 'not-a-dataset', `handler '${name}': what it is to follow is ${found}.`, {
    hint: 'Name a stream or table by the variable that declares it.',
  })
}

import type { Duration } from '../base/duration.ts'
import type { Dataset } from './dataset.ts'

/** Windows of event time, aligned to 1970-01-01 UTC. */
export interface SlidingWindow {
  /** Length of a window. */
  size: Duration
  /** Distance between the starts of two windows; less than `size` makes windows overlap (hopping). Default: `size` (tumbling). */
  every?: Duration
  gap?: never
  by?: never
}

/** Events of one key that follow each other within a gap. */
export interface SessionWindow {
  /** A session ends when no event of its key came for so long. */
  gap: Duration
  /** The key: a session is one key's. */
  by: string | readonly string[]
  size?: never
  every?: never
}

export type Window = SlidingWindow | SessionWindow

/** When a window's rows are published: once it is closed, or as they come. */
export type Emit = 'closed' | 'continuous'

/** How far beyond a window an input is read: from its start less `before` to its end plus `after`. */
export interface Reach {
  /** `always`: from the beginning. */
  readonly before: Duration
  readonly after: Duration
}

/** A dataset in a windowed table's SQL that is read beyond the window's own rows. Made by `within`. */
export class Within {
  readonly dataset: Dataset
  readonly reach: Reach
  constructor(dataset: Dataset, reach: Reach) {
    this.dataset = dataset
    this.reach = reach
  }
}

/**
 * An input of a windowed table that is read from `before` the window's start to `after` its end; the window closes when
 * the watermark has passed that. So streams are joined within an interval of time:
 *
 *     table('paid', { window: { size: '10 minutes' }, sql: sql`
 *       select o.order_id, p.amount from ${orders} o left join ${within(payments, { after: '1 hour' })} p
 *       on p.order_id = o.order_id and p.paid_at between o.ordered_at and o.ordered_at + interval 1 hour` })
 *
 * `before: 'always'` reads from the beginning: the versions of something, to find the one that was valid then.
 */
export function within(dataset: Dataset, reach: { before?: Duration; after?: Duration }): Within {
  return new Within(dataset, { before: reach.before ?? '0 s', after: reach.after ?? '0 s' })
}

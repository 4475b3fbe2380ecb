import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** User sessions: how many bids a bidder made without a pause of ten seconds. */
export const q11 = table('q11', {
  window: { gap: '10 seconds', by: 'bidder' },
  acceptLate: '30 seconds',
  sql: sql`select count(*) as bid_count from ${bids}`,
})

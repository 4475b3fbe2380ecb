import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Pass through: what everything costs that is not the query. */
export const q0 = table('q0', {
  sql: sql`select auction, bidder, price, date_time, extra from ${bids}`,
})

import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Currency conversion: dollars to euros. */
export const q1 = table('q1', {
  sql: sql`select auction, bidder, cast(0.908 * price as decimal(23, 3)) as price, date_time, extra from ${bids}`,
})

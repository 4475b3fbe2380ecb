import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** The last bid of each bidder on each auction. */
export const q18 = table('q18', {
  key: ['bidder', 'auction'],
  version: 'date_time',
  sql: sql`select auction, bidder, price, channel, url, date_time, extra from ${bids}`,
})

import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** The highest bids of every ten seconds. */
export const q7 = table('q7', {
  window: { size: '10 seconds' },
  acceptLate: '30 seconds',
  sql: sql`
    select auction, bidder, price, date_time, extra from ${bids}
    where price = (select max(price) from ${bids})`,
})

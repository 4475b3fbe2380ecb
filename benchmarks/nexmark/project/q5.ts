import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Hot items: the auctions with the most bids of the last ten seconds, every two seconds. */
export const q5 = table('q5', {
  window: { size: '10 seconds', every: '2 seconds' },
  acceptLate: '30 seconds',
  sql: sql`
    with counted as (select auction, count(*) as num from ${bids} group by auction)
    select auction, num from counted where num = (select max(num) from counted)`,
})

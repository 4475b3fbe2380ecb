import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Statistics of each auction and day. */
export const q17 = table('q17', {
  interval: 'day',
  sql: sql`
    select auction, count(*) as total_bids,
      count(*) filter (where price < 10000) as rank1_bids,
      count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
      count(*) filter (where price >= 1000000) as rank3_bids,
      min(price) as min_price, max(price) as max_price,
      cast(floor(avg(price)) as bigint) as avg_price, cast(sum(price) as bigint) as sum_price
    from ${bids} group by auction`,
})

import { sql, table, within } from 'millrace'
import { auctions, bids } from './streams.ts'

/** The winning bid of each auction: the highest, of those the earliest. No auction is open for longer than twenty seconds. */
export const q9 = table('q9', {
  window: { size: '20 seconds' },
  emit: 'continuous',
  acceptLate: '30 seconds',
  sql: sql`
    with ranked as (
      select a.*, b.auction, b.bidder, b.price, b.date_time as bid_date_time, b.extra as bid_extra,
        row_number() over (partition by a.id order by b.price desc, b.date_time, b.bidder, b.extra) as place
      from ${auctions} as a join ${within(bids, { after: '20 seconds' })} as b on b.auction = a.id
      where b.date_time between a.date_time and a.expires
    )
    select id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra,
      auction, bidder, price, bid_date_time, bid_extra
    from ranked where place = 1`,
})

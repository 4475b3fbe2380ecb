import { sql, table, within } from 'millrace'
import { auctions, bids } from './streams.ts'

/** The winning bid of each auction: the highest, of those the earliest. No auction is open for longer than twenty seconds. */
export const q9 = table('q9', {
  window: { size: '20 seconds' },
  emit: 'continuous',
  acceptLate: '30 seconds',
  sql: sql`
    with won as (
      select b.auction, b.bidder, b.price, b.date_time as bid_date_time, b.extra as bid_extra,
        row_number() over (partition by b.auction order by b.price desc, b.date_time, b.bidder, b.extra) as place
      from ${auctions} as a join ${within(bids, { after: '20 seconds' })} as b on b.auction = a.id
      where b.date_time between a.date_time and a.expires
    )
    select a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, a.category,
      a.extra, won.auction, won.bidder, won.price, won.bid_date_time, won.bid_extra
    from ${auctions} as a join won on won.auction = a.id
    where won.place = 1`,
})

import { sql, table } from 'millrace'
import { auctions, bids } from './streams.ts'

/** Bids on auctions of category 10, with the auction. */
export const q20 = table('q20', {
  sql: sql`
    select b.auction, b.bidder, b.price, b.channel, b.url, b.date_time as bid_date_time, b.extra as bid_extra,
      a.item_name, a.description, a.initial_bid, a.reserve, a.date_time as auction_date_time, a.expires, a.seller,
      a.category, a.extra as auction_extra
    from ${bids} as b join ${auctions} as a on b.auction = a.id
    where a.category = 10`,
})

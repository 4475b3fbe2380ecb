import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** The directories of a bid's url. */
export const q22 = table('q22', {
  sql: sql`
    select auction, bidder, price, channel,
      split_part(url, '/', 4) as dir1, split_part(url, '/', 5) as dir2, split_part(url, '/', 6) as dir3
    from ${bids}`,
})

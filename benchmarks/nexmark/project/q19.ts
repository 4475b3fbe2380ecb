import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** The ten highest bids of each auction. */
export const q19 = table('q19', {
  sql: sql`
    select * from (
      select auction, bidder, price, channel, url, date_time, extra,
        row_number() over (partition by auction order by price desc, date_time, bidder, extra) as rank_number
      from ${bids}
    ) as ranked where rank_number <= 10`,
})

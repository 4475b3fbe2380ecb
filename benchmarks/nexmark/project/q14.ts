import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Calculation: kinds of times, prices within bounds; the benchmark's function count_char is written in SQL. */
export const q14 = table('q14', {
  sql: sql`
    select auction, bidder, cast(0.908 * price as decimal(23, 3)) as price,
      case
        when hour(date_time) >= 8 and hour(date_time) <= 18 then 'dayTime'
        when hour(date_time) <= 6 or hour(date_time) >= 20 then 'nightTime'
        else 'otherTime'
      end as bid_time_type,
      date_time, extra, length(extra) - length(replace(extra, 'c', '')) as c_counts
    from ${bids}
    where 0.908 * price > 1000000 and 0.908 * price < 50000000`,
})

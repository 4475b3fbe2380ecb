import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Log to files: all bids, in files for each minute. */
export const q10 = table('q10', {
  partitionBy: [
    { column: 'dt', by: 'identity' },
    { column: 'hm', by: 'identity' },
  ],
  sql: sql`
    select auction, bidder, price, date_time, extra,
      substr(cast(date_time as string), 1, 10) as dt, substr(cast(date_time as string), 12, 5) as hm
    from ${bids}`,
})

import { sql, table } from 'millrace'
import { auctions, bids } from './streams.ts'

/** Average of the winning prices of each category. */
export const q4 = table('q4', {
  sql: sql`
    with winning as (
      select a.id, a.category, max(b.price) as final
      from ${auctions} as a join ${bids} as b on b.auction = a.id
      where b.date_time between a.date_time and a.expires
      group by a.id, a.category
    )
    select category, cast(floor(avg(final)) as bigint) as final from winning group by category`,
})

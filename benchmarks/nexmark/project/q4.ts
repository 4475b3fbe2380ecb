import { sql, table, within } from 'millrace'
import { auctions, bids } from './streams.ts'

/** The winning price of each auction. No auction is open for longer than twenty seconds. */
export const winningPrices = table('winning_prices', {
  window: { size: '20 seconds' },
  emit: 'continuous',
  acceptLate: '30 seconds',
  sql: sql`
    select a.id, a.category, max(b.price) as price
    from ${auctions} as a join ${within(bids, { after: '20 seconds' })} as b on b.auction = a.id
    where b.date_time between a.date_time and a.expires
    group by a.id, a.category`,
})

/** Average of the winning prices of each category. */
export const q4 = table('q4', {
  sql: sql`select category, cast(floor(avg(price)) as bigint) as final from ${winningPrices} group by category`,
})

import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Selection: bids on every 123rd auction. */
export const q2 = table('q2', {
  sql: sql`select auction, price from ${bids} where auction % 123 = 0`,
})

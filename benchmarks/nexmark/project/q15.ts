import { sql, table } from 'millrace'
import { statistics } from './statistics.ts'
import { bids } from './streams.ts'

/** Bidding statistics of each day. */
export const q15 = table('q15', {
  interval: 'day',
  sql: sql`select ${statistics} from ${bids}`,
})

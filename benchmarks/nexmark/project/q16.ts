import { sql, table } from 'millrace'
import { statistics } from './statistics.ts'
import { bids } from './streams.ts'

/** Statistics of each channel and day, with the minute of its last bid. */
export const q16 = table('q16', {
  interval: 'day',
  sql: sql`select channel, date_trunc('minute', max(date_time)) as minute, ${statistics} from ${bids} group by channel`,
})

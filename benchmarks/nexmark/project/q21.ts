import { sql, table } from 'millrace'
import { bids } from './streams.ts'

/** Bids with the number of their channel, from its name or the url. */
export const q21 = table('q21', {
  sql: sql`
    select auction, bidder, price, channel,
      case lower(channel)
        when 'apple' then '0'
        when 'google' then '1'
        when 'facebook' then '2'
        when 'baidu' then '3'
        else regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)
      end as channel_id
    from ${bids}
    where lower(channel) in ('apple', 'google', 'facebook', 'baidu')
      or regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) <> ''`,
})

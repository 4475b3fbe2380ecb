import { endpoint, sql, t } from 'millrace'
import { funnelHours, lastSeen, pageMinutes, sessions, topPages } from './tables.ts'

export const minutes = endpoint('page-minutes', {
  doc: 'Views of a page, minute by minute.',
  params: { page: t.string(), from: t.timestamp().nullable(), to: t.timestamp().nullable() },
  sql: sql`
    select window_start as minute, views, users
    from ${pageMinutes}
    where page = ${'page'}
      and window_start >= coalesce(${'from'}, timestamp '1970-01-01')
      and window_start < coalesce(${'to'}, timestamp '2100-01-01')
    order by minute`,
})

export const trending = endpoint('trending', {
  doc: 'The most viewed pages of the last ten minutes: of the open windows, that which is over next.',
  sql: sql`
    select window_start, window_end, page, views
    from ${topPages}
    where window_start = (select min(window_start) from ${topPages} where window_open)
    order by views desc, page`,
})

export const visits = endpoint('visits', {
  doc: 'The visits of a user that are over, and where the user was last.',
  params: { user: t.string() },
  sql: sql`
    select s.window_start as began, s.events, s.entered_on, s.left_on, s.spent, l.at_time as last_seen
    from ${sessions} s join ${lastSeen} l using (user_id)
    where user_id = ${'user'}
    order by began`,
})

export const conversion = endpoint('conversion', {
  doc: 'Of a product or all: views, carts and purchases.',
  params: { product: t.string().nullable() },
  sql: sql`
    select product, sum(viewed) as viewed, sum(carted) as carted, sum(bought) as bought,
           round(100.0 * sum(bought) / sum(viewed), 1) as percent
    from ${funnelHours}
    where product = coalesce(${'product'}, product)
    group by product
    order by percent desc, product`,
})

import { check, sql, table, within } from 'millrace'
import { clicks } from './clicks.ts'

/** So late an event may be and still correct what was published. What comes later goes to quarantine. */
const acceptLate = '1 hour'

export const pageMinutes = table('page_minutes', {
  doc: 'Views of a page in a minute, once the minute is over.',
  window: { size: '1 minute' },
  acceptLate,
  sql: sql`
    select page, count(*) as views, count(distinct user_id) as users
    from ${clicks}
    where kind = 'view'
    group by page`,
  checks: [check.unique(['window_start', 'page'])],
})

export const pageHours = table('page_hours', {
  doc: 'Views of a page in an hour, from its minutes: the clicks themselves are not read again.',
  interval: 'hour',
  sql: sql`select page, sum(views) as views, max(views) as busiest_minute from ${pageMinutes} group by page`,
  checks: [check.sumEquals('views', pageMinutes, 'views')],
})

export const topPages = table('top_pages', {
  doc: 'The three most viewed pages of the last ten minutes, every minute; up to date while the minute runs.',
  window: { size: '10 minutes', every: '1 minute' },
  emit: 'continuous',
  acceptLate,
  sql: sql`
    select page, count(*) as views
    from ${clicks}
    where kind = 'view'
    group by page
    order by views desc, page
    limit 3`,
})

export const sessions = table('sessions', {
  doc: 'Visits: the events of a user with less than half an hour between them.',
  window: { gap: '30 minutes', by: 'user_id' },
  acceptLate,
  sql: sql`
    select count(*) as events,
           count(*) filter (where kind = 'view') as views,
           min_by(page, at_time) as entered_on,
           max_by(page, at_time) as left_on,
           coalesce(sum(price) filter (where kind = 'buy'), 0) as spent
    from ${clicks}`,
  checks: [check.unique(['user_id', 'window_start'])],
})

export const funnel = table('funnel', {
  doc: 'Each first view of a product in ten minutes, with what followed: into the cart within 20 minutes, bought within the hour.',
  window: { size: '10 minutes' },
  acceptLate,
  sql: sql`
    select v.user_id, v.product, v.viewed_at, min(c.at_time) as carted_at, min(b.at_time) as bought_at
    from (select user_id, product, min(at_time) as viewed_at
          from ${clicks} where kind = 'view' and product is not null
          group by user_id, product) v
    left join ${within(clicks, { after: '20 minutes' })} c
      on c.kind = 'cart' and c.user_id = v.user_id and c.product = v.product
     and c.at_time >= v.viewed_at and c.at_time < v.viewed_at + interval 20 minutes
    left join ${within(clicks, { after: '1 hour' })} b
      on b.kind = 'buy' and b.user_id = v.user_id and b.product = v.product
     and b.at_time >= c.at_time and b.at_time < v.viewed_at + interval 1 hour
    group by v.user_id, v.product, v.viewed_at`,
  checks: [check.unique(['window_start', 'user_id', 'product'])],
})

export const funnelHours = table('funnel_hours', {
  doc: 'How many views of a product led to the cart, and to a purchase.',
  interval: 'hour',
  sql: sql`
    select product, count(*) as viewed, count(carted_at) as carted, count(bought_at) as bought
    from ${funnel}
    group by product`,
})

export const lastSeen = table('last_seen', {
  doc: 'Where each user was last.',
  key: 'user_id',
  version: 'at_time',
  sql: sql`select user_id, at_time, page, event_id from ${clicks}`,
})

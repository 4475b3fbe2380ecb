import { check, endpoint, sql, stream, t, table } from 'millrace'

/** Clicks, as browsers report them: POST /v1/streams/clicks. */
export const clicks = stream('clicks', {
  columns: {
    id: t.string().doc('Chosen by the browser, so that a report sent twice counts once.'),
    clicked_at: t.timestamp(),
    page: t.string(),
    visitor: t.string().nullable(),
    ms_on_page: t.int().nullable(),
  },
  time: 'clicked_at',
  unique: ['id'],
  partitionBy: 'day',
  checks: [check.matches('page', /^\//), check.range('ms_on_page', { min: 0 })],
})

/** One partition an hour, recomputed as a whole when clicks of that hour arrive, however late. */
export const hourlyPages = table('hourly_pages', {
  interval: 'hour',
  sql: sql`
    select page, count(*) as clicks, count(distinct visitor) as visitors
    from ${clicks}
    group by page`,
  checks: [check.unique(['hour', 'page'])],
})

/** GET /v1/endpoints/top-pages?day=2026-01-31 */
export const topPages = endpoint('top-pages', {
  params: { day: t.date() },
  sql: sql`
    select page, sum(clicks) as clicks
    from ${hourlyPages}
    where hour::date = ${'day'}
    group by page
    order by clicks desc, page
    limit 10`,
})

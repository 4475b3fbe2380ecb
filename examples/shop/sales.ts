import { check, endpoint, sql, t, table } from 'millrace'
import { orders } from './orders.ts'

export const dailyRevenue = table('daily_revenue', {
  doc: 'Revenue of a day and country, in pounds.',
  interval: 'day',
  sql: sql`
    select country,
           sum(quantity * unit_price) filter (where quantity > 0) as sold,
           coalesce(-sum(quantity * unit_price) filter (where quantity < 0), 0) as returned,
           sum(quantity * unit_price) as revenue,
           count(distinct invoice) filter (where quantity > 0) as orders
    from ${orders}
    group by country`,
  checks: [
    check.unique(['day', 'country']),
    // Reconciliation: not a penny is lost between the lines and the days.
    check.sumEquals('revenue', orders, 'quantity * unit_price'),
  ],
})

export const monthlyRevenue = table('monthly_revenue', {
  doc: 'Revenue of a month and country, from its days.',
  interval: 'month',
  sql: sql`select country, sum(revenue) as revenue, sum(orders) as orders, count(*) as trading_days from ${dailyRevenue} group by country`,
  checks: [check.sumEquals('revenue', dailyRevenue, 'revenue')],
})

export const customerValue = table('customer_value', {
  doc: 'What each known customer has bought and returned so far.',
  sql: sql`
    select customer_id,
           max_by(country, ordered_at) as country,
           min(ordered_at) as first_order,
           max(ordered_at) as last_order,
           count(distinct invoice) filter (where quantity > 0) as orders,
           sum(quantity * unit_price) as revenue
    from ${orders}
    where customer_id is not null
    group by customer_id`,
  checks: [check.unique('customer_id'), check.rowCount({ min: 1, severity: 'warn' })],
})

export const productRanking = table('product_ranking', {
  doc: 'Products by revenue; services (postage, fees) are left out.',
  sql: sql`
    select row_number() over (order by sum(quantity * unit_price) desc, stock_code) as rank,
           stock_code,
           max(description) as description,
           sum(quantity) as pieces,
           sum(quantity * unit_price) as revenue
    from ${orders}
    where regexp_extract(stock_code, '^[0-9]{5}', 0) <> ''
    group by stock_code`,
  checks: [check.unique('rank'), check.unique('stock_code')],
})

export const returns = table('returns', {
  doc: 'Returned lines by month and product, with the share of what was sold.',
  interval: 'month',
  sql: sql`
    select stock_code,
           max(description) as description,
           -sum(quantity) filter (where quantity < 0) as returned,
           coalesce(sum(quantity) filter (where quantity > 0), 0) as sold
    from ${orders}
    group by stock_code
    having count(*) filter (where quantity < 0) > 0`,
})

export const topCountries = endpoint('top-countries', {
  doc: 'Countries by revenue on a day.',
  params: { day: t.date() },
  sql: sql`select country, revenue, orders from ${dailyRevenue} where day = ${'day'} order by revenue desc limit 10`,
})

export const customer = endpoint('customer', {
  doc: 'One customer.',
  params: { id: t.string() },
  sql: sql`select * from ${customerValue} where customer_id = ${'id'}`,
})

export const bestsellers = endpoint('bestsellers', {
  doc: 'The best products.',
  params: { count: t.int().nullable() },
  sql: sql`select * from ${productRanking} where rank <= coalesce(${'count'}, 10) order by rank`,
})

import { check, endpoint, source, sql, stream, t, table } from 'millrace'

/** Lines of sale, from every CSV file in data/. A new file is loaded once, a changed one takes the place of what it brought. */
export const sales = stream('sales', {
  columns: {
    sale: t.string(),
    line: t.int(),
    sold_at: t.timestamp(),
    product: t.string(),
    quantity: t.int(),
    price: t.decimal(10, 2),
  },
  time: 'sold_at',
  unique: ['sale', 'line'],
  partitionBy: 'month',
  source: source.files({
    name: 'shops',
    path: 'data/*.csv',
    nulls: ['', 'n/a'],
    number: { decimal: ',', group: '.', strip: ['€'] },
    timestamp: ['%d.%m.%Y %H:%M'],
    delimiter: ';',
    // A column not named here comes from the field of its own name.
    map: { sold_at: 'Date', product: 'Product', quantity: 'Pieces', price: 'Price', sale: 'Sale', line: 'Line' },
  }),
  checks: [check.range('quantity', { min: 1 }), check.range('price', { min: 0 })],
})

/** One partition a day, recomputed as a whole when sales of that day arrive. */
export const dailySales = table('daily_sales', {
  interval: 'day',
  sql: sql`
    select product, sum(quantity) as pieces, sum(quantity * price) as revenue
    from ${sales}
    group by product`,
  checks: [
    check.unique(['day', 'product']),
    // Reconciliation: not a cent is lost between the lines and the days.
    check.sumEquals('revenue', sales, 'quantity * price'),
  ],
})

/** GET /v1/endpoints/bestsellers?count=3 */
export const bestsellers = endpoint('bestsellers', {
  params: { count: t.int().nullable() },
  sql: sql`
    select product, sum(revenue) as revenue
    from ${dailySales}
    group by product
    order by revenue desc, product
    limit coalesce(${'count'}, 10)`,
})

import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import { orders } from '../../examples/shop/orders.ts'
import { customerValue, dailyRevenue, monthlyRevenue, productRanking, returns } from '../../examples/shop/sales.ts'
import { type Home, type Row, jsonRows } from './home.ts'

export const SHOP = [orders, dailyRevenue, monthlyRevenue, customerValue, productRanking, returns]

const DATA = fileURLToPath(new URL('../../examples/shop/data/', import.meta.url))

export const FILES = (await readdir(DATA)).sort()

/** Puts the retail files of some days into a home's project folder. */
export async function deliver(home: Home, files: readonly string[] = FILES): Promise<void> {
  await mkdir(join(home.directory, 'data'), { recursive: true })
  for (const file of files) await copyFile(join(DATA, file), join(home.directory, 'data', file))
}

export async function lines(file: string): Promise<string[]> {
  return (await readFile(join(DATA, file), 'utf8')).trimEnd().split('\n')
}

export async function rewrite(home: Home, file: string, change: (lines: string[]) => string[]): Promise<void> {
  await mkdir(join(home.directory, 'data'), { recursive: true })
  await writeFile(join(home.directory, 'data', file), `${change(await lines(file)).join('\n')}\n`)
}

/**
 * The answer worked out another way: plain SQL over the CSV files. `line` holds every line with what becomes of it, `sale`
 * the accepted ones.
 */
export async function directly(home: Home, sql: string): Promise<Row[]> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`
    CREATE TABLE line AS
    WITH read AS (
      SELECT *, row_number() OVER () AS n
      FROM read_csv('${home.directory}/data/*.csv', all_varchar = true, header = true, nullstr = '', filename = true,
                    delim = ',', quote = '"')
    ), text AS (
      SELECT *, 'data/' || parse_filename(filename) AS file, n - min(n) OVER (PARTITION BY filename) + 2 AS line FROM read
    ), typed AS (
      SELECT file, line, InvoiceNo AS invoice, StockCode AS stock_code, trim("Description") AS description,
             Quantity::INT AS quantity, InvoiceDate::TIMESTAMP AS ordered_at, UnitPrice::DECIMAL(10, 3) AS unit_price,
             replace(CustomerID, '.0', '') AS customer_id, Country AS country
      FROM text
    ), judged AS (
      SELECT *, CASE WHEN NOT regexp_full_match(invoice, 'C?[0-9]{6}') THEN 'matches(invoice)'
                     WHEN unit_price <= 0 THEN 'priced'
                     WHEN (quantity < 0) <> starts_with(invoice, 'C') THEN 'sign' END AS rule
      FROM typed
    )
    SELECT *, rule IS NULL AND row_number() OVER (
      PARTITION BY rule IS NULL, invoice, stock_code, description, quantity, ordered_at, unit_price, customer_id, country
      ORDER BY file, line) > 1 AS repeated
    FROM judged`)
  await connection.run('CREATE VIEW sale AS SELECT * FROM line WHERE rule IS NULL AND NOT repeated')
  try {
    return jsonRows(await connection.runAndReadAll(sql))
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

/** Each table's rows as the platform publishes them, and as plain SQL over the files gives them. */
export const QUESTIONS: Record<string, { published: string; directly: string }> = {
  orders: {
    published: `SELECT invoice, stock_code, description, quantity, ordered_at, unit_price, customer_id, country FROM {orders} ORDER BY ALL`,
    directly: `SELECT invoice, stock_code, description, quantity, ordered_at, unit_price, customer_id, country FROM sale ORDER BY ALL`,
  },
  daily_revenue: {
    published: `SELECT day, country, sold::DECIMAL(20, 3) AS sold, returned::DECIMAL(20, 3) AS returned, revenue::DECIMAL(20, 3) AS revenue, orders FROM {daily_revenue} ORDER BY ALL`,
    directly: `SELECT ordered_at::DATE AS day, country,
        sum(CASE WHEN quantity > 0 THEN quantity * unit_price END)::DECIMAL(20, 3) AS sold,
        -sum(CASE WHEN quantity < 0 THEN quantity * unit_price ELSE 0 END)::DECIMAL(20, 3) AS returned,
        sum(quantity * unit_price)::DECIMAL(20, 3) AS revenue,
        count(DISTINCT CASE WHEN quantity > 0 THEN invoice END) AS orders
      FROM sale GROUP BY ALL ORDER BY ALL`,
  },
  monthly_revenue: {
    published: `SELECT month, country, revenue::DECIMAL(20, 3) AS revenue, orders::BIGINT AS orders, trading_days FROM {monthly_revenue} ORDER BY ALL`,
    directly: `SELECT date_trunc('month', ordered_at)::DATE AS month, country, sum(quantity * unit_price)::DECIMAL(20, 3) AS revenue,
        count(DISTINCT CASE WHEN quantity > 0 THEN (ordered_at::DATE, invoice) END) AS orders,
        count(DISTINCT ordered_at::DATE) AS trading_days
      FROM sale GROUP BY ALL ORDER BY ALL`,
  },
  customer_value: {
    published: `SELECT customer_id, country, first_order, last_order, orders, revenue::DECIMAL(20, 3) AS revenue FROM {customer_value} ORDER BY ALL`,
    directly: `SELECT customer_id, arg_max(country, ordered_at) AS country, min(ordered_at) AS first_order, max(ordered_at) AS last_order,
        count(DISTINCT CASE WHEN quantity > 0 THEN invoice END) AS orders, sum(quantity * unit_price)::DECIMAL(20, 3) AS revenue
      FROM sale WHERE customer_id IS NOT NULL GROUP BY 1 ORDER BY ALL`,
  },
  product_ranking: {
    published: `SELECT rank, stock_code, description, pieces::BIGINT AS pieces, revenue::DECIMAL(20, 3) AS revenue FROM {product_ranking} ORDER BY ALL`,
    directly: `SELECT row_number() OVER (ORDER BY revenue DESC, stock_code) AS rank, * FROM (
        SELECT stock_code, max(description) AS description, sum(quantity)::BIGINT AS pieces, sum(quantity * unit_price)::DECIMAL(20, 3) AS revenue
        FROM sale WHERE stock_code[1:5] SIMILAR TO '[0-9]{5}' GROUP BY 1) ORDER BY ALL`,
  },
  returns: {
    published: `SELECT month, stock_code, description, returned::BIGINT AS returned, sold::BIGINT AS sold FROM {returns} ORDER BY ALL`,
    directly: `SELECT date_trunc('month', ordered_at)::DATE AS month, stock_code, max(description) AS description,
        -sum(least(quantity, 0))::BIGINT AS returned, sum(greatest(quantity, 0))::BIGINT AS sold
      FROM sale GROUP BY ALL HAVING min(quantity) < 0 ORDER BY ALL`,
  },
}

import { join } from 'node:path'
import { STREAMS, type StreamName } from './generator.ts'

/**
 * For each query one bulk statement of DuckDB over all events, written from the benchmark's definition and apart from the
 * project: windows are arithmetic on times, sessions are gaps and islands. Columns have the names and types that the
 * project's tables publish.
 */

/** Columns of the files, and how DuckDB reads them. */
const COLUMNS: Record<StreamName, string> = {
  persons: `{id: 'BIGINT', name: 'VARCHAR', email_address: 'VARCHAR', credit_card: 'VARCHAR', city: 'VARCHAR', state: 'VARCHAR', date_time: 'TIMESTAMP', extra: 'VARCHAR'}`,
  auctions: `{id: 'BIGINT', item_name: 'VARCHAR', description: 'VARCHAR', initial_bid: 'BIGINT', reserve: 'BIGINT', date_time: 'TIMESTAMP', expires: 'TIMESTAMP', seller: 'BIGINT', category: 'BIGINT', extra: 'VARCHAR'}`,
  bids: `{auction: 'BIGINT', bidder: 'BIGINT', price: 'BIGINT', channel: 'VARCHAR', url: 'VARCHAR', date_time: 'TIMESTAMP', extra: 'VARCHAR'}`,
}

/** Statements that make the files of a folder views. */
export function views(directory: string): string[] {
  return STREAMS.map(
    (stream) =>
      `CREATE OR REPLACE VIEW ${stream} AS SELECT * FROM read_ndjson('${join(directory, `${stream}.ndjson`)}', columns = ${COLUMNS[stream]})`,
  )
}

/** Windows are there whose end every input's newest time, less four seconds, has reached. */
const reached = (...relations: string[]) =>
  `(SELECT least(${relations.map((relation) => `(SELECT max(date_time) FROM ${relation})`).join(', ')}) - INTERVAL 4 SECOND)`

const RANKS = ['true', 'price < 10000', 'price BETWEEN 10000 AND 999999', 'price > 999999']
const counts = (distinct: string, name: string) =>
  RANKS.map((range, i) => {
    const counted = `CASE WHEN ${range} THEN ${distinct === '' ? '1' : distinct} END`
    return `count(${distinct === '' ? '' : 'DISTINCT '}${counted}) AS ${i === 0 ? 'total' : `rank${i}`}_${name}`
  })
const STATISTICS = [...counts('', 'bids'), ...counts('bidder', 'bidders'), ...counts('auction', 'auctions')].join(', ')
const EUROS = '(price::DECIMAL(20, 0) * 908)::DECIMAL(23, 0)'

export const ORACLE: Readonly<Record<string, string>> = {
  q0: `SELECT auction, bidder, price, date_time, extra FROM bids`,
  q1: `SELECT auction, bidder, (price * 0.908::DECIMAL(4, 3))::DECIMAL(23, 3) AS price, date_time, extra FROM bids`,
  q2: `SELECT auction, price FROM bids WHERE auction = 123 * (auction // 123)`,
  q3: `
    SELECT name, city, state, auctions.id AS id FROM persons, auctions
    WHERE seller = persons.id AND category = 10 AND list_contains(['OR', 'ID', 'CA'], state)`,
  q4: `
    SELECT category, (sum(final) // count(*))::BIGINT AS final FROM (
      SELECT any_value(category) AS category, max(price) AS final FROM auctions, bids
      WHERE auction = id AND bids.date_time >= auctions.date_time AND bids.date_time <= expires GROUP BY id)
    GROUP BY category`,
  q5: `
    WITH bid AS MATERIALIZED (SELECT auction, date_time FROM bids),
    slot AS (SELECT auction, epoch_ms(date_time) // 2000 AS slot, count(*) AS num FROM bid GROUP BY ALL),
    hop AS (
      SELECT auction, make_timestamp((slot - back) * 2000000) AS window_start, sum(num)::BIGINT AS num
      FROM slot, generate_series(0, 4) AS hops(back) GROUP BY ALL)
    SELECT window_start, window_start + INTERVAL 10 SECOND AS window_end, unnest(auctions) AS auction, num
    FROM (
      SELECT window_start, num, list(auction) AS auctions,
        num = max(num) OVER (PARTITION BY window_start) AS most FROM hop GROUP BY window_start, num)
    WHERE most AND window_start + INTERVAL 10 SECOND <= ${reached('bid')}`,
  q7: `
    WITH bid AS MATERIALIZED (
      SELECT time_bucket(INTERVAL 10 SECOND, date_time) AS window_start, auction, bidder, price, date_time, extra FROM bids)
    SELECT window_start, window_start + INTERVAL 10 SECOND AS window_end, auction, bidder, price, date_time, extra
    FROM bid JOIN (SELECT window_start, max(price) AS price FROM bid GROUP BY window_start) USING (window_start, price)
    WHERE window_start + INTERVAL 10 SECOND <= ${reached('bid')}`,
  q8: `
    SELECT DISTINCT time_bucket(INTERVAL 10 SECOND, persons.date_time) AS window_start,
      window_start + INTERVAL 10 SECOND AS window_end, persons.id AS id, name
    FROM persons, auctions
    WHERE seller = persons.id
      AND window_start = time_bucket(INTERVAL 10 SECOND, auctions.date_time)
      AND window_end <= ${reached('persons', 'auctions')}`,
  q9: `
    SELECT DISTINCT ON (id) auctions.*, auction, bidder, price, bids.date_time AS bid_date_time, bids.extra AS bid_extra
    FROM auctions, bids
    WHERE auction = id AND bids.date_time >= auctions.date_time AND bids.date_time <= expires
    ORDER BY id, price DESC, bids.date_time, bidder, bids.extra`,
  q10: `
    SELECT auction, bidder, price, date_time, extra, strftime(date_time, '%Y-%m-%d') AS dt, strftime(date_time, '%H:%M') AS hm
    FROM bids`,
  q11: `
    WITH bid AS MATERIALIZED (SELECT bidder, date_time FROM bids),
    paused AS (
      SELECT *, date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) >= INTERVAL 10 SECOND AS pause FROM bid),
    numbered AS (
      SELECT *, count(CASE WHEN pause THEN 1 END) OVER (PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS session FROM paused)
    SELECT min(date_time) AS window_start, max(date_time) + INTERVAL 10 SECOND AS window_end, bidder, count(*) AS bid_count
    FROM numbered GROUP BY bidder, session HAVING window_end <= ${reached('bid')}`,
  q14: `
    SELECT auction, bidder, (${EUROS} / 1000)::DECIMAL(23, 3) AS price,
      CASE WHEN date_part('hour', date_time) IN (7, 19) THEN 'otherTime'
        WHEN date_part('hour', date_time) BETWEEN 8 AND 18 THEN 'dayTime' ELSE 'nightTime' END AS bid_time_type,
      date_time, extra, len(string_split(extra, 'c')) - 1 AS c_counts
    FROM bids WHERE ${EUROS} > 1000000000 AND ${EUROS} < 50000000000`,
  q15: `SELECT date_time::DATE AS day, ${STATISTICS} FROM bids GROUP BY day`,
  q16: `
    SELECT date_time::DATE AS day, channel, time_bucket(INTERVAL 1 MINUTE, max(date_time)) AS minute, ${STATISTICS}
    FROM bids GROUP BY day, channel`,
  q17: `
    SELECT date_time::DATE AS day, auction, ${counts('', 'bids').join(', ')},
      min(price) AS min_price, max(price) AS max_price,
      (sum(price) // count(*))::BIGINT AS avg_price, sum(price)::BIGINT AS sum_price
    FROM bids GROUP BY day, auction`,
  q18: `
    SELECT auction, bidder, price, channel, url, date_time, extra FROM bids
    QUALIFY row_number() OVER (
      PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC, channel DESC, url DESC, extra DESC) = 1`,
  q19: `
    SELECT auction, bidder, price, channel, url, date_time, extra,
      row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, extra) AS rank_number
    FROM bids QUALIFY rank_number <= 10`,
  q20: `
    SELECT auction, bidder, price, channel, url, bids.date_time AS bid_date_time, bids.extra AS bid_extra,
      item_name, description, initial_bid, reserve, auctions.date_time AS auction_date_time, expires, seller,
      category, auctions.extra AS auction_extra
    FROM bids, auctions WHERE auction = id AND category = 10`,
  q21: `
    SELECT auction, bidder, price, channel, coalesce(
      map {'apple': '0', 'google': '1', 'facebook': '2', 'baidu': '3'}[lower(channel)],
      nullif(split_part(split_part(url, '&channel_id=', 2), '&', 1), '')) AS channel_id
    FROM bids WHERE channel_id IS NOT NULL`,
  q22: `
    SELECT auction, bidder, price, channel, path[4] AS dir1, path[5] AS dir2, path[6] AS dir3
    FROM (SELECT *, string_split(url, '/') AS path FROM bids)`,
}

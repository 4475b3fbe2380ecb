import { mkdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { generator } from '../../examples/clicks/generate.ts'
import { clicks } from '../../examples/clicks/clicks.ts'
import * as endpoints from '../../examples/clicks/endpoints.ts'
import * as tables from '../../examples/clicks/tables.ts'
import { linesOf } from '../../examples/generator/command.ts'
import { Home } from '../runtime/home.ts'
import { type Contract, deliver, expectCounted, expectTables, expectVerified, fallIdle, judge } from './events.ts'

const MINUTE_MS = 60_000

const contract: Contract = {
  stream: 'clicks',
  partitions: 4,
  key: 'user_id',
  unique: ['user_id', 'event_id'],
  lateMs: 60.5 * MINUTE_MS,
  broken({ user_id, at_time, kind, page, price }) {
    if (typeof user_id !== 'string') return 'not_null(user_id)'
    if (Number.isNaN(Date.parse(String(at_time)))) return 'type(at_time)'
    if (!/^u\d+$/.test(user_id)) return 'matches(user_id)'
    if (!['view', 'cart', 'buy'].includes(String(kind))) return 'oneOf(kind)'
    if (!String(page).startsWith('/')) return 'matches(page)'
    return kind !== 'view' && !(Number(price) > 0) ? 'priced' : undefined
  },
}

const COLUMNS = {
  user_id: 'VARCHAR',
  event_id: 'VARCHAR',
  at_time: 'TIMESTAMP',
  kind: 'VARCHAR',
  page: 'VARCHAR',
  product: 'VARCHAR',
  price: 'DECIMAL(8, 2)',
}

/** Each table by one query over all clicks that were accepted, up to a watermark. */
function bulk(watermarkMs: number): Record<string, string> {
  const now = `make_timestamp(${watermarkMs} * 1000)`
  const minutes = `
    SELECT window_start, window_start + INTERVAL 1 minute AS window_end, page, count(*) AS views, count(DISTINCT user_id) AS users
    FROM (SELECT *, date_trunc('minute', at_time) AS window_start FROM clicks WHERE kind = 'view')
    WHERE window_start + INTERVAL 1 minute <= ${now} GROUP BY window_start, page`
  const funnel = `
    SELECT *, (SELECT min(at_time) FROM clicks b WHERE b.kind = 'buy' AND b.user_id = f.user_id AND b.product = f.product
               AND b.at_time >= f.carted_at AND b.at_time < f.viewed_at + INTERVAL 1 hour) AS bought_at
    FROM (SELECT *, (SELECT min(at_time) FROM clicks c WHERE c.kind = 'cart' AND c.user_id = v.user_id AND c.product = v.product
                     AND c.at_time >= v.viewed_at AND c.at_time < v.viewed_at + INTERVAL 20 minute) AS carted_at
          FROM (SELECT w AS window_start, w + INTERVAL 10 minute AS window_end, user_id, product, min(at_time) AS viewed_at
                FROM (SELECT *, time_bucket(INTERVAL 10 minute, at_time, TIMESTAMP '1970-01-01') AS w FROM clicks WHERE kind = 'view' AND product IS NOT NULL)
                GROUP BY w, user_id, product) v) f
    WHERE window_end + INTERVAL 1 hour <= ${now}`
  return {
    clicks: 'FROM clicks',
    page_minutes: minutes,
    page_hours: `SELECT date_trunc('hour', window_start) AS hour, page, sum(views) AS views, max(views) AS busiest_minute
                 FROM (${minutes}) GROUP BY ALL`,
    top_pages: `
      SELECT window_start, window_start + INTERVAL 10 minute AS window_end, window_end > ${now} AS window_open, page, count(*) AS views
      FROM clicks,
           (SELECT first + to_minutes(i) AS window_start FROM range(-10, 400) r(i), (SELECT date_trunc('minute', min(at_time)) AS first FROM clicks)) w
      WHERE kind = 'view' AND at_time >= window_start AND at_time < window_start + INTERVAL 10 minute
      GROUP BY window_start, page QUALIFY row_number() OVER (PARTITION BY window_start ORDER BY views DESC, page) <= 3`,
    sessions: `
      SELECT min(at_time) AS window_start, max(at_time) + INTERVAL 30 minute AS window_end, user_id, count(*) AS events,
             count(*) FILTER (kind = 'view') AS views, first(page ORDER BY at_time) AS entered_on, last(page ORDER BY at_time) AS left_on,
             sum(CASE WHEN kind = 'buy' THEN price ELSE 0 END) AS spent
      FROM (SELECT *, count(*) FILTER (is_first) OVER (PARTITION BY user_id ORDER BY at_time ROWS UNBOUNDED PRECEDING) AS visit
            FROM (SELECT *, coalesce(at_time - lag(at_time) OVER (PARTITION BY user_id ORDER BY at_time) >= INTERVAL 30 minute, true) AS is_first FROM clicks))
      GROUP BY user_id, visit HAVING max(at_time) + INTERVAL 30 minute <= ${now}`,
    funnel,
    funnel_hours: `SELECT date_trunc('hour', window_start) AS hour, product, count(*) AS viewed, count(carted_at) AS carted, count(bought_at) AS bought
                   FROM (${funnel}) GROUP BY ALL`,
    last_seen: `SELECT user_id, at_time, page, event_id FROM clicks QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY at_time DESC) = 1`,
  }
}

test.each([
  ['as generated', {}, [400, 1, 73]],
  [
    'another seed, and far worse',
    { seed: '2', duplicates: '0.2', late: '0.1', stale: '0.05', bad: '0.05', future: '0.02' },
    [900],
  ],
])(
  'examples/clicks, %s: counts, tables and verification',
  async (_, options, sizes) => {
    const lines = [...linesOf(generator, options)]
    const judged = judge(lines, contract)
    const home = await Home.make()
    const runtime = await home.open([clicks, ...Object.values(tables), ...Object.values(endpoints)])
    await deliver(runtime, lines, sizes)
    await fallIdle(home, runtime, 'page_minutes', judged.newestMs)

    await expectCounted(runtime, 'clicks', lines.length, judged)
    for (const rule of ['late', 'ahead', 'malformed', 'priced', 'oneOf(kind)', 'matches(page)', 'type(at_time)'])
      expect(judged.quarantined[rule], rule).toBeGreaterThan(0)
    // Late, but not too late: accepted, and in the tables.
    expect(lines.filter(({ cause }) => cause === 'late').length).toBeGreaterThan(10)

    mkdirSync(home.directory, { recursive: true })
    const accepted = { clicks: { rows: judged.accepted, columns: COLUMNS } }
    const rows = await expectTables(runtime, accepted, home.directory, bulk(judged.newestMs))
    for (const [name, count] of Object.entries(rows)) expect(count, name).toBeGreaterThan(30)
    if (sizes.length > 1)
      expect(rows).toMatchInlineSnapshot(`
    {
      "clicks": 4359,
      "funnel": 1614,
      "funnel_hours": 50,
      "last_seen": 199,
      "page_hours": 84,
      "page_minutes": 2289,
      "sessions": 530,
      "top_pages": 1107,
    }
  `)
    await expectVerified(runtime)
  },
  180_000,
)

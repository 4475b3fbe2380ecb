import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Declaration } from '../../src/project/dataset.ts'

/**
 * Two streams and three tables for tests that kill and fail things. `strict` code refuses the payments of kind `gift`, which the
 * other accepts: what was refused then gets in by a replay.
 */
export function ledgerProject({
  strict,
  partitions = 2,
}: {
  readonly strict: boolean
  /** Of `readings`. */
  readonly partitions?: number
}) {
  const payments = stream('payments', {
    columns: {
      id: t.string(),
      account: t.string(),
      amount: t.decimal(12, 2),
      kind: t.string(),
      paid_at: t.timestamp(),
    },
    time: 'paid_at',
    unique: ['id'],
    partitionBy: 'day',
    checks: [
      check.range('amount', { min: 0 }),
      check.oneOf('kind', strict ? ['sale', 'fee'] : ['sale', 'fee', 'gift']),
    ],
  })
  const readings = stream('readings', {
    columns: { device: t.string(), n: t.int(), value: t.int() },
    key: 'device',
    unique: ['device', 'n'],
    partitions,
    checks: [check.range('value', { max: 999 })],
  })
  const daily = table('daily', {
    interval: 'day',
    sql: sql`select account, sum(amount) as total, count(*) as n from ${payments} group by account`,
  })
  const latest = table('latest', {
    key: 'device',
    version: 'n',
    sql: sql`select device, n, value from ${readings}`,
  })
  const totals = table('totals', {
    sql: sql`select account, sum(amount) as total, count(*) as n from ${payments} group by account`,
    checks: [check.sumEquals('total', payments, 'amount')],
  })
  return [payments, readings, daily, latest, totals] as const satisfies readonly Declaration[]
}

/** What the tables must hold, worked out from the streams: `{name}` stands for the rows of a dataset. */
export const TABLE_QUESTIONS = {
  daily: `SELECT paid_at::TIMESTAMP::DATE AS day, account, sum(amount)::DECIMAL(38, 2) AS total, count(*) AS n FROM {payments} GROUP BY ALL`,
  latest: `SELECT device, max(n) AS n, arg_max(value, n) AS value FROM {readings} GROUP BY device`,
  totals: `SELECT account, sum(amount)::DECIMAL(38, 2) AS total, count(*) AS n FROM {payments} GROUP BY account`,
} as const

/** A stream's row as one line of text, by which it is compared with the ledger. */
export const ROW_TEXT = {
  payments: `concat_ws('|', id, account, amount, kind, epoch_ms(paid_at))`,
  readings: `concat_ws('|', device, n, value)`,
} as const

export type StreamName = keyof typeof ROW_TEXT
export const STREAMS = ['payments', 'readings'] as const satisfies readonly StreamName[]

import { type Dialect, asTimestamp } from '../../engine/dialect.ts'
import { WINDOW_END, WINDOW_START } from '../../project/event-time.ts'

/** What makes the sessions of a dataset. */
export interface SessionShape {
  /** Event-time column. */
  readonly time: string
  readonly by: readonly string[]
  readonly gapMs: number
}

/** The events of a relation with the session each is of in the column `$session`: its key, and its number within the key. */
export function numberedSql(dialect: Dialect, relation: string, { time, by, gapMs }: SessionShape): string {
  const quote = dialect.identifier
  const key = by.map(quote).join(', ')
  const at = asTimestamp(dialect, quote(time))
  const first = quote('$first')
  const isFirst = `CASE WHEN ${at} < ${dialect.later(`lag(${at}) OVER (PARTITION BY ${key} ORDER BY ${at})`, gapMs)} THEN 0 ELSE 1 END`
  const number = `sum(${first}) OVER (PARTITION BY ${key} ORDER BY ${at} ROWS UNBOUNDED PRECEDING)`
  const session = dialect.struct([...by.map((name, i) => [`k${i}`, quote(name)] as const), ['n', number]])
  return `SELECT ${dialect.allBut('$first')}, ${session} AS ${quote('$session')} FROM (SELECT *, ${isFirst} AS ${first} FROM ${relation})`
}

/** The sessions of numbered events: `$session`, key, start and end. */
export function sessionsSql(dialect: Dialect, numbered: string, { time, by, gapMs }: SessionShape): string {
  const at = asTimestamp(dialect, dialect.identifier(time))
  const session = dialect.identifier('$session')
  const key = by.map((name, i) => `${session}.k${i} AS ${dialect.identifier(name)}`)
  const bounds = [`min(${at}) AS ${WINDOW_START}`, `${dialect.later(`max(${at})`, gapMs)} AS ${WINDOW_END}`]
  return `SELECT ${session}, ${[...key, ...bounds].join(', ')} FROM ${numbered} GROUP BY ${session}`
}

/**
 * Keys with events before a moment among some, each with the time from which its sessions are to be computed again, in
 * `$from`: not after `frontierMs`, and never within a published session, which begins there then.
 */
export function lateSql(
  dialect: Dialect,
  changed: string,
  published: string,
  { time, by }: SessionShape,
  beforeMs: number,
  frontierMs: number,
): string {
  const quote = dialect.identifier
  const at = asTimestamp(dialect, quote(time))
  const key = by.map(quote).join(', ')
  const [earliest, from] = [quote('$at'), quote('$from')]
  const first = `SELECT ${key}, least(min(${at}), ${dialect.timestamp(frontierMs)}) AS ${earliest} FROM ${changed} WHERE ${at} < ${dialect.timestamp(beforeMs)} GROUP BY ${key}`
  const holds = `p.${WINDOW_START} <= f.${earliest} AND p.${WINDOW_END} > f.${earliest}`
  const own = by.map((name) => `f.${quote(name)}`).join(', ')
  return (
    `SELECT ${own}, coalesce(min(p.${WINDOW_START}), min(f.${earliest})) AS ${from} FROM (${first}) AS f ` +
    `LEFT JOIN ${published} AS p ON ${sameKey(dialect, 'p', 'f', by)} AND ${holds} GROUP BY ${own}`
  )
}

/** Condition: two rows have the same key, nulls among it too. */
export function sameKey({ identifier }: Dialect, a: string, b: string, by: readonly string[]): string {
  return by.map((name) => `${a}.${identifier(name)} IS NOT DISTINCT FROM ${b}.${identifier(name)}`).join(' AND ')
}

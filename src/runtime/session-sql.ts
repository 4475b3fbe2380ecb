import { sqlTimestamp } from '../base/interval.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import { WINDOW_END, WINDOW_START } from '../project/event-time.ts'
import { milliseconds } from './frame.ts'

/** What makes the sessions of a dataset. */
export interface SessionShape {
  /** Event-time column. */
  readonly time: string
  readonly by: readonly string[]
  readonly gapMs: number
}

/** A moment, ms since the epoch, as SQL. */
export function moment(ms: number): string {
  return `TIMESTAMP '${sqlTimestamp(ms)}'`
}

/** The events of a relation with the session each is of in the column `$session`: its key, and its number within the key. */
export function numberedSql(relation: string, { time, by, gapMs }: SessionShape): string {
  const key = by.map(quoteIdentifier).join(', ')
  const at = `${quoteIdentifier(time)}::TIMESTAMP`
  const fields = by.map((name, i) => `k${i} := ${quoteIdentifier(name)}`).join(', ')
  const isFirst = `CASE WHEN ${at} < lag(${at}) OVER (PARTITION BY ${key} ORDER BY ${at}) + ${milliseconds(gapMs)} THEN 0 ELSE 1 END`
  const number = `sum("$first") OVER (PARTITION BY ${key} ORDER BY ${at} ROWS UNBOUNDED PRECEDING)`
  return `SELECT * EXCLUDE ("$first"), struct_pack(${fields}, n := ${number}) AS "$session" FROM (SELECT *, ${isFirst} AS "$first" FROM ${relation})`
}

/** The sessions of numbered events: `$session`, key, start and end. */
export function sessionsSql(numbered: string, { time, by, gapMs }: SessionShape): string {
  const at = `${quoteIdentifier(time)}::TIMESTAMP`
  const key = by.map((name, i) => `"$session".k${i} AS ${quoteIdentifier(name)}`)
  const bounds = [`min(${at}) AS ${WINDOW_START}`, `max(${at}) + ${milliseconds(gapMs)} AS ${WINDOW_END}`]
  return `SELECT "$session", ${[...key, ...bounds].join(', ')} FROM ${numbered} GROUP BY "$session"`
}

/**
 * Keys with events before a moment among some, each with the time from which its sessions are to be computed again, in
 * `$from`: not after `frontierMs`, and never within a published session, which begins there then.
 */
export function lateSql(
  changed: string,
  published: string,
  { time, by }: SessionShape,
  beforeMs: number,
  frontierMs: number,
): string {
  const at = `${quoteIdentifier(time)}::TIMESTAMP`
  const key = by.map(quoteIdentifier).join(', ')
  const first = `SELECT ${key}, least(min(${at}), ${moment(frontierMs)}) AS "$at" FROM ${changed} WHERE ${at} < ${moment(beforeMs)} GROUP BY ${key}`
  const holds = `p.${WINDOW_START} <= f."$at" AND p.${WINDOW_END} > f."$at"`
  const own = by.map((name) => `f.${quoteIdentifier(name)}`).join(', ')
  return (
    `SELECT ${own}, coalesce(min(p.${WINDOW_START}), min(f."$at")) AS "$from" FROM (${first}) AS f ` +
    `LEFT JOIN ${published} AS p ON ${sameKey('p', 'f', by)} AND ${holds} GROUP BY ${own}`
  )
}

/** Condition: two rows have the same key, nulls among it too. */
export function sameKey(a: string, b: string, by: readonly string[]): string {
  return by
    .map((name) => `${a}.${quoteIdentifier(name)} IS NOT DISTINCT FROM ${b}.${quoteIdentifier(name)}`)
    .join(' AND ')
}

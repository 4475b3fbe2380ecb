/** Calendar arithmetic on half-open intervals in UTC. */

export type Unit = 'minute' | 'hour' | 'day' | 'week' | 'month' | 'year'

export const DAY_MS = 86_400_000

const FIXED: Partial<Record<Unit, number>> = { minute: 60_000, hour: 3_600_000, day: DAY_MS, week: 604_800_000 }

/** End of the interval that starts at `startMs`: the start of the next. */
export function intervalEnd(unit: Unit, startMs: number): number {
  const length = FIXED[unit]
  if (length !== undefined) return startMs + length
  const date = new Date(startMs)
  return unit === 'year'
    ? Date.UTC(date.getUTCFullYear() + 1, 0, 1)
    : Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)
}

/** Start of the interval that a moment lies in. Weeks begin on Monday. */
export function intervalStart(unit: Unit, timeMs: number): number {
  const date = new Date(timeMs)
  if (unit === 'year') return Date.UTC(date.getUTCFullYear(), 0, 1)
  if (unit === 'month') return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
  // 1970-01-05 was the first Monday.
  const origin = unit === 'week' ? 4 * DAY_MS : 0
  const length = FIXED[unit]!
  return Math.floor((timeMs - origin) / length) * length + origin
}

/** `2026-01-31 00:00:00`: a timestamp as both engines read it. */
export function sqlTimestamp(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace('T', ' ')
    .replace('Z', '')
    .replace(/\.000$/, '')
}

/** `2026-01-31`. */
export function sqlDate(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

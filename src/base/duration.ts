import { MillraceError } from './errors.ts'

const UNITS: Record<string, number> = {
  ms: 1,
  millisecond: 1,
  s: 1_000,
  second: 1_000,
  m: 60_000,
  minute: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  week: 604_800_000,
}

/** A length of time in words: `'10 minutes'`, `'1 day'`, `'500 ms'`, `'90s'`. */
export type Duration = string

/** Milliseconds of a duration in words; undefined when it is none. */
export function parseDuration(text: Duration): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text)
  if (!match) return undefined
  const word = match[2]!.toLowerCase()
  // `ms` is no plural.
  const unit = UNITS[word] ?? (word.length > 2 && word.endsWith('s') ? UNITS[word.slice(0, -1)] : undefined)
  return unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** Milliseconds of a duration in words. Throws `invalid` / `bad-duration`. */
export function durationMs(text: Duration, where: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  throw new MillraceError('invalid', 'bad-duration', `${where}: '${text}' is not a duration.`, {
    hint: "Write a number and a unit, such as '10 minutes', '1 day' or '500 ms'.",
  })
}

/** Milliseconds as people read them: `850 ms`, `2.4 s`, `3 min 20 s`, `5 min`, `2 h 5 min`, `3 d 4 h`. */
export function formatMs(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`
  if (ms < 3_599_500) return inTwo(Math.round(ms / 1_000), 60, 'min', 's')
  if (ms < 86_370_000) return inTwo(Math.round(ms / 60_000), 60, 'h', 'min')
  return inTwo(Math.round(ms / 3_600_000), 24, 'd', 'h')
}

function inTwo(count: number, size: number, large: string, small: string): string {
  const rest = count % size
  return `${Math.floor(count / size)} ${large}${rest === 0 ? '' : ` ${rest} ${small}`}`
}

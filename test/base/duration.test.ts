import { expect, test } from 'vitest'
import { durationMs, formatMs, parseDuration } from '../../src/base/duration.ts'

test.each([
  ['200 ms', 200],
  ['1ms', 1],
  ['2 milliseconds', 2],
  ['1 millisecond', 1],
  ['5 s', 5_000],
  ['90s', 90_000],
  ['1.5 seconds', 1_500],
  ['3 m', 180_000],
  ['10 minutes', 600_000],
  [' 1.5 hours ', 5_400_000],
  ['2 h', 7_200_000],
  ['1 Day', 86_400_000],
  ['7 d', 604_800_000],
  ['2 weeks', 1_209_600_000],
])('%j is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['', '5', 'minute', '3 sec', '3 ss', '-1 s', '1 s 2 ms', '1 month', '1e3 s', 'NaN s'])(
  '%j is no duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
    expect(() => durationMs(text, 'lateness')).toThrow(`lateness: '${text}' is not a duration.`)
  },
)

test.each([
  [850, '850 ms'],
  [999.7, '1.0 s'],
  [2_400, '2.4 s'],
  [59_970, '1 min'],
  [200_000, '3 min 20 s'],
  [300_000, '5 min'],
  [3_599_700, '1 h'],
  [7_500_000, '2 h 5 min'],
  [86_399_000, '1 d'],
  [273_600_000, '3 d 4 h'],
])('%d ms reads %s', (ms, text) => {
  expect(formatMs(ms)).toBe(text)
})

import { expect, test } from 'vitest'
import { formatMs, parseDuration } from '../../src/base/duration.ts'

test.each([
  // It was once read as 500 minutes.
  ['500 ms', 500],
  ['20ms', 20],
  ['3 milliseconds', 3],
  ['90s', 90_000],
  ['1.5 s', 1_500],
  ['2 seconds', 2_000],
  ['1 m', 60_000],
  ['10 Minutes', 600_000],
  [' 1 hour ', 3_600_000],
  ['2 h', 7_200_000],
  ['1 day', 86_400_000],
  ['2 weeks', 1_209_600_000],
  ['0 s', 0],
])('%j is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['', '10', 'soon', '-1 s', '1 fortnight', '1 hs', '5 mss', '1 constructor', '1 s 2', '1e3 s', 's'])(
  '%j is no duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)

test('durations as people read them', () => {
  expect([850, 2_400, 200_000, 7_500_000, 273_600_000].map(formatMs)).toEqual([
    '850 ms',
    '2.4 s',
    '3 min 20 s',
    '2 h 5 min',
    '3 d 4 h',
  ])
})

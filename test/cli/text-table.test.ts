import { expect, test } from 'vitest'
import type { Output } from '../../src/cli/effects.ts'
import { displayWidth, textTable, visible } from '../../src/cli/text-table.ts'

const plain = (columns: number): Output => ({
  write: () => undefined,
  isTerminal: columns !== Infinity,
  columns,
  rows: 24,
  style: (_, text) => text,
})

test('columns are as wide as what is in them, numbers to the right', () => {
  const table = textTable(
    [{ title: 'name' }, { title: 'n', subtitle: 'int', align: 'right' }],
    [
      ['a', '1'],
      ['longer', '12345'],
    ],
    plain(Infinity),
  )
  expect(table.split('\n')).toEqual([
    'name        n',
    '          int',
    '──────  ─────',
    'a           1',
    'longer  12345',
  ])
})

test('no line is wider than the terminal, as far as columns can give way', () => {
  const long = 'x'.repeat(200)
  for (const width of [30, 50, 80, 120]) {
    const lines = textTable(
      [{ title: 'a' }, { title: 'b' }, { title: 'c' }],
      [[long, 'short', long]],
      plain(width),
    ).split('\n')
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width)
    expect(lines[2]).toContain('short')
    expect(lines[2]).toContain('…')
  }
})

test('width counts what terminals show', () => {
  expect(displayWidth('Köln')).toBe(4)
  expect(displayWidth('e\u0301')).toBe(1)
  expect(displayWidth('東京')).toBe(4)
  expect(displayWidth('👍')).toBe(2)
})

test('values have no power over the terminal', () => {
  expect(visible('a\u001b[31m\nb\tc\u0007\u202e')).toBe('a\\u001b[31m\\nb\\tc\\u0007\\u202e')
  expect(textTable([{ title: 'a' }], [['x\u001b]0;title\u0007']], plain(80))).toBe(
    'a\n─────────────────────\nx\\u001b]0;title\\u0007',
  )
})

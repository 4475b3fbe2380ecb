import type { Output, Style } from './effects.ts'

export interface TextColumn {
  readonly title: string
  /** A second line under the title: a type. */
  readonly subtitle?: string
  readonly align?: 'left' | 'right'
}

/** A cell: its text, with a style put on after measuring. */
export type Cell = string | { readonly text: string; readonly style: Style }

const GAP = '  '
/** No column gets narrower than this to make room. */
const WIDTH_MIN = 8

/** Rows under headings, aligned; the widest columns are cut when the terminal is too narrow. Lines without a last newline. */
export function textTable(columns: readonly TextColumn[], rows: readonly (readonly Cell[])[], out: Output): string {
  const shown = rows.map((row) =>
    row.map((cell) =>
      typeof cell === 'string' ? { text: visible(cell), style: undefined } : { ...cell, text: visible(cell.text) },
    ),
  )
  const widths = columns.map((column, i) =>
    Math.max(
      displayWidth(column.title),
      displayWidth(column.subtitle ?? ''),
      ...shown.map((row) => displayWidth(row[i]?.text ?? '')),
    ),
  )
  narrow(widths, out.columns - GAP.length * columns.length)
  const line = (cells: readonly { text: string; style?: Style | undefined }[]) =>
    cells
      .map(({ text, style }, i) => {
        const cut = fit(text, widths[i]!)
        const space = ' '.repeat(Math.max(0, widths[i]! - displayWidth(cut)))
        const styled = style === undefined || cut === '' ? cut : out.style(style, cut)
        const last = i === cells.length - 1
        return columns[i]!.align === 'right' ? space + styled : last ? styled : styled + space
      })
      .join(GAP)
      .trimEnd()
  const heading = [line(columns.map(({ title }) => ({ text: title, style: 'bold' as const })))]
  if (columns.some(({ subtitle }) => subtitle !== undefined))
    heading.push(line(columns.map(({ subtitle = '' }) => ({ text: subtitle, style: 'dim' as const }))))
  const rule = out.style('dim', widths.map((width) => '─'.repeat(width)).join(GAP))
  return [...heading, rule, ...shown.map(line)].join('\n')
}

/** Takes from the widest until all fits. */
function narrow(widths: number[], room: number): void {
  let over = widths.reduce((sum, width) => sum + width, 0) - room
  while (over > 0) {
    const widest = Math.max(...widths)
    if (widest <= WIDTH_MIN) return
    const next = Math.max(WIDTH_MIN, ...widths.filter((width) => width < widest))
    const which = widths.flatMap((width, i) => (width === widest ? [i] : []))
    const each = Math.min(widest - next, Math.ceil(over / which.length))
    for (const i of which) widths[i]! -= each
    over -= each * which.length
  }
}

function fit(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let kept = ''
  let used = 0
  for (const character of text) {
    used += displayWidth(character)
    if (used > width - 1) break
    kept += character
  }
  return `${kept}…`
}

/** Text without power over the terminal: control characters as their escapes. */
export function visible(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => {
    const short = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }[character]
    return short ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

const WIDE =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{20000}-\u{3fffd}]/u

/** Columns a terminal takes for text: East Asian wide characters and emoji two, combining marks none. */
export function displayWidth(text: string): number {
  // oxlint-disable-next-line no-control-regex
  if (/^[\u0020-\u007e]*$/.test(text)) return text.length
  let width = 0
  for (const character of text)
    width += /^(?:\p{M}|[\u200b-\u200d])$/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1
  return width
}

/** `1,234,567` */
export function grouped(value: number | bigint): string {
  return value.toLocaleString('en-US')
}

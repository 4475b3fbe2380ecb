/** A small plot: what was measured with how many processes. */
export interface Panel {
  readonly title: string
  /** Unit of the values, as the axis says it. */
  readonly unit: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
  /** Part by which a value may differ from the first, 0 to 1: shown as a band. */
  readonly band?: number
}

const PANEL = { width: 280, height: 190, left: 52, right: 14, top: 34, bottom: 40 } as const
const STYLE = `text { font: 11px system-ui, sans-serif; fill: #7d8590 } .title { font-weight: 600 }
  .axis { stroke: #7d8590; stroke-opacity: .5 } .grid { stroke: #7d8590; stroke-opacity: .18 }
  .line { fill: none; stroke: #3b82c4; stroke-width: 2 } .dot { fill: #3b82c4 } .band { fill: #3b82c4; fill-opacity: .13 }`

/** An SVG of rows of panels, readable on light and on dark ground. `x` names the axis that all share. */
export function plotSvg(rows: readonly (readonly Panel[])[], x: string): string {
  const width = Math.max(...rows.map((row) => row.length)) * PANEL.width
  const height = rows.length * PANEL.height
  const panels = rows.flatMap((row, r) =>
    row.map((panel, c) => `<g transform="translate(${c * PANEL.width} ${r * PANEL.height})">${panelSvg(panel, x)}</g>`),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<style>${STYLE}</style>
${panels.join('\n')}
</svg>
`
}

function panelSvg({ title, unit, points, band }: Panel, x: string): string {
  const [left, right] = [PANEL.left, PANEL.width - PANEL.right]
  const [top, bottom] = [PANEL.top, PANEL.height - PANEL.bottom]
  const step = tick(Math.max(...points.map(({ y }) => y)) * (1 + (band ?? 0)))
  const ticks = [0, 1, 2, 3, 4].map((i) => i * step)
  const most = ticks.at(-1)!
  const xMost = Math.max(...points.map((point) => point.x))
  const atX = (value: number) => fixed(left + (value / (xMost + 0.5)) * (right - left))
  const atY = (value: number) => fixed(bottom - (value / most) * (bottom - top))
  const first = points[0]!.y
  return [
    `<text class="title" x="${left}" y="14">${title}</text><text x="${left}" y="27">${unit}</text>`,
    ...ticks.map(
      (value) =>
        `<line class="grid" x1="${left}" x2="${right}" y1="${atY(value)}" y2="${atY(value)}"/><text x="${left - 6}" y="${atY(value) + 4}" text-anchor="end">${short(value)}</text>`,
    ),
    ...(band === undefined
      ? []
      : [
          `<rect class="band" x="${left}" width="${right - left}" y="${atY(first * (1 + band))}" height="${fixed(atY(first * (1 - band)) - atY(first * (1 + band)))}"/>`,
        ]),
    `<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/><line class="axis" x1="${left}" x2="${left}" y1="${top}" y2="${bottom}"/>`,
    `<polyline class="line" points="${points.map((point) => `${atX(point.x)},${atY(point.y)}`).join(' ')}"/>`,
    ...points.map((point) => {
      const [cx, cy] = [atX(point.x), atY(point.y)]
      return `<circle class="dot" cx="${cx}" cy="${cy}" r="3"/><text x="${cx}" y="${cy - 8}" text-anchor="middle">${short(point.y)}</text><text x="${cx}" y="${bottom + 15}" text-anchor="middle">${point.x}</text>`
    }),
    `<text x="${(left + right) / 2}" y="${bottom + 31}" text-anchor="middle">${x}</text>`,
  ].join('')
}

/** Distance of four marks that go beyond a value, of one or two round digits. */
function tick(most: number): number {
  const unit = 10 ** Math.floor(Math.log10(most / 4))
  return [1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10].map((digit) => digit * unit).find((step) => step * 4 >= most * 1.05)!
}

function short(value: number): string {
  if (value >= 1_000_000) return `${fixed(value / 1_000_000)} M`
  return value >= 1_000 ? `${fixed(value / 1_000)} k` : String(fixed(value))
}

function fixed(value: number): number {
  return Number(value.toFixed(value < 100 ? 1 : 0))
}

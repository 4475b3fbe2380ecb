import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../src/base/clock.ts'
import { loadProject } from '../src/cli/load-project.ts'
import { Runtime } from '../src/runtime/runtime.ts'
import { systemDisk } from '../src/storage/disk.ts'
import { clickEvents } from './events.ts'
import { inTemporary, round } from './harness.ts'
import type { BenchOptions } from './run.ts'

const PROJECT = `
import { mapReduce, stream, t } from 'millrace'
export const clicks = stream('clicks', { columns: { event_id: t.string(), user_id: t.string(), page: t.string(), at: t.timestamp(), duration_ms: t.int().nullable() } })
export const mapped = clicks.map('mapped', {
  columns: { event_id: t.string(), section: t.string(), at: t.timestamp(), seconds: t.double() },
  map: (row) => ({ event_id: row.event_id, section: row.page.split('/')[1] ?? '', at: row.at, seconds: (row.duration_ms ?? 0) / 1000 }),
})
export const counted = mapReduce('counted', {
  from: clicks,
  columns: { page: t.string(), n: t.int() },
  map: (row) => [[row.page, 1]],
  combine: (_, ones) => ones.reduce((a, b) => a + b, 0),
  reduce: (page, counts) => ({ page, n: [...counts].reduce((a, b) => a + b, 0) }),
})
`

interface Click {
  event_id: string
  page: string
  at: string
  duration_ms: number | null
}

/** All rows of a stream through a function and through map and reduce, beside loops of plain Node over the same lines. */
export async function run({ events = 1_000_000 }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const project = join(directory, 'project')
    await mkdir(project)
    await writeFile(join(project, 'millrace.config.ts'), "export default { name: 'bench' }\n")
    await writeFile(join(project, 'clicks.ts'), PROJECT)
    const runtime = await Runtime.open({
      project: await loadProject(project),
      loader: new URL('../src/cli/load-project.ts', import.meta.url).href,
      dataDirectory: join(directory, 'data'),
      clock: systemClock,
      disk: systemDisk,
      run: 'bench',
      eager: true,
      onFatal: (error) => {
        throw error
      },
    })
    const lines = [...clickEvents(events)].filter((e) => e.kind === 'good').map((e) => `${e.line}\n`)
    const file = join(directory, 'clicks.ndjson')
    await writeFile(file, lines)
    const part = 50_000
    for (let i = 0; i < lines.length; i += part) {
      const some = lines.slice(i, i + part)
      await runtime.append('clicks', { lines: Buffer.from(some.join('')), records: some.length })
    }
    for (const runner of runtime.streams.values()) runner.start()
    await runtime.stream('clicks').drain()
    await runtime.scheduler.settled()
    const ours = async (name: string) => {
      const begun = performance.now()
      await runtime.tables.get(name)!.refresh({ everything: true })
      return (lines.length / (performance.now() - begun)) * 1_000
    }
    const [map, mapReduce] = [await ours('mapped'), await ours('counted')]
    await runtime.stop()
    const plainMap = await plain(lines.length, () => mapPlainly(file, join(directory, 'mapped.ndjson')))
    const plainReduce = await plain(lines.length, () => countPlainly(file))
    return {
      rows: lines.length,
      map_rows_per_s: Math.round(map),
      map_plain_rows_per_s: Math.round(plainMap),
      map_ratio: round(map / plainMap),
      map_reduce_rows_per_s: Math.round(mapReduce),
      map_reduce_plain_rows_per_s: Math.round(plainReduce),
      map_reduce_ratio: round(mapReduce / plainReduce),
    }
  })
}

async function plain(rows: number, work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return (rows / (performance.now() - begun)) * 1_000
}

async function mapPlainly(from: string, to: string): Promise<void> {
  const file = openSync(to, 'w')
  let text = ''
  for (const row of await rowsOf(from)) {
    const { event_id, page, at, duration_ms } = row
    text += `${JSON.stringify({ event_id, section: page.split('/')[1] ?? '', at, seconds: (duration_ms ?? 0) / 1_000 })}\n`
    if (text.length < 65_536) continue
    writeSync(file, text)
    text = ''
  }
  writeSync(file, text)
  closeSync(file)
}

async function countPlainly(from: string): Promise<void> {
  const counts = new Map<string, number>()
  for (const { page } of await rowsOf(from)) counts.set(page, (counts.get(page) ?? 0) + 1)
}

async function rowsOf(path: string): Promise<Iterable<Click>> {
  const text = await readFile(path, 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Click)
}

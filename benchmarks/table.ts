import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../src/base/clock.ts'
import { loadProject } from '../src/cli/load-project.ts'
import { Runtime } from '../src/runtime/runtime.ts'
import { systemDisk } from '../src/storage/disk.ts'
import { clickEvents } from './events.ts'
import { inTemporary, quantile, round } from './harness.ts'
import type { BenchOptions } from './run.ts'

const PROJECT = `
import { sql, stream, t, table } from 'millrace'
export const clicks = stream('clicks', { columns: { event_id: t.string(), page: t.string(), at: t.timestamp(), duration_ms: t.int().nullable() }, time: 'at' })
export const pages = table('pages', { interval: 'minute', sql: sql\`select page, count(*) as views, avg(duration_ms) as ms from \${clicks} group by page\` })
`

/** One minute of a table with many refreshed again and again, beside the bare statement over the same files. */
export async function run({ events = 200_000 }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const project = join(directory, 'project')
    await mkdir(project)
    await writeFile(join(project, 'millrace.config.ts'), "export default { name: 'bench' }\n")
    await writeFile(join(project, 'clicks.ts'), PROJECT)
    const runtime = await Runtime.open({
      project: await loadProject(project),
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
    await runtime.append('clicks', { lines: Buffer.from(lines.join('')), records: lines.length })
    for (const runner of runtime.streams.values()) runner.start()
    await runtime.stream('clicks').drain()
    await runtime.scheduler.settled()
    const pages = runtime.tables.get('pages')!
    const overheads: number[] = []
    const refreshes: number[] = []
    const bare: number[] = []
    for (let i = 0; i < 40; i++) {
      const statement = `SELECT page, count(*) AS views, avg(duration_ms) AS ms FROM ${await runtime.publishedSql('clicks')} WHERE "at" >= TIMESTAMP '2026-01-01 00:00:00' AND "at" < TIMESTAMP '2026-01-01 00:01:00' GROUP BY page`
      const begunBare = performance.now()
      await runtime.database.rows(statement)
      bare.push(performance.now() - begunBare)
      await runtime.append('clicks', { lines: Buffer.from(lines[i]!), records: 1 })
      const before = pages.lakeTable.snapshot()!.id
      await runtime.stream('clicks').drain()
      const begun = performance.now()
      await runtime.scheduler.settled()
      if (pages.lakeTable.snapshot()!.id === before) throw new Error('nothing was refreshed')
      refreshes.push(performance.now() - begun)
      overheads.push(refreshes.at(-1)! - bare.at(-1)!)
    }
    await runtime.stop()
    return {
      refreshes: refreshes.length,
      refresh_p50_ms: round(quantile(refreshes, 0.5), 1),
      bare_p50_ms: round(quantile(bare, 0.5), 1),
      overhead_p50_ms: round(quantile(overheads, 0.5), 1),
      overhead_p90_ms: round(quantile(overheads, 0.9), 1),
    }
  })
}

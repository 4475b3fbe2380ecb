import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inTemporary, quantile, round, startServer } from './harness.ts'
import type { BenchOptions } from './run.ts'

const DATASETS = 100

/** `millrace start` to ready, with 50 streams and 50 tables: the first time, when all are made, and later. */
export async function run({ say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const project = join(directory, 'project')
    await mkdir(project)
    await writeFile(join(project, 'millrace.config.ts'), "export default { name: 'bench' }\n")
    const half = DATASETS / 2
    const declarations = Array.from(
      { length: half },
      (_, i) => `
export const s${i} = stream('s${i}', { columns: { id: t.string(), at: t.timestamp(), amount: t.decimal(10, 2).nullable() }, time: 'at', unique: ['id'] })
export const d${i} = table('d${i}', { interval: 'day', sql: sql\`select count(*) as n, sum(amount) as total from \${s${i}}\` })`,
    )
    await writeFile(
      join(project, 'datasets.ts'),
      `import { sql, stream, t, table } from 'millrace'\n${declarations.join('\n')}\n`,
    )
    const data = join(directory, 'data')
    const times: number[] = []
    for (let i = 0; i < 6; i++) {
      const server = await startServer(project, data)
      times.push(server.startedMs)
      say(`start ${i + 1}: ${Math.round(server.startedMs)} ms`)
      await server.stop()
    }
    return {
      datasets: DATASETS,
      first_ms: round(times[0]!, 0),
      later_p50_ms: round(quantile(times.slice(1), 0.5), 0),
      later_max_ms: round(Math.max(...times.slice(1)), 0),
    }
  })
}

import { join } from 'node:path'
import { lockDirectory } from '../../storage/lock.ts'
import { JSON_OPTION, PROJECT_OPTIONS, command, usageError } from '../command.ts'
import type { Effects } from '../effects.ts'
import { homeOf } from '../home.ts'
import { loadProject, requireProject } from '../load-project.ts'
import { type MigrateReport, migrate, nothingToMigrate } from '../migrate/migrate.ts'
import { reportError } from '../report-error.ts'
import { targetNamed } from '../target.ts'
import { grouped, textTable } from '../text-table.ts'

export default command({
  summary: 'Carry an embedded warehouse to a target.',
  usage: '--to TARGET [options]',
  details: `Copies tables with their history, quarantine, the log with its offsets, and the places of handlers to a target that has no data
of the project yet, and compares both sides by counts and checksums. Nothing must run on the data directory, which stays as it is. What was interrupted
goes on when it is called again; until it is done the project does not start on the target.`,
  options: {
    to: { type: 'string', value: 'TARGET', doc: 'Where to: a target of millrace.config.ts.' },
    ...PROJECT_OPTIONS,
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 0 },
  examples: ['millrace migrate --to prod', 'millrace migrate --to prod --data /var/lib/shop --json'],
  async run(options, effects) {
    if (options.to === undefined)
      throw usageError('Where to is not said.', 'Name a target: millrace migrate --to prod.')
    await requireProject(homeOf({ project: options.project }, effects).project)
    const from = homeOf(options, effects)
    const project = await loadProject(from.project)
    const target = targetNamed(project.config, options.to)
    const to = homeOf({ project: options.project, target: options.to }, effects)
    if ((await effects.disk.stat(join(from.data, 'lake'))) === undefined) throw nothingToMigrate(from.data)
    const locks = [await lockDirectory(from.data)]
    try {
      locks.push(await lockDirectory(to.data))
      const onStep = (step: string) => (options.json ? undefined : effects.err.write(`${step} …\n`))
      const onError = (error: Error) => reportError(error, effects, options.json)
      const report = await migrate({ project, from, to, target, onStep, onError }, effects)
      effects.out.write(`${options.json ? JSON.stringify(report) : migrateText(report, effects)}\n`)
      return 0
    } finally {
      for (const lock of locks.toReversed()) await lock.release()
    }
  },
})

function migrateText({ target, already, tables, logs, handlers }: MigrateReport, { out }: Effects): string {
  if (already) return `Everything is in target '${target}' already.`
  const columns = [
    { title: '' },
    ...['rows', 'snapshots', 'files', 'copied now'].map((title) => ({ title, align: 'right' as const })),
    { title: 'checksum on both sides' },
  ]
  const rows = [
    ...tables.map(({ name, records, snapshots, files, copied, checksum }) => [
      name,
      ...[records, snapshots, files, copied].map(grouped),
      checksum,
    ]),
    ...logs.map(({ name, records, checksum }) => [`log of ${name}`, grouped(records), '', '', '', checksum]),
    ...handlers.map((name) => [`handler ${name}`, '', '', '', '', '']),
  ]
  return `${textTable(columns, rows, out)}\nAll of it is there. Go on with: millrace start --target ${target}`
}

import { existsSync } from 'node:fs'
import { JSON_OPTION, PROJECT_OPTIONS, TARGET_OPTION, command } from '../command.ts'
import { homeOf } from '../home.ts'
import { openReader } from '../reader.ts'
import { nearPath } from '../report-error.ts'
import { runsTable } from '../run-status.ts'
import { statusTable } from '../status-table.ts'

export default command({
  summary: 'Show the state of every dataset.',
  usage: '[options]',
  details: `For a stream: records received = accepted + duplicates + quarantined, and how many are not processed yet (lag). For a
table: its rows, and how many of its inputs have changed since (lag). For a handler: published changes it was not called with
(lag). Exit code 1 when a dataset is blocked or failed, or a handler fails.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    runs: { type: 'boolean', doc: 'The last steps of tables instead: when, how long, what came of them.' },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 0 },
  examples: [
    'millrace status --project examples/shop',
    `millrace status --json | jq '.datasets[] | select(.state != "ok")'`,
    'millrace status --target prod --runs',
  ],
  async run(options, effects) {
    const { out, err, cwd } = effects
    const home = homeOf(options, effects)
    const reader = await openReader(home, effects)
    try {
      if (options.runs) {
        const runs = await reader.runs()
        out.write(`${options.json ? JSON.stringify({ runs }) : runsTable(runs, out)}\n`)
        return 0
      }
      const datasets = await reader.datasets()
      if (options.json) out.write(`${JSON.stringify({ datasets })}\n`)
      else {
        out.write(`${statusTable(datasets, out)}\n`)
        const data = nearPath(home.data, cwd)
        const where =
          reader.url !== undefined
            ? `served at ${reader.url}`
            : home.target !== undefined
              ? `target ${home.target}, looked at from here`
              : existsSync(home.data)
                ? `no server runs on ${data}`
                : `nothing is stored in ${data} yet`
        err.write(`${err.style('dim', where)}\n`)
      }
      return datasets.some(
        ({ state, handlers = [] }) =>
          state === 'blocked' || state === 'failed' || handlers.some((handler) => handler.state === 'failed'),
      )
        ? 1
        : 0
    } finally {
      await reader.close()
    }
  },
})

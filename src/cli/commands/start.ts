import { formatMs } from '../../base/duration.ts'
import { JSON_OPTION, PROJECT_OPTIONS, TARGET_OPTION, command, wholeNumber } from '../command.ts'
import { homeOf } from '../home.ts'
import { loadProject } from '../load-project.ts'
import { nearPath } from '../report-error.ts'
import { serve } from '../serve.ts'
import { onStop } from '../signals.ts'
import { checkShared, rolesOf, targetNamed } from '../target.ts'
import { watchStates } from '../watch-states.ts'

export default command({
  summary: 'Run a project as a server, until it is told to stop.',
  usage: '[options]',
  details: `Takes records over HTTP and from files, keeps tables up to date, answers queries. On SIGTERM or Ctrl-C it takes no
more requests, processes and commits what it has acknowledged, and ends with code 0; a second one ends it at once, which
loses nothing either. It listens on this machine only, unless MILLRACE_TOKEN (or server.token) is set.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    role: {
      type: 'string',
      value: 'ROLE',
      multiple: true,
      doc: 'What this process does: ingest, process, schedule, serve; several times or with commas. Default: all.',
    },
    port: { type: 'string', value: 'N', doc: 'Port to listen on; 0 takes a free one. Default: server.port, 4400.' },
    host: { type: 'string', value: 'ADDRESS', doc: 'Address to listen on. Default: server.host, 127.0.0.1.' },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 0 },
  examples: [
    'millrace start --project examples/shop --data /var/lib/shop --port 4400',
    'millrace start --target prod --role ingest,serve --port 4400',
    'millrace start --target prod --role process',
  ],
  async run(options, effects) {
    const { clock, out, err, cwd } = effects
    const began = clock.monotonic()
    const home = homeOf(options, effects)
    const port = options.port === undefined ? {} : { port: wholeNumber('port', options.port, 0, 65_535) }
    const project = await loadProject(home.project)
    const host = options.host === undefined ? {} : { host: options.host }
    const roles = rolesOf(options.role)
    checkShared(roles, options.target === undefined ? undefined : targetNamed(project.config, options.target))
    const serving = await serve({ project, home, ...port, ...host, roles, json: options.json }, effects)
    const tell = (event: Record<string, unknown>, text: string) =>
      options.json ? out.write(`${JSON.stringify(event)}\n`) : err.write(`${text}\n`)

    const stopWatching = watchStates(serving.runtime, effects, options.json)
    const ended = new Promise<number>((resolve) => {
      let asked = false
      const stop = async (why: string) => {
        if (!asked)
          tell({ event: 'stopping', why }, `${err.isTerminal ? '\n' : ''}${why}: processing what was acknowledged …`)
        asked = true
        stopWatching()
        await serving.stop()
        tell({ event: 'stopped' }, 'stopped')
        resolve(0)
        return 0
      }
      onStop(stop, clock)
      // A supervisor (millrace dev) that dies takes the server with it.
      if (process.send) process.once('disconnect', () => void stop('the supervisor is gone'))
    })
    const took = formatMs(clock.monotonic() - began)
    tell(
      { event: 'ready', url: serving.url, pid: process.pid, data: home.data, project: project.name },
      [
        `${err.style('bold', project.name)} is ready after ${took} at ${err.style('cyan', serving.url)}`,
        `  ${err.style('dim', `data in ${nearPath(home.data, cwd)} · API at ${serving.url}/openapi.json · Ctrl-C stops`)}`,
      ].join('\n'),
    )
    return ended
  },
})

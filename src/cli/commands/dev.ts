import { JSON_OPTION, PROJECT_OPTIONS, command, wholeNumber } from '../command.ts'
import { DevSession } from '../dev-session.ts'
import { homeOf } from '../home.ts'
import { onStop } from '../signals.ts'

export default command({
  summary: 'Run a project and reload it when its files change.',
  usage: '[options]',
  details: `As millrace start; and each time a project file changes (TypeScript, SQL, or JSON that it imports), the project is
checked as by millrace plan, and when it has no problem, what runs is replaced by it. A version with problems is told,
and the one before keeps running.`,
  options: {
    ...PROJECT_OPTIONS,
    ...JSON_OPTION,
    port: { type: 'string', value: 'N', doc: 'Port to listen on; 0 takes a free one. Default: server.port, 4400.' },
  },
  arguments: { min: 0, max: 0 },
  examples: ['millrace dev', 'millrace dev --project examples/shop --port 4500'],
  async run(options, effects) {
    const port = options.port === undefined ? {} : { port: wholeNumber('port', options.port, 0, 65_535) }
    const session = new DevSession({ home: homeOf(options, effects), ...port, json: options.json }, effects)
    const stop = async () => {
      await session.stop()
      return 0
    }
    onStop(stop, effects.clock)
    if (process.send) process.once('disconnect', () => void stop().then((code) => process.exit(code)))
    await session.run()
    // Ended by a signal, which exits the process when everything has stopped.
    return new Promise(() => undefined)
  },
})

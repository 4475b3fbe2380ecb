import { act } from '../act.ts'
import {
  JSON_OPTION,
  PROJECT_OPTIONS,
  TARGET_OPTION,
  WAIT_OPTION,
  command,
  moment,
  usageError,
  waitOf,
  wholeNumber,
} from '../command.ts'
import { homeOf } from '../home.ts'
import { progressView } from '../progress.ts'
import { replayText } from '../replay-text.ts'

export default command({
  summary: 'Process a stream again through the present code.',
  usage: 'STREAM (--from-start | --from-offset N | --from-time TIME) [options]',
  details: `Takes the records in the stream's log again through its present columns, mapping and checks, and replaces what came of
them before in one step: readers see the old rows or the new ones. Then tables that read them are refreshed. Use it after
correcting a declaration. Nothing can arrive twice: a record keeps the offset it was acknowledged under. On a target the processes
that run hand over the stream, and the tables that read it, and go on with them afterwards; records are taken meanwhile.`,
  options: {
    ...PROJECT_OPTIONS,
    ...TARGET_OPTION,
    ...WAIT_OPTION,
    'from-start': { type: 'boolean', doc: 'All records that the log still holds.' },
    'from-offset': { type: 'string', value: 'N', doc: 'Records from this offset on, in every partition.' },
    'from-time': { type: 'string', value: 'TIME', doc: 'Records acknowledged at this time (UTC) or after.' },
    ...JSON_OPTION,
  },
  arguments: { min: 1, max: 1 },
  examples: [
    'millrace replay orders --from-start',
    'millrace replay orders --from-time 2026-01-31T12:00Z',
    "millrace replay orders --from-start --target prod --wait '1 hour'",
  ],
  async run(options, effects) {
    const stream = options.args[0]!
    const ways = [
      options['from-start'],
      options['from-offset'] !== undefined,
      options['from-time'] !== undefined,
    ].filter(Boolean)
    if (ways.length !== 1)
      throw usageError(
        'Where to begin is not said, or said twice.',
        'Give one of --from-start, --from-offset N and --from-time TIME.',
      )
    const from = {
      ...(options['from-offset'] === undefined
        ? {}
        : { fromOffset: wholeNumber('from-offset', options['from-offset'], 0, Number.MAX_SAFE_INTEGER) }),
      ...(options['from-time'] === undefined ? {} : { fromMs: moment('from-time', options['from-time']) }),
    }
    const progress = progressView(effects, options.json)
    const home = homeOf(options, effects)
    const how = { home, json: options.json, progress, ...waitOf(options) }
    const report = await act('replay', { stream, ...from }, how, effects)
    effects.out.write(`${options.json ? JSON.stringify(report) : replayText(report, effects.out)}\n`)
    return 0
  },
})

import { pathToFileURL } from 'node:url'
import { didYouMean } from '../base/suggest.ts'
import { type Command, parseOptions, usageError } from './command.ts'
import { COMMANDS } from './commands.ts'
import { type Effects, systemEffects } from './effects.ts'
import { commandHelp, generalHelp } from './help.ts'
import { exitCodeOf, reportError } from './report-error.ts'
import { version } from './version.ts'

/** Runs one command line. Resolves to the exit code: 0, 1 when it failed, 2 when it was not understood. */
export async function main(argv: readonly string[], effects: Effects): Promise<number> {
  const json = argv.includes('--json')
  try {
    const [name, ...rest] = argv
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
      effects.out.write(
        rest[0] === undefined ? generalHelp(effects.out) : commandHelp(rest[0], await commandOf(rest[0]), effects.out),
      )
      return name === undefined ? 2 : 0
    }
    if (name === '--version' || name === '-v' || name === 'version') {
      effects.out.write(`${version()}\n`)
      return 0
    }
    const command = await commandOf(name)
    const end = rest.indexOf('--')
    if (rest.slice(0, end === -1 ? rest.length : end).some((arg) => arg === '--help' || arg === '-h')) {
      effects.out.write(commandHelp(name, command, effects.out))
      return 0
    }
    return await command.run(parseOptions(name, command, rest), effects)
  } catch (error) {
    reportError(error, effects, json)
    return exitCodeOf(error)
  }
}

async function commandOf(name: string): Promise<Command> {
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (found) return (await found.load()).default
  if (name.startsWith('-'))
    throw usageError(`The command comes first, before '${name}'.`, 'Such as: millrace start --project DIR.')
  throw usageError(`There is no command '${name}'.`, didYouMean(name, Object.keys(COMMANDS)))
}

/** The whole life of the process. */
export async function runProcess(): Promise<void> {
  const effects = systemEffects()
  // A reader that has seen enough (`| head`) is no error.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  const crash = (error: unknown) => {
    reportError(error, effects, process.argv.includes('--json'))
    process.exit(1)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  const code = await main(process.argv.slice(2), effects)
  await Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
  )
  process.exit(code)
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await runProcess()

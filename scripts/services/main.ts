// npm run services -- up | down | status | env | run  [kafka spark s3 postgres registry]   See docs/services.md.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { parseArgs } from 'node:util'
import { MillraceError, asMillraceError, messageOf } from '../../src/base/errors.ts'
import { Home } from './home.ts'
import type { ServiceName } from './service.ts'
import { SERVICES, type ServiceStatus, down, environment, isUp, status, up } from './services.ts'

const USAGE = `npm run services -- COMMAND [kafka spark s3 postgres registry]     without names: all; up: all but registry

  up       installs and starts those that do not run, and waits until they answer
           --brokers 3   Kafka as three brokers, any one of which may be lost
  down     stops them; their data stay
  status   what runs, where, since when; --json for machines
  env      addresses and credentials of those that run, as lines of KEY=VALUE
  run -- COMMAND …   those named up, or the usual ones; the command with these variables; then down what was started for it

Programs, data and logs are in .services/, or where MILLRACE_SERVICES says.`

const ALL = Object.keys(SERVICES) as ServiceName[]
const USUAL = ALL.filter((name) => !SERVICES[name].optional)

/** Progress goes to standard error: standard output is for results. */
function say(service: ServiceName, text: string): void {
  process.stderr.write(`${service.padEnd(9)} ${text}\n`)
}

function usage(message: string): MillraceError {
  return new MillraceError('invalid', 'usage', message, { hint: USAGE })
}

/** Names given, or all; wrong ones are an error. */
function namesOf(words: readonly string[]): ServiceName[] {
  const wrong = words.find((word) => !ALL.some((name) => name === word))
  if (wrong !== undefined) throw usage(`There is no service ${wrong}.`)
  return words.length === 0 ? ALL : ALL.filter((name) => words.includes(name))
}

function argumentsOf(args: string[]) {
  try {
    const options = { brokers: { type: 'string' }, json: { type: 'boolean', default: false } } as const
    return parseArgs({ args, allowPositionals: true, options })
  } catch (error) {
    throw usage(messageOf(error))
  }
}

async function main(): Promise<number> {
  const [command, ...rest] = process.argv.slice(2)
  const home = Home.default()
  if (command === 'run') {
    const at = rest.indexOf('--')
    return await runWith(home, at > 0 ? namesOf(rest.slice(0, at)) : USUAL, at < 0 ? rest : rest.slice(at + 1))
  }
  const { values, positionals } = argumentsOf(rest)
  const names = namesOf(positionals)
  switch (command) {
    case 'up': {
      const brokers = values.brokers === undefined ? undefined : Number(values.brokers)
      if (brokers !== undefined && brokers !== 1 && brokers !== 3) throw usage('Kafka has --brokers 1 or 3.')
      await up(home, positionals.length === 0 ? USUAL : names, say, brokers === undefined ? {} : { brokers })
      return 0
    }
    case 'down':
      await down(home, names, say)
      return 0
    case 'status': {
      const all = names.map((name) => status(home, name))
      console.log(values.json ? JSON.stringify(all) : table(all))
      return 0
    }
    case 'env': {
      const on = names.filter((name) => isUp(home, name))
      for (const [key, value] of Object.entries(environment(home, on))) console.log(`${key}=${value}`)
      // Those asked for by name are needed.
      const off = positionals.length === 0 ? [] : names.filter((name) => !on.includes(name))
      for (const name of off) say(name, `does not run: npm run services -- up ${name}`)
      return off.length > 0 ? 1 : 0
    }
    case undefined:
    case '--help':
    case 'help':
      console.log(USAGE)
      return command === undefined ? 2 : 0
    default:
      throw usage(`There is no command ${command}.`)
  }
}

/** Runs a command beside services, and takes down those that were started for it, however it ended. */
async function runWith(
  home: Home,
  names: readonly ServiceName[],
  [command, ...args]: readonly string[],
): Promise<number> {
  if (command === undefined) throw usage('What is to be run?')
  const before = names.filter((name) => isUp(home, name))
  // While they start, and while they stop, a signal is waited with: nothing half started stays behind.
  let asked: NodeJS.Signals | undefined
  let forward = (signal: NodeJS.Signals): void => void (asked = signal)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => forward(signal))
  try {
    await up(home, names, say)
    if (asked !== undefined) return 128 + constants.signals[asked]
    const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, ...environment(home, names) } })
    // A terminal sends SIGINT to the command too.
    forward = (signal) => void (signal !== 'SIGINT' && child.kill(signal))
    return await new Promise<number>((done, fail) => {
      child.once('error', fail)
      child.once('exit', (code, signal) => done(code ?? 128 + constants.signals[signal!]))
    })
  } finally {
    forward = () => {}
    await down(
      home,
      names.filter((name) => !before.includes(name)),
      say,
    )
  }
}

function table(all: readonly ServiceStatus[]): string {
  const rows = [
    ['service', 'what', 'address', 'pid', 'memory', 'start'],
    ...all.map((one) => [
      one.service,
      one.title,
      one.address ?? '-',
      one.pids.join(' ') || '-',
      one.memoryBytes === 0 ? '-' : `${Math.round(one.memoryBytes / 1e6)} MB`,
      one.startSeconds === undefined
        ? one.pids.length === 0
          ? 'down'
          : 'not whole'
        : `${one.startSeconds.toFixed(1)} s`,
    ]),
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function report(error: unknown): void {
  const all = (error instanceof AggregateError ? (error.errors as unknown[]) : [error]).map(asMillraceError)
  // Two services can lack the same thing.
  for (const { message, hint, stack, kind } of new Map(all.map((one) => [one.message, one])).values()) {
    process.stderr.write(`error: ${message}\n${hint === undefined ? '' : `  hint ${hint}\n`}`)
    if (kind === 'internal') process.stderr.write(`${stack}\n`)
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  report(error)
  process.exitCode = error instanceof MillraceError && error.code === 'usage' ? 2 : 1
}

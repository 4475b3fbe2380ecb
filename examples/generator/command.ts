import { closeSync, openSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Arrival, Dirt } from './arrivals.ts'
import { post } from './post.ts'

/** What every generator takes. */
export interface Common extends Dirt {
  readonly seed: number
  readonly startMs: number
  readonly endMs: number
}

/** A generator as a command. */
export interface Source {
  readonly title: string
  /** How it is called, for the examples of `--help`. */
  readonly path: string
  readonly streams: readonly string[]
  /** Numbers of its own, with their default and what they say. */
  readonly rates: Readonly<Record<string, readonly [byDefault: number, says: string]>>
  readonly shares: Dirt
  readonly hours: number
  generate(common: Common, rates: Readonly<Record<string, number>>): Iterable<Arrival>
}

const START = '2025-06-02T06:00:00Z'
const SHARES: Record<keyof Dirt, string> = {
  duplicates: 'share of events that are reported twice',
  disorder: 'seconds by which events arrive late at most, and so out of order',
  late: 'share that arrives 1 to 20 minutes late',
  stale: 'share that arrives 2 to 4 hours late',
  bad: 'share that breaks the contract',
  future: 'share from a clock in 2099',
}

class UsageError extends Error {}

/** Runs a generator with the arguments of the command line. Sets the exit code: 1 failed, 2 not understood. */
export async function run(generator: Source, args: readonly string[] = process.argv.slice(2)): Promise<void> {
  try {
    const { values } = parsed(generator, args)
    if (values['help'] === true) {
      process.stdout.write(help(generator))
      return
    }
    const lines = generator.generate(...settings(generator, values))
    const url = text(values['post'])
    if (url === undefined) write(lines, generator, text(values['stream']), text(values['out']))
    else await send(lines, url, values)
  } catch (error) {
    // The reader of a pipe has had enough.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = error instanceof UsageError ? 2 : 1
  }
}

/** The lines of a generator with the defaults of its command, but for some. */
export function linesOf(generator: Source, given: Readonly<Record<string, string>> = {}): Iterable<Arrival> {
  return generator.generate(...settings(generator, given))
}

type Values = Readonly<Record<string, string | boolean | undefined>>

function parsed(generator: Source, args: readonly string[]): { values: Values } {
  const names = ['seed', 'start', 'hours', 'out', 'stream', 'post', 'rate', 'batch']
  const numbers = [...Object.keys(generator.rates), ...Object.keys(SHARES)]
  const options = Object.fromEntries([...names, ...numbers].map((name) => [name, { type: 'string' as const }]))
  try {
    return parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } } })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\nSee: node ${generator.path} --help`)
  }
}

function settings(generator: Source, values: Values): [Common, Record<string, number>] {
  const startText = text(values['start']) ?? START
  const startMs = startText === 'now' ? Date.now() : Date.parse(startText)
  if (Number.isNaN(startMs)) throw new UsageError(`--start '${startText}' is no time. Write ${START}, or now.`)
  const endMs = startMs + number(values, 'hours', generator.hours) * 3_600_000
  const dirt = Object.fromEntries(
    Object.entries(generator.shares).map(([name, byDefault]) => {
      const value = number(values, name, byDefault)
      if (name !== 'disorder' && value > 1)
        throw new UsageError(`--${name} ${value} is no share: it lies between 0 and 1.`)
      return [name, value]
    }),
  ) as unknown as Dirt
  const rates = Object.fromEntries(
    Object.entries(generator.rates).map(([name, [byDefault]]) => [name, number(values, name, byDefault)]),
  )
  return [{ ...dirt, seed: number(values, 'seed', 1), startMs, endMs }, rates]
}

function number(values: Values, name: string, byDefault: number): number {
  const given = text(values[name])
  if (given === undefined) return byDefault
  const value = Number(given)
  if (given.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new UsageError(`--${name} '${given}' is no number of at least 0.`)
  return value
}

function text(value: string | boolean | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

const CHUNK = 1 << 16

function write(lines: Iterable<Arrival>, { streams }: Source, only: string | undefined, out: string | undefined): void {
  if (only !== undefined && !streams.includes(only))
    throw new UsageError(`--stream '${only}' is none of ${streams.join(', ')}.`)
  const stream = only ?? streams[0]!
  if (only === undefined && streams.length > 1)
    throw new UsageError(`--stream is missing: one of ${streams.join(', ')}.`)
  const file = out === undefined ? 1 : openSync(out, 'w')
  let chunk = ''
  for (const arrival of lines) {
    if (arrival.stream !== stream) continue
    chunk += `${arrival.line}\n`
    if (chunk.length < CHUNK) continue
    writeAll(file, chunk)
    chunk = ''
  }
  writeAll(file, chunk)
  if (file !== 1) closeSync(file)
}

/** A pipe takes what it has room for. */
function writeAll(file: number, chunk: string): void {
  const bytes = Buffer.from(chunk)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(file, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
}

async function send(lines: Iterable<Arrival>, url: string, values: Values): Promise<void> {
  if (!URL.canParse(url)) throw new UsageError(`--post '${url}' is no URL, such as http://127.0.0.1:4400.`)
  const rate = text(values['rate']) === 'live' ? 'live' : number(values, 'rate', Infinity)
  if (rate === 0) throw new UsageError('--rate 0 would never send anything.')
  const began = performance.now()
  let shown = began
  const durable = await post(url, lines, { rate, batch: Math.max(1, number(values, 'batch', 500)) }, (sent) => {
    if (!process.stderr.isTTY || performance.now() - shown < 500) return
    shown = performance.now()
    process.stderr.write(`\r${sent.toLocaleString('en-US')} sent`)
  })
  if (process.stderr.isTTY) process.stderr.write('\r')
  const seconds = ((performance.now() - began) / 1_000).toFixed(1)
  for (const [stream, count] of durable)
    process.stdout.write(`${stream}: ${count.toLocaleString('en-US')} durable, after ${seconds} s\n`)
}

function help({ title, path, streams, rates, shares, hours }: Source): string {
  const row = (name: string, says: string) => `  ${name.padEnd(20)} ${says}`
  const many = streams.length > 1
  return [
    `${title}`,
    '',
    'The same options always give the same lines, byte by byte.',
    '',
    'What there is',
    row('--seed N', 'another seed, other events (1)'),
    row('--start TIME', `time of the first event; now for the present (${START})`),
    row('--hours N', `how long it goes on (${hours})`),
    ...Object.entries(rates).map(([name, [byDefault, says]]) => row(`--${name} N`, `${says} (${byDefault})`)),
    '',
    'What is wrong with it',
    ...Object.entries(SHARES).map(([name, says]) => row(`--${name} N`, `${says} (${shares[name as keyof Dirt]})`)),
    '',
    'Where it goes',
    ...(many ? [row('--stream NAME', `which lines are written: ${streams.join(' or ')}; --post sends all`)] : []),
    row('--out FILE', 'a file; without it and --post, standard output'),
    row('--post URL', 'a running server'),
    row('--rate N', 'with --post: lines a second, or live for each when its time comes; else as fast as it goes'),
    row('--batch N', 'with --post: most lines of a request (500)'),
    '',
    'Examples',
    `  node ${path} ${many ? `--stream ${streams[0]} ` : ''}| head -3`,
    `  node ${path} ${many ? `--stream ${streams[0]} ` : ''}--seed 7 --hours 24 --out ${streams[0]}.ndjson`,
    `  node ${path} --post http://127.0.0.1:4400 --rate 2000`,
    `  node ${path} --post http://127.0.0.1:4400 --start now --rate live`,
    `  node ${path} --post http://127.0.0.1:4400 --duplicates 0.2 --late 0.1 --disorder 25`,
    '',
  ].join('\n')
}

import { parseArgs } from 'node:util'
import { durationMs } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Effects } from './effects.ts'

/** A declared option of a command. */
export type OptionSpec =
  | { readonly type: 'boolean'; readonly doc: string }
  | { readonly type: 'string'; readonly value: string; readonly doc: string; readonly multiple?: boolean }

export type OptionSpecs = Readonly<Record<string, OptionSpec>>

/** What the options of a command line hold. */
export type OptionValues<S extends OptionSpecs> = {
  readonly [K in keyof S]: S[K] extends { type: 'boolean' }
    ? boolean
    : S[K] extends { multiple: true }
      ? readonly string[]
      : string | undefined
}

/** One command. `run` resolves to the exit code, and throws for errors. */
export interface Command<S extends OptionSpecs = OptionSpecs> {
  /** One line. */
  readonly summary: string
  /** What stands after the command's name: `[options] "SQL"`. */
  readonly usage: string
  /** Paragraphs under the summary. */
  readonly details?: string
  readonly options: S
  /** How many arguments beside options it takes. */
  readonly arguments: { readonly min: number; readonly max: number }
  readonly examples: readonly string[]
  run(options: OptionValues<S> & { readonly args: readonly string[] }, effects: Effects): Promise<number>
}

/** Declares a command; its options' types follow from their specs. */
export function command<const S extends OptionSpecs>(declared: Command<S>): Command {
  return declared
}

/** Options that most commands have. */
export const PROJECT_OPTIONS = {
  project: { type: 'string', value: 'DIR', doc: 'The project: a folder with millrace.config.ts. Default: here.' },
  data: { type: 'string', value: 'DIR', doc: 'Where log and lake are kept. Default: .millrace in the project.' },
} as const satisfies OptionSpecs

/** For commands that may work on what a cluster has. */
export const TARGET_OPTION = {
  target: {
    type: 'string',
    value: 'NAME',
    doc: 'What to work on: a target of millrace.config.ts. Default: this machine.',
  },
} as const satisfies OptionSpecs

/** For commands that change what other processes of a target may be at work on. */
export const WAIT_OPTION = {
  wait: {
    type: 'string',
    value: 'TIME',
    doc: "How long to wait for other processes of the target to hand over what is changed. Default: '5 minutes'.",
  },
} as const satisfies OptionSpecs

/** Time given by `--wait`, ms. Errors: `invalid`/`usage`. */
export function waitOf({ wait }: { readonly wait: string | undefined }): { readonly waitMs?: number } {
  return wait === undefined ? {} : { waitMs: duration('wait', wait) }
}

/** A length of time given as an option, ms. Errors: `invalid`/`usage`. */
export function duration(option: string, text: string): number {
  try {
    return durationMs(text, `--${option}`)
  } catch (error) {
    if (error instanceof MillraceError) throw usageError(error.message, error.hint ?? '')
    throw error
  }
}

export const JSON_OPTION = {
  json: { type: 'boolean', doc: 'For machines: JSON on standard output, errors as JSON on standard error.' },
} as const satisfies OptionSpecs

/** Something is wrong with the command line itself: exit code 2. */
export function usageError(message: string, hint: string): MillraceError {
  return new MillraceError('invalid', USAGE, message, { hint })
}

export const USAGE = 'usage'

/** Reads the arguments of a command. Errors: `invalid`/`usage`. */
export function parseOptions(
  name: string,
  { options, arguments: takes, usage }: Command,
  argv: readonly string[],
): OptionValues<OptionSpecs> & { readonly args: readonly string[] } {
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(Object.entries(options).map(([key, { type }]) => [key, { type }])),
    strict: false,
    tokens: true,
  })
  const values: Record<string, string | boolean | string[] | undefined> = {}
  for (const [key, spec] of Object.entries(options)) {
    values[key] = spec.type === 'boolean' ? false : spec.multiple === true ? [] : undefined
  }
  const args: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') args.push(token.value)
    if (token.kind === 'option') takeOption(name, options, token, values)
  }
  const how = `Usage: millrace ${name} ${usage}; millrace ${name} --help shows more.`
  if (args.length < takes.min)
    throw usageError(`millrace ${name} needs ${takes.min === 1 ? 'an argument' : 'arguments'}.`, how)
  if (args.length > takes.max)
    throw usageError(
      `millrace ${name} cannot use '${args[takes.max]}'.`,
      takes.max === 1 && name === 'query' ? 'Put the SQL in quotes: it is one argument.' : how,
    )
  return { ...values, args } as unknown as OptionValues<OptionSpecs> & { readonly args: readonly string[] }
}

function takeOption(
  name: string,
  options: OptionSpecs,
  token: { readonly name: string; readonly rawName: string; readonly value?: string | undefined },
  values: Record<string, unknown>,
): void {
  const spec = Object.hasOwn(options, token.name) ? options[token.name] : undefined
  if (spec === undefined) {
    const known = [...Object.keys(options), 'help'].map((key) => `--${key}`)
    throw usageError(`millrace ${name} has no option '${token.rawName}'.`, didYouMean(token.rawName, known))
  }
  if (spec.type === 'boolean') {
    if (token.value !== undefined) throw usageError(`--${token.name} takes no value.`, `Write --${token.name} alone.`)
    values[token.name] = true
    return
  }
  if (token.value === undefined || token.value === '')
    throw usageError(`--${token.name} needs a value.`, `Write --${token.name} ${spec.value}.`)
  if (spec.multiple === true) (values[token.name] as string[]).push(token.value)
  else values[token.name] = token.value
}

/** A whole number given as an option. */
export function wholeNumber(option: string, text: string, min: number, max: number): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= min && number <= max) return number
  throw usageError(`--${option} is '${text}'.`, `Give a whole number from ${min} to ${max}.`)
}

/** A moment given as an option: a date or an ISO 8601 time, UTC without an offset. Milliseconds since the epoch. */
export function moment(option: string, text: string): number {
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:?\d\d)?)?$/.exec(text.trim())
  const ms = match ? Date.parse(`${match[1]}T${match[2] ?? '00:00'}${match[3] ?? 'Z'}`) : NaN
  // Date.parse takes 30 February for 2 March.
  if (match && !Number.isNaN(ms) && new Date(`${match[1]}T00:00Z`).toISOString().startsWith(match[1]!)) return ms
  throw usageError(
    `--${option} is '${text}', which is not a date or time.`,
    `Write --${option} 2026-01-31 or --${option} 2026-01-31T12:00Z (UTC).`,
  )
}

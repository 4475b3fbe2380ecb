import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Config } from '../project/config.ts'

type Kind = 'text' | 'number' | 'list of texts'
type Shape<T> = {
  readonly [K in keyof Required<T>]: NonNullable<T[K]> extends readonly string[]
    ? 'list of texts'
    : NonNullable<T[K]> extends string
      ? 'text'
      : NonNullable<T[K]> extends number
        ? 'number'
        : Shape<NonNullable<T[K]>>
}

/** Every option of the configuration with its kind; the compiler keeps it complete. */
const SHAPE: Shape<Config> = {
  name: 'text',
  include: 'list of texts',
  server: { port: 'number', host: 'text', token: 'text', bodyLimit: 'number' },
  ingest: { backlogBytes: 'number', commitInterval: 'text', recordLimit: 'number' },
  limits: {
    laneWorkers: 'number',
    functionWorkers: 'number',
    functionMemory: 'number',
    uniqueMemory: 'number',
    engineMemory: 'number',
    queryMemory: 'number',
    queryRows: 'number',
    queryTime: 'text',
    refreshes: 'number',
  },
  lake: { snapshotAge: 'text', targetFileSize: 'number' },
}

/** What is wrong with the default export of `millrace.config.ts`. */
export function checkConfig(config: unknown, file: string): MillraceError[] {
  if (config === undefined || !isObject(config)) {
    return [
      new MillraceError('invalid', 'bad-config', 'millrace.config.ts exports no configuration.', {
        hint: "Write `export default defineConfig({ name: 'my_project' })`.",
        context: { file },
      }),
    ]
  }
  return checkObject(config, SHAPE, '', file)
}

type AnyShape = { readonly [key: string]: Kind | AnyShape }

function checkObject(config: Record<string, unknown>, shape: AnyShape, prefix: string, file: string): MillraceError[] {
  return Object.entries(config).flatMap(([key, value]): MillraceError[] => {
    const wanted = Object.hasOwn(shape, key) ? shape[key]! : undefined
    if (wanted === undefined)
      return [problem(`There is no option '${prefix}${key}'.`, didYouMean(key, Object.keys(shape)), file)]
    if (value === undefined) return []
    if (typeof wanted === 'object')
      return isObject(value)
        ? checkObject(value, wanted, `${prefix}${key}.`, file)
        : [
            problem(
              `${prefix}${key} is ${value === null ? 'null' : `a ${kindOf(value)}`}.`,
              `Write ${prefix}${key}: { … }.`,
              file,
            ),
          ]
    if (kindOf(value) === wanted && (wanted !== 'number' || (value as number) >= 0)) return []
    return [
      problem(
        `${prefix}${key} is ${typeof value === 'number' ? value : `a ${kindOf(value)}`}.`,
        `Give a ${wanted}${wanted === 'number' ? ' of zero or more' : ''}.`,
        file,
      ),
    ]
  })
}

function problem(message: string, hint: string, file: string): MillraceError {
  return new MillraceError('invalid', 'bad-config', `Configuration: ${message}`, { hint, context: { file } })
}

function kindOf(value: unknown): string {
  if (typeof value === 'string') return 'text'
  if (typeof value === 'number' && Number.isFinite(value)) return 'number'
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string') ? 'list of texts' : 'list'
  return value === null ? 'null' : typeof value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'

type Kind = 'text' | 'number' | 'boolean' | 'list of texts'

/** What an option may hold: a kind, one of some texts, any of some shapes, options by free names, or options of its own. */
export type OptionShape =
  | Kind
  | { readonly oneOf: readonly string[] }
  | { readonly anyOf: readonly OptionShape[] }
  | { readonly named: ObjectShape }
  | { readonly options: ObjectShape; readonly required?: readonly string[] }

export interface ObjectShape {
  readonly [key: string]: OptionShape
}

/** What is wrong with an object of options; `prefix` is its own place: `server.`. */
export function checkObject(
  config: Record<string, unknown>,
  shape: ObjectShape,
  prefix: string,
  file: string,
): MillraceError[] {
  return Object.entries(config).flatMap(([key, value]): MillraceError[] => {
    if (!Object.hasOwn(shape, key))
      return [configProblem(`There is no option '${prefix}${key}'.`, didYouMean(key, Object.keys(shape)), file)]
    return value === undefined ? [] : checkOption(value, shape[key]!, `${prefix}${key}`, file)
  })
}

function checkOption(value: unknown, wanted: OptionShape, place: string, file: string): MillraceError[] {
  if (typeof wanted === 'string') return checkKind(value, wanted, place, file)
  if ('anyOf' in wanted) {
    const tried = wanted.anyOf.map((shape) => checkOption(value, shape, place, file))
    return tried.some((problems) => problems.length === 0) ? [] : tried.at(-1)!
  }
  if ('oneOf' in wanted) {
    if (wanted.oneOf.includes(value as string)) return []
    const said = typeof value === 'string' ? `'${value}'` : withArticle(value)
    return [
      configProblem(`${place} is ${said}.`, `Give ${wanted.oneOf.map((text) => `'${text}'`).join(' or ')}.`, file),
    ]
  }
  if (!isObject(value)) return [configProblem(`${place} is ${withArticle(value)}.`, `Write ${place}: { … }.`, file)]
  if ('named' in wanted) {
    const shape = { options: wanted.named }
    return Object.entries(value).flatMap(([name, inner]) => checkOption(inner, shape, `${place}.${name}`, file))
  }
  const missing = (wanted.required ?? [])
    .filter((key) => value[key] === undefined)
    .map((key) => configProblem(`${place} has no ${key}.`, `Write ${place}: { ${key}: … }.`, file))
  return [...missing, ...checkObject(value, wanted.options, `${place}.`, file)]
}

function checkKind(value: unknown, wanted: Kind, place: string, file: string): MillraceError[] {
  if (kindOf(value) === wanted && (wanted !== 'number' || (value as number) >= 0)) return []
  return [
    configProblem(
      `${place} is ${typeof value === 'number' ? value : withArticle(value)}.`,
      `Give a ${wanted}${wanted === 'number' ? ' of zero or more' : ''}.`,
      file,
    ),
  ]
}

function configProblem(message: string, hint: string, file: string): MillraceError {
  return new MillraceError('invalid', 'bad-config', `Configuration: ${message}`, { hint, context: { file } })
}

function withArticle(value: unknown): string {
  if (value === null) return 'null'
  const kind = kindOf(value)
  return kind === 'object' ? 'an object' : `a ${kind}`
}

function kindOf(value: unknown): string {
  if (typeof value === 'string') return 'text'
  if (typeof value === 'number' && Number.isFinite(value)) return 'number'
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string') ? 'list of texts' : 'list'
  return value === null ? 'null' : typeof value
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

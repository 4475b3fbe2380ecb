import type { EngineName } from '../project/sql.ts'
import { type OptionSpecs, usageError } from './command.ts'

const ENGINES: readonly EngineName[] = ['duckdb', 'spark']

export const ENGINES_OPTION = {
  engines: { type: 'string', value: 'NAMES', doc: 'Engines that are to give the same rows: duckdb,spark.' },
} as const satisfies OptionSpecs

/** The engines of `--engines`, each once; none without it. Errors: `invalid`/`usage`. */
export function enginesOf(text: string | undefined): readonly EngineName[] {
  if (text === undefined) return []
  const names = text.split(',').map((name) => name.trim())
  const wrong = names.find((name) => !ENGINES.includes(name as EngineName))
  if (wrong !== undefined) throw usageError(`--engines names '${wrong}'.`, `There are ${ENGINES.join(' and ')}.`)
  return [...new Set(names as EngineName[])]
}

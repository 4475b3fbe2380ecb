import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import { duckdbEngine } from '../runtime/duckdb-engine.ts'
import { type MaintainReport, maintain } from '../runtime/maintain.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { type Verification, verify } from '../runtime/verify.ts'
import { type EngineVerification, hasEngines, verifyEngines } from '../runtime/verify-engines.ts'
import type { Tell } from './verbs/progress.ts'
import {
  type QuarantineReplayInput,
  type ReplayInput,
  type ReplayReport,
  replay,
  replayRefused,
} from './verbs/replay.ts'
import { type RunInput, type RunReport, run } from './verbs/run.ts'

/** What the command line asks of a runtime: its own, or that of a server beside it. JSON in, progress, JSON out. */
export interface Verbs {
  run(input: RunInput): RunReport
  replay(input: ReplayInput): ReplayReport
  'quarantine-replay'(input: QuarantineReplayInput): ReplayReport
  verify(input: { readonly datasets: readonly string[] }): readonly Verification[]
  'verify-engines'(input: VerifyEnginesInput): readonly EngineVerification[]
  maintain(input: MaintainInput): readonly MaintainReport[]
}

export type Verb = keyof Verbs
export type InputOf<V extends Verb> = Parameters<Verbs[V]>[0]
export type ResultOf<V extends Verb> = ReturnType<Verbs[V]>

export interface VerifyEnginesInput {
  readonly datasets: readonly string[]
  readonly sample: boolean
}

export interface MaintainInput {
  readonly minFiles: number
  readonly orphanAgeMs: number
}

type Handlers = { readonly [V in Verb]: (runtime: Runtime, input: InputOf<V>, tell: Tell) => Promise<ResultOf<V>> }

const HANDLERS: Handlers = {
  run,
  replay,
  'quarantine-replay': replayRefused,
  verify: verifyAll,
  'verify-engines': verifyAllEngines,
  maintain: maintainAll,
}

/** Carries a verb out. Errors: `invalid`/`unknown-verb`, and those of the verb. */
export async function carryOut(
  runtime: Runtime,
  verb: string,
  input: unknown,
  tell: (event: Record<string, unknown>) => void,
): Promise<unknown> {
  const handler = Object.hasOwn(HANDLERS, verb) ? HANDLERS[verb as Verb] : undefined
  if (handler === undefined)
    throw new MillraceError('invalid', 'unknown-verb', `There is no control request '${verb}'.`, {
      hint: didYouMean(verb, Object.keys(HANDLERS)),
    })
  return (handler as (runtime: Runtime, input: unknown, tell: Tell) => Promise<unknown>)(runtime, input, (event) =>
    tell({ ...event }),
  )
}

async function verifyAll(runtime: Runtime, { datasets }: InputOf<'verify'>, tell: Tell): Promise<Verification[]> {
  const names = datasets.length === 0 ? runtime.project.order.map(({ name }) => name) : datasets
  for (const name of names) runtime.project.dataset(name)
  const found: Verification[] = []
  for (const name of names) {
    tell({ phase: 'verify', dataset: name })
    found.push(await verify(runtime, name, (done, total) => tell({ phase: 'process', stream: name, done, total })))
  }
  return found
}

async function verifyAllEngines(
  runtime: Runtime,
  { datasets, sample }: VerifyEnginesInput,
  tell: Tell,
): Promise<EngineVerification[]> {
  const { engine } = runtime
  if (engine.name !== 'spark')
    throw new MillraceError(
      'invalid',
      'no-spark',
      'The project runs on DuckDB alone here; there is no Spark to compare with.',
      {
        hint: 'Name a target whose engine is Spark: --target NAME, with targets in millrace.config.ts.',
      },
    )
  for (const name of datasets) runtime.project.dataset(name)
  const all = runtime.project.order.map(({ name }) => name).filter((name) => hasEngines(runtime, name))
  const found: EngineVerification[] = []
  for (const name of datasets.length === 0 ? all : datasets) {
    tell({ phase: 'verify', dataset: name })
    found.push(await verifyEngines(runtime, name, [duckdbEngine(runtime.database), engine], { sample }))
  }
  return found
}

async function maintainAll(
  runtime: Runtime,
  { minFiles, orphanAgeMs }: MaintainInput,
  tell: Tell,
): Promise<MaintainReport[]> {
  tell({ phase: 'maintain' })
  return maintain(runtime, { minFiles, orphanAgeMs, rewriteBytesMax: Infinity })
}

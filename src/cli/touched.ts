import type { Dataset } from '../project/dataset.ts'
import { type Project, checkInputsOf, inputsOf } from '../project/project.ts'
import { sharedStream } from '../runtime/functions/reach.ts'
import type { Touched } from '../runtime/runtime-options.ts'
import type { InputOf, Verb } from './control.ts'

type Touches = { readonly [V in Verb]: (project: Project, input: InputOf<V>) => Touched | undefined }

const TOUCHES: Touches = {
  run: (project) => ({ streams: streamsOf(project, 'whole'), tables: tablesOf(project.order), handlers: true }),
  replay: (project, { stream }) => from(project, stream),
  'quarantine-replay': (project, { stream }) => from(project, stream),
  maintain: (project) => ({
    streams: streamsOf(project, 'house'),
    tables: tablesOf(project.order),
    handlers: false,
  }),
  verify: () => undefined,
  'verify-engines': () => undefined,
}

/** What a verb must have for itself while it is carried out; undefined when it only reads. Errors: `invalid`/`unknown-dataset`. */
export function touchedBy<V extends Verb>(verb: V, input: InputOf<V>, project: Project): Touched | undefined {
  return TOUCHES[verb](project, input)
}

/** A dataset, and the tables that are computed from it. */
function from(project: Project, name: string): Touched {
  const reached = new Set<Dataset>([project.dataset(name)])
  for (const dataset of project.order)
    if ([...inputsOf(dataset), ...checkInputsOf(dataset)].some((input) => reached.has(input))) reached.add(dataset)
  // What workers share of a table is divided as the partitions of its stream are.
  const streams = [...reached].flatMap((dataset) => sharedStream(dataset) ?? [])
  return {
    streams: new Map(streams.map(({ name: own }) => [own, 'whole'])),
    tables: tablesOf([...reached]),
    handlers: false,
  }
}

function streamsOf({ order }: Project, share: 'whole' | 'house'): Touched['streams'] {
  return new Map(order.flatMap(({ kind, name }) => (kind === 'stream' ? [[name, share] as const] : [])))
}

function tablesOf(datasets: readonly Dataset[]): ReadonlySet<string> {
  return new Set(datasets.filter(({ kind }) => kind === 'table').map(({ name }) => name))
}

import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Config } from './config.ts'
import { type Dataset, type Declaration, isDataset } from './dataset.ts'
import type { Endpoint } from './endpoint.ts'
import type { Handler } from './handler.ts'
import { type EventTime, eventTimeOf, timedStream } from './event-time.ts'
import { checkInputsOf, inputsOf } from './inputs.ts'
import type { Stream } from './stream.ts'
import { checkDeclarations } from './rules.ts'

export { checkInputsOf, inputsOf, refusesRows } from './inputs.ts'

/** Declarations of one project, with the graph between them. Pure: loading files is the command line's work. */
export class Project {
  readonly name: string
  readonly directory: string
  readonly config: Config
  readonly datasets: ReadonlyMap<string, Dataset>
  readonly endpoints: ReadonlyMap<string, Endpoint>
  readonly handlers: ReadonlyMap<string, Handler>
  /** Every dataset after all it reads. */
  readonly order: readonly Dataset[]
  /** What is wrong with the declarations; empty when the project can run. */
  readonly problems: readonly MillraceError[]

  constructor(options: { name: string; directory: string; config: Config; declarations: readonly Declaration[] }) {
    this.name = options.name
    this.directory = options.directory
    this.config = options.config
    const distinct = [...new Set(options.declarations)]
    this.datasets = new Map(distinct.filter(isDataset).map((d) => [d.name, d]))
    this.endpoints = new Map(distinct.filter((d) => d.kind === 'endpoint').map((d) => [d.name, d]))
    this.handlers = new Map(distinct.filter((d) => d.kind === 'handler').map((d) => [d.name, d]))
    const order = dependencyOrder([...this.datasets.values()])
    this.order = order
    this.problems = checkDeclarations(distinct)
  }

  /** The dataset of a name. Throws invalid/unknown-dataset with a suggestion. */
  dataset(name: string): Dataset {
    const found = this.datasets.get(name)
    if (found) return found
    throw new MillraceError('invalid', 'unknown-dataset', `There is no dataset '${name}' in project '${this.name}'.`, {
      hint: didYouMean(name, this.datasets.keys()),
      context: { dataset: name },
    })
  }

  /** Datasets that read a dataset directly. */
  readers(name: string): Dataset[] {
    return this.order.filter((dataset) => inputsOf(dataset).some((input) => input.name === name))
  }

  /** The datasets that go by the event time of a stream: itself, and what functions make of it. */
  timedBy(stream: Stream): Dataset[] {
    return this.order.filter((dataset) => timedStream(dataset) === stream)
  }

  /** The event time of a stream; undefined when it has none. */
  eventTime(stream: Stream): EventTime | undefined {
    return eventTimeOf(
      stream,
      this.timedBy(stream).flatMap(({ name }) => this.readers(name)),
    )
  }
}

/** Depth-first order over inputs and check inputs. A cycle is cut here and reported by the rules. */
function dependencyOrder(datasets: readonly Dataset[]): Dataset[] {
  const order: Dataset[] = []
  const visited = new Set<Dataset>()
  const visit = (dataset: Dataset) => {
    if (visited.has(dataset)) return
    visited.add(dataset)
    for (const input of [...inputsOf(dataset), ...checkInputsOf(dataset)]) visit(input)
    if (datasets.includes(dataset)) order.push(dataset)
  }
  for (const dataset of datasets) visit(dataset)
  return order
}

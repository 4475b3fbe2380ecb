import { type GeneratorOptions, NexmarkGenerator, RATE, type StreamName } from './generator.ts'
import { Random } from './random.ts'

/** In what order events come in, and how often. */
export interface ArrivalOptions {
  readonly seed: number
  /** Milliseconds of event time by which an event may be overtaken. Default 0: in order. */
  readonly disorder?: number
  /** Share of events that come a second time, within the disorder after the first. Default 0. */
  readonly duplicates?: number
  /** Shares of events that come much later than the others: behind by `from` to `to` milliseconds of event time. */
  readonly late?: readonly { readonly share: number; readonly from: number; readonly to: number }[]
}

export interface Arrival {
  readonly stream: StreamName
  readonly line: Uint8Array
  /** Time of the event, milliseconds since 1970. */
  readonly time: number
}

/** The first `count` events as they arrive. Those that are overtaken wait in memory. */
export function* arrivals(count: number, generator: GeneratorOptions, options: ArrivalOptions): Generator<Arrival> {
  const { disorder = 0, duplicates = 0, late = [] } = options
  const source = new NexmarkGenerator(generator)
  const random = new Random(options.seed, 2)
  const slots = (ms: number) => Math.floor((ms * (generator.rate ?? RATE)) / 1_000)
  const waiting = new Map<number, Arrival[]>()
  const hold = (slot: number, arrival: Arrival) => {
    const held = waiting.get(slot)
    if (held) held.push(arrival)
    else waiting.set(slot, [arrival])
  }
  const release = (slot: number): Arrival[] => {
    const held = waiting.get(slot) ?? []
    waiting.delete(slot)
    return held
  }
  for (let n = 0; n < count; n++) {
    const stream = source.next()
    const arrival = { stream, line: source.lines[stream].take().slice(), time: source.timeOf(n) }
    const draw = random.unit()
    let share = 0
    const { from, to } = late.find((l) => draw < (share += l.share)) ?? { from: 0, to: disorder }
    const delay = from + random.unit() * (to - from)
    hold(n + slots(delay), arrival)
    if (random.unit() < duplicates) hold(n + slots(delay + random.unit() * disorder), arrival)
    yield* release(n)
  }
  for (const slot of [...waiting.keys()].sort((a, b) => a - b)) yield* release(slot)
}

import { Heap } from './heap.ts'
import { Random } from './random.ts'

/** Something that happened, as whoever reports it saw it. */
export interface Event {
  readonly stream: string
  readonly atMs: number
  /** Without its time, which is added as `at_time`. */
  readonly record: Readonly<Record<string, unknown>>
}

/** What is made worse about events on their way. Shares are of all events, 0 to 1. */
export interface Dirt {
  /** Reported again within a minute. */
  readonly duplicates: number
  /** Every event arrives up to so many seconds after it happened: neighbours change places. */
  readonly disorder: number
  /** Arrive 1 to 20 minutes after they happened. */
  readonly late: number
  /** Arrive 2 to 4 hours after they happened. */
  readonly stale: number
  /** Break the contract, each in one of several ways. */
  readonly bad: number
  /** From a device whose clock stands in 2099. */
  readonly future: number
}

/** What was done to an event; `duplicate` is its second copy. */
export type Cause = 'clean' | 'late' | 'stale' | 'bad' | 'future' | 'duplicate'

/** A line of NDJSON, in the order and at the time in which it arrives. */
export interface Arrival {
  readonly stream: string
  readonly atMs: number
  readonly line: string
  readonly cause: Cause
}

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const CLOCK_IN_2099_MS = Date.UTC(2099, 0, 1)

/** Merges what several do, each in its own order, into one order of time. Ends at `endMs`. */
export function* inOrder(actors: Iterable<Iterator<Event>>, endMs: number): Generator<Event> {
  const waiting = new Heap<{ readonly actor: Iterator<Event>; readonly event: Event }>()
  const advance = (actor: Iterator<Event>) => {
    const { value, done } = actor.next()
    if (done !== true && value.atMs < endMs) waiting.push(value.atMs, { actor, event: value })
  }
  for (const actor of actors) advance(actor)
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    yield next.event
    advance(next.actor)
  }
}

/** Sends events, which come in order of time, on their way: the lines as they arrive. Memory follows what is on its way. */
export function* arrivals(
  events: Iterable<Event>,
  dirt: Dirt,
  spoil: (record: Record<string, unknown>, random: Random) => string,
  { seed, endMs }: { seed: number; endMs: number },
): Generator<Arrival> {
  const random = new Random(seed, -2)
  const onTheWay = new Heap<Arrival>()
  const send = (stream: string, atMs: number, line: string, cause: Cause) =>
    onTheWay.push(atMs, { stream, atMs, line, cause })
  for (const { stream, atMs, record } of events) {
    while (onTheWay.nextMs <= atMs) yield onTheWay.pop()!
    const { cause, delayMs } = fate(atMs, endMs, dirt, random)
    const at_time = new Date(cause === 'future' ? CLOCK_IN_2099_MS + (atMs % HOUR_MS) : atMs).toISOString()
    const whole = { ...record, at_time }
    const line = cause === 'bad' ? spoil(whole, random) : JSON.stringify(whole)
    const arrivesMs = atMs + delayMs
    send(stream, arrivesMs, line, cause)
    if (cause !== 'bad' && cause !== 'future' && random.chance(dirt.duplicates))
      send(stream, arrivesMs + random.between(0, MINUTE_MS), line, 'duplicate')
  }
  for (let next = onTheWay.pop(); next !== undefined; next = onTheWay.pop()) yield next
}

/** What happens to an event on its way, and how long that takes. */
function fate(atMs: number, endMs: number, dirt: Dirt, random: Random): { cause: Cause; delayMs: number } {
  const cause = causeOf(dirt, random)
  const delayMs = random.between(0, dirt.disorder * 1_000)
  if (cause !== 'late' && cause !== 'stale') return { cause, delayMs }
  const longMs = cause === 'late' ? random.between(MINUTE_MS, 20 * MINUTE_MS) : random.between(2 * HOUR_MS, 4 * HOUR_MS)
  // Late is what comes after later events: beyond the end there are none.
  return atMs + longMs < endMs ? { cause, delayMs: longMs } : { cause: 'clean', delayMs }
}

function causeOf({ late, stale, bad, future }: Dirt, random: Random): Cause {
  let left = random.next()
  for (const [cause, share] of Object.entries({ late, stale, bad, future })) {
    if (left < share) return cause as Cause
    left -= share
  }
  return 'clean'
}

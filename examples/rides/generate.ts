import { type Dirt, type Event, arrivals, inOrder } from '../generator/arrivals.ts'
import { type Common, type Source, run } from '../generator/command.ts'
import { Random } from '../generator/random.ts'

// Makes up the positions of drivers and riders in a city: node generate.ts --help

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const PING_MS = 10 * SECOND_MS

/** The city: south and north, west and east. */
const CITY = { south: 47, north: 47.06, west: 8, east: 8.12 }
/** Where many want to go from: the station, and the stadium. */
const CROWDED = [
  { lat: 47.01, lon: 8.075 },
  { lat: 47.05, lon: 8.075 },
]
/** Degrees per ping at which a car goes. */
const SPEED = 0.0015

const SHARES: Dirt = { duplicates: 0.01, disorder: 15, late: 0.003, stale: 0.001, bad: 0.002, future: 0.0003 }

export const generator: Source = {
  title: 'Makes up the positions of drivers and riders, as NDJSON.',
  path: 'examples/rides/generate.ts',
  streams: ['drivers', 'riders'],
  rates: {
    drivers: [20, 'drivers, who report every ten seconds'],
    riders: [90, 'people who look for a ride in an hour'],
  },
  shares: SHARES,
  hours: 3,
  generate: (common, { drivers = 0, riders = 0 }) => {
    const all = [...Array.from({ length: drivers }, (_, i) => driver(i, common)), city(riders, common)]
    return arrivals(inOrder(all, common.endMs), common, spoil, common)
  },
}

/** A day's work of a driver, over and over. Drivers and riders do not meet here: only their numbers matter. */
function* driver(number: number, { seed, startMs }: Common): Generator<Event> {
  const random = new Random(seed, number)
  let atMs = startMs + random.between(0, PING_MS)
  let at = anywhere(random)
  const event = (what: string, free: boolean): Event => ({
    stream: 'drivers',
    atMs: Math.round(atMs),
    record: { driver_id: `d${number + 1}`, ...rounded(at), event: what, free },
  })
  for (let pauseMs = 2 * MINUTE_MS; ; pauseMs = HOUR_MS / 2) {
    atMs += random.wait(pauseMs)
    yield event('on', true)
    for (const homeMs = atMs + random.between(1, 3) * HOUR_MS; atMs < homeMs;) {
      for (const free of [true, false]) {
        const to = anywhere(random)
        if (!free) yield event('pickup', false)
        for (const thereMs = atMs + random.wait(8 * MINUTE_MS); atMs < thereMs;) {
          // A tunnel, or an empty battery.
          atMs += random.chance(0.004) ? random.between(2, 15) * MINUTE_MS : PING_MS
          at = towards(at, to)
          yield event('ping', free)
        }
        atMs += PING_MS
        if (!free) yield event('dropoff', true)
        atMs += SECOND_MS
      }
    }
    yield event('off', false)
  }
}

/** People who look for a ride: each for some minutes, until one comes or they give up. */
function* city(perHour: number, { seed, startMs, endMs }: Common): Generator<Event> {
  yield* inOrder(people(perHour, seed, startMs, endMs), endMs)
}

function* people(perHour: number, seed: number, startMs: number, endMs: number): Generator<Generator<Event>> {
  const random = new Random(seed, -1)
  let atMs = startMs
  for (let number = 1; ; number++) {
    atMs += random.wait(HOUR_MS / perHour)
    if (!(atMs < endMs)) return
    yield rider(number, atMs, new Random(seed, -2 - number))
  }
}

function* rider(number: number, startMs: number, random: Random): Generator<Event> {
  const place = random.chance(0.5) ? random.pick(CROWDED) : anywhere(random)
  const untilMs = startMs + random.between(1, 6) * MINUTE_MS
  for (let atMs = startMs; atMs < untilMs; atMs += 15 * SECOND_MS)
    yield { stream: 'riders', atMs: Math.round(atMs), record: { rider_id: `r${number}`, ...rounded(place) } }
}

interface Point {
  readonly lat: number
  readonly lon: number
}

function anywhere(random: Random): Point {
  return { lat: random.between(CITY.south, CITY.north), lon: random.between(CITY.west, CITY.east) }
}

function towards(from: Point, to: Point): Point {
  const distance = Math.hypot(to.lat - from.lat, to.lon - from.lon)
  const part = distance <= SPEED ? 1 : SPEED / distance
  return { lat: from.lat + part * (to.lat - from.lat), lon: from.lon + part * (to.lon - from.lon) }
}

/** Five places: a metre. Down, so that it stays in the city. */
function rounded({ lat, lon }: Point): Point {
  const down = (degrees: number) => Math.floor(degrees * 100_000) / 100_000
  return { lat: down(lat), lon: down(lon) }
}

/** The ways in which a position can be wrong, as a line. */
function spoil(record: Record<string, unknown>, random: Random): string {
  const who = 'driver_id' in record ? 'driver_id' : 'rider_id'
  const wrong = random.pick<() => Record<string, unknown> | string>([
    () => ({ ...record, lat: 0, lon: 0 }),
    () => ({ ...record, lat: 'north' }),
    () => ({ ...record, lon: null }),
    () => ({ ...record, [who]: 'test' }),
    () => ({ ...record, at_time: '2025-02-30T10:00:00Z' }),
    () => JSON.stringify(record).slice(0, -10),
  ])()
  return typeof wrong === 'string' ? wrong : JSON.stringify(wrong)
}

if (import.meta.main) await run(generator)

import { LineBuffer } from './lines.ts'
import { Random } from './random.ts'

/**
 * Nexmark's events after its published definition (Tucker et al., "NEXMark: a benchmark for queries over data streams",
 * and the generators of Apache Beam and nexmark-flink, whose parameters and their defaults these are). README.md says
 * where this one differs.
 */
export interface GeneratorOptions {
  readonly seed: number
  /** Events a second of event time. Default 10,000. */
  readonly rate?: number
  /** Time of the first event, milliseconds since 1970. Default 2015-07-15, as in Beam. */
  readonly baseTime?: number
}

export const STREAMS = ['persons', 'auctions', 'bids'] as const
export type StreamName = (typeof STREAMS)[number]

const BASE_TIME = Date.UTC(2015, 6, 15)
export const RATE = 10_000

/** Of 50 events in a row the first is a person, the next three are auctions, the others bids. */
const PERSONS = 1
const AUCTIONS = 3
const TOTAL = 50

const FIRST_ID = 1_000
const FIRST_CATEGORY = 10
const CATEGORIES = 5
/** Persons and auctions that may be referred to though they come later. */
const LEAD = 10
/** One of so many persons and auctions is a hot one. */
const HOT_EVERY = 100
/** All but one of so many bids go to a hot auction, bids come from a hot bidder, auctions from a hot seller. */
const HOT_AUCTION_RATIO = 2
const HOT_BIDDER_RATIO = 4
const HOT_SELLER_RATIO = 4
const IN_FLIGHT_AUCTIONS = 100
const ACTIVE_PERSONS = 1_000
const CHANNELS = 10_000
const HOT_CHANNELS = ['Google', 'Facebook', 'Baidu', 'Apple']
/** Sizes that the field `extra` fills a row up to, on average, counting numbers as eight bytes. */
const PERSON_BYTES = 200
const AUCTION_BYTES = 500
const BID_BYTES = 100
/** Room for any line. */
const LINE_BYTES = 2_048

const UNDERSCORE = 95

const FIRST_NAMES = ['Peter', 'Paul', 'Luke', 'John', 'Saul', 'Vicky', 'Kate', 'Julie', 'Sarah', 'Deiter', 'Walter']
const LAST_NAMES = ['Shultz', 'Abrams', 'Spencer', 'White', 'Bartels', 'Walton', 'Smith', 'Jones', 'Noris']
const CITIES = [
  'Phoenix',
  'Los Angeles',
  'San Francisco',
  'Boise',
  'Portland',
  'Bend',
  'Redmond',
  'Seattle',
  'Kent',
  'Cheyenne',
]
const STATES = ['AZ', 'CA', 'ID', 'OR', 'WA', 'WY']

/**
 * Makes events one after another, each as a line of JSON in the buffer of its stream, which the caller empties. The
 * events of a seed are the same ones on any machine.
 */
export class NexmarkGenerator {
  readonly lines: Readonly<Record<StreamName, LineBuffer>> = {
    persons: new LineBuffer(1 << 16),
    auctions: new LineBuffer(1 << 18),
    bids: new LineBuffer(1 << 22),
  }
  readonly #random: Random
  readonly #rate: number
  readonly #baseTime: number
  readonly #channels: readonly string[]
  #next = 0

  constructor({ seed, rate = RATE, baseTime = BASE_TIME }: GeneratorOptions) {
    this.#random = new Random(seed)
    this.#rate = rate
    this.#baseTime = baseTime
    this.#channels = channels(new Random(seed, 1))
  }

  /** The time of event `n`: events are evenly spaced, to the millisecond. */
  timeOf(n: number): number {
    return this.#baseTime + Math.floor((n * 1_000) / this.#rate)
  }

  /** Writes the next event and says which stream it is of. */
  next(): StreamName {
    const n = this.#next++
    const kind = n % TOTAL
    const stream = kind < PERSONS ? 'persons' : kind < PERSONS + AUCTIONS ? 'auctions' : 'bids'
    this.lines[stream].reserve(LINE_BYTES)
    if (stream === 'bids') this.#bid(n)
    else if (stream === 'auctions') this.#auction(n)
    else this.#person(n)
    return stream
  }

  #person(n: number): void {
    const random = this.#random
    const line = this.lines.persons
    const name = `${oneOf(random, FIRST_NAMES)} ${oneOf(random, LAST_NAMES)}`
    const city = oneOf(random, CITIES)
    const state = oneOf(random, STATES)
    line.text('{"id":')
    line.integer(FIRST_ID + lastPerson(n))
    line.text(`,"name":"${name}","email_address":"`)
    const email = line.words(random, 7) + 1
    line.text('@')
    const domain = line.words(random, 5) + 4
    line.text('.com","credit_card":"')
    for (let i = 0; i < 4; i++) line.text(`${i === 0 ? '' : ' '}${String(random.below(10_000)).padStart(4, '0')}`)
    line.text(`","city":"${city}","state":"${state}","date_time":"`)
    line.time(this.timeOf(n))
    line.text('","extra":"')
    extra(line, random, 8 + name.length + email + domain + 19 + city.length + state.length, PERSON_BYTES)
  }

  #auction(n: number): void {
    const random = this.#random
    const line = this.lines.auctions
    const time = this.timeOf(n)
    const hot = random.below(HOT_SELLER_RATIO) > 0
    const seller = hot ? floorTo(lastPerson(n), HOT_EVERY) : anyPerson(random, n)
    // On average as long as it takes until a hundred more auctions have begun.
    const horizon = this.timeOf(n + Math.floor((IN_FLIGHT_AUCTIONS * TOTAL) / AUCTIONS)) - time
    const initial = price(random)
    line.text('{"id":')
    line.integer(FIRST_ID + lastAuction(n))
    line.text(',"item_name":"')
    const name = line.words(random, 20)
    line.text('","description":"')
    const description = line.words(random, 100)
    line.text('","initial_bid":')
    line.integer(initial)
    line.text(',"reserve":')
    line.integer(initial + price(random))
    line.text(',"date_time":"')
    line.time(time)
    line.text('","expires":"')
    line.time(time + 1 + random.below(Math.max(horizon * 2, 1)))
    line.text('","seller":')
    line.integer(FIRST_ID + seller)
    line.text(',"category":')
    line.integer(FIRST_CATEGORY + random.below(CATEGORIES))
    line.text(',"extra":"')
    extra(line, random, 8 + name + description + 40, AUCTION_BYTES)
  }

  #bid(n: number): void {
    const random = this.#random
    const line = this.lines.bids
    const last = lastAuction(n)
    const auction = random.below(HOT_AUCTION_RATIO) > 0 ? floorTo(last, HOT_EVERY) : anyAuction(random, last)
    // The second of a hundred, so that hot bidders are not hot sellers.
    const hot = random.below(HOT_BIDDER_RATIO) > 0
    const bidder = hot ? floorTo(lastPerson(n), HOT_EVERY) + 1 : anyPerson(random, n)
    line.text('{"auction":')
    line.integer(FIRST_ID + auction)
    line.text(',"bidder":')
    line.integer(FIRST_ID + bidder)
    line.text(',"price":')
    line.integer(price(random))
    const channel =
      random.below(2) > 0 ? random.below(HOT_CHANNELS.length) : HOT_CHANNELS.length + random.below(CHANNELS)
    line.text(this.#channels[channel]!)
    line.text('","date_time":"')
    line.time(this.timeOf(n))
    line.text('","extra":"')
    extra(line, random, 32, BID_BYTES)
  }
}

/** The text of a bid's channel and url: first the hot channels, then the others, of which nine in ten name themselves in the url. */
function channels(random: Random): string[] {
  const url = () => {
    const path = new LineBuffer(64)
    for (let i = 0; i < 3; i++) {
      path.text('/')
      path.words(random, 5, UNDERSCORE)
    }
    return `https://www.nexmark.com${Buffer.from(path.take()).toString('latin1')}/item.htm?query=1`
  }
  const hot = HOT_CHANNELS.map((name) => `,"channel":"${name}","url":"${url()}`)
  const others = Array.from({ length: CHANNELS }, (_, i) => {
    const id = random.below(10) > 0 ? `&channel_id=${Math.abs(reversedBits(i))}` : ''
    return `,"channel":"channel-${i}","url":"${url()}${id}`
  })
  return [...hot, ...others]
}

function reversedBits(value: number): number {
  let reversed = 0
  for (let i = 0; i < 32; i++) reversed = (reversed << 1) | ((value >>> i) & 1)
  return reversed
}

/** From 100 to 100,000,000, each order of magnitude as likely as another. */
function price(random: Random): number {
  return Math.round(10 ** (random.unit() * 6) * 100)
}

/** The number of the newest person when event `n` happens, counted from 0. */
function lastPerson(n: number): number {
  return Math.floor(n / TOTAL)
}

/** The number of the newest auction when event `n` happens, counted from 0: that of the event, if it is an auction. */
function lastAuction(n: number): number {
  return Math.floor(n / TOTAL) * AUCTIONS + Math.min((n % TOTAL) - PERSONS, AUCTIONS - 1)
}

/** One of the active persons, or of the few who come next. */
function anyPerson(random: Random, n: number): number {
  const persons = lastPerson(n) + 1
  const active = Math.min(persons, ACTIVE_PERSONS)
  return persons - active + random.below(active + LEAD)
}

/** One of the auctions in flight, or of the few that come next. */
function anyAuction(random: Random, last: number): number {
  const first = Math.max(last - IN_FLIGHT_AUCTIONS, 0)
  return first + random.below(last - first + 1 + LEAD)
}

/** Fills a row up to a size that is `average` give or take a fifth of what is filled, and ends the line. */
function extra(line: LineBuffer, random: Random, size: number, average: number): void {
  const missing = average - size
  const spread = Math.round(missing * 0.2)
  if (missing > 0) line.letters(random, missing - spread + (spread === 0 ? 0 : random.below(2 * spread)))
  line.text('"}\n')
}

function floorTo(value: number, step: number): number {
  return value - (value % step)
}

function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[random.below(values.length)]!
}

import { type Dirt, type Event, arrivals, inOrder } from '../generator/arrivals.ts'
import { type Common, type Source, run } from '../generator/command.ts'
import { Random } from '../generator/random.ts'

// Makes up what people do in an online shop: node generate.ts --help

const SECOND_MS = 1_000
const HOUR_MS = 3_600_000

/** What there is to buy, with its price: the first are the most looked at. */
const PRODUCTS = ['lamp', 'chair', 'desk', 'shelf', 'rug', 'clock', 'vase', 'mirror', 'stool', 'frame'].map(
  (name, i) => ({ name, price: 19.9 + 15 * ((i * 7) % 10) }),
)
const PLAIN_PAGES = ['/', '/search', '/offers', '/help']

const SHARES: Dirt = { duplicates: 0.02, disorder: 20, late: 0.01, stale: 0.003, bad: 0.005, future: 0.001 }

export const generator: Source = {
  title: 'Makes up clicks of an online shop, as NDJSON.',
  path: 'examples/clicks/generate.ts',
  streams: ['clicks'],
  rates: {
    users: [200, 'people who come back again and again'],
    visits: [150, 'visits of all of them in an hour'],
  },
  shares: SHARES,
  hours: 6,
  generate: (common, { users = 0, visits = 0 }) =>
    arrivals(
      inOrder(
        Array.from({ length: users }, (_, i) => user(i, visits / users, common)),
        common.endMs,
      ),
      common,
      spoil,
      common,
    ),
}

/** All that one user ever does. */
function* user(number: number, visitsPerHour: number, { seed, startMs }: Common): Generator<Event> {
  const random = new Random(seed, number)
  let count = 0
  let atMs = startMs
  const event = (kind: string, page: string, product?: { name: string; price: number }): Event => ({
    stream: 'clicks',
    atMs,
    record: {
      user_id: `u${number + 1}`,
      event_id: `${++count}`,
      kind,
      page,
      ...(product === undefined ? {} : { product: product.name }),
      ...(product === undefined || kind === 'view' ? {} : { price: product.price.toFixed(2) }),
    },
  })
  for (;;) {
    atMs += random.wait(HOUR_MS / visitsPerHour)
    for (let pages = 1 + random.below(8); pages > 0; pages--) {
      if (random.chance(0.3)) yield event('view', random.pick(PLAIN_PAGES))
      else {
        const product = PRODUCTS[Math.floor(random.next() ** 2 * PRODUCTS.length)]!
        const page = `/product/${product.name}`
        yield event('view', page, product)
        if (random.chance(0.25)) {
          atMs += random.wait(40 * SECOND_MS)
          yield event('cart', page, product)
          // Some think about it for longer than the funnel waits.
          if (random.chance(0.5)) {
            atMs += random.wait(random.chance(0.2) ? HOUR_MS : 120 * SECOND_MS)
            yield event('buy', '/checkout', product)
          }
        }
      }
      atMs += SECOND_MS + random.wait(45 * SECOND_MS)
    }
  }
}

/** The ways in which a click can be wrong, as a line. */
function spoil(record: Record<string, unknown>, random: Random): string {
  const wrong = random.pick<() => Record<string, unknown> | string>([
    () => ({ ...record, user_id: null }),
    () => ({ ...record, user_id: 'anonymous' }),
    () => ({ ...record, at_time: 'yesterday' }),
    () => ({ ...record, kind: 'hover' }),
    () => ({ ...record, page: 'about:blank' }),
    () => ({ ...record, kind: 'buy', price: '-1.00' }),
    () => JSON.stringify(record).slice(0, -12),
  ])()
  return typeof wrong === 'string' ? wrong : JSON.stringify(wrong)
}

if (import.meta.main) await run(generator)

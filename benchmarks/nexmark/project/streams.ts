import { stream, t } from 'millrace'

/** The benchmark has no identifiers of events; NEXMARK_UNIQUE=1 tells repetitions by whole rows. */
const unique = process.env['NEXMARK_UNIQUE'] === '1'
/** How long the log is kept; without it, for good. */
const retention = process.env['NEXMARK_RETENTION']
const kept = retention === undefined ? {} : { retention }

export const persons = stream('persons', {
  columns: {
    id: t.long(),
    name: t.string(),
    email_address: t.string(),
    credit_card: t.string(),
    city: t.string(),
    state: t.string(),
    date_time: t.timestamp(),
    extra: t.string(),
  },
  time: 'date_time',
  lateness: '4 seconds',
  ...kept,
  ...(unique ? { unique: ['id'] } : {}),
})

export const auctions = stream('auctions', {
  columns: {
    id: t.long(),
    item_name: t.string(),
    description: t.string(),
    initial_bid: t.long(),
    reserve: t.long(),
    date_time: t.timestamp(),
    expires: t.timestamp(),
    seller: t.long(),
    category: t.long(),
    extra: t.string(),
  },
  time: 'date_time',
  lateness: '4 seconds',
  ...kept,
  ...(unique ? { unique: ['id'] } : {}),
})

export const bids = stream('bids', {
  columns: {
    auction: t.long(),
    bidder: t.long(),
    price: t.long(),
    channel: t.string(),
    url: t.string(),
    date_time: t.timestamp(),
    extra: t.string(),
  },
  time: 'date_time',
  lateness: '4 seconds',
  ...kept,
  ...(unique ? { unique: ['auction', 'bidder', 'price', 'channel', 'url', 'date_time', 'extra'] } : {}),
})

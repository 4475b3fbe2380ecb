import { check, sql, stream, t } from 'millrace'

/** What people do in an online shop, as their browsers report it: POST /v1/streams/clicks. */
export const clicks = stream('clicks', {
  doc: 'What people do in an online shop: they look, put into the cart, buy.',
  columns: {
    user_id: t.string(),
    event_id: t.string().doc('Counted by the browser, so it identifies an event of a user only.'),
    at_time: t.timestamp().doc('When it happened, by the clock of the device.'),
    kind: t.string().doc('view, cart or buy.'),
    page: t.string().doc('Path of the page it happened on.'),
    product: t.string().nullable().doc('What the page is about; nothing on pages that are about no product.'),
    price: t.decimal(8, 2).nullable().doc('Euro; of products put into the cart or bought.'),
  },
  time: 'at_time',
  // So much the network may mix up: a minute is published 30 seconds after it is over.
  lateness: '30 seconds',
  // A device in 2099 would close every window of today.
  ahead: '5 minutes',
  // At night one partition may be without users: it does not hold the others back.
  idle: '10 seconds',
  // All of a user's events go through one lane, so that their order and their duplicates are seen there.
  partitions: 4,
  key: 'user_id',
  unique: { columns: ['user_id', 'event_id'], horizon: '1 day' },
  partitionBy: 'day',
  checks: [
    check.matches('user_id', /^u\d+$/),
    check.oneOf('kind', ['view', 'cart', 'buy']),
    check.matches('page', /^\//),
    check.predicate('priced', sql`kind not in ('cart', 'buy') or price > 0`),
  ],
})

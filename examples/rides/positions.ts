import { check, source, sql, stream, t } from 'millrace'

/** Parts of the city: rectangles, from a file. Without a time, so every window reads them whole. */
export const zones = stream('zones', {
  doc: 'Parts of the city, as rectangles: south and west edges belong to them.',
  columns: { zone: t.string(), south: t.double(), north: t.double(), west: t.double(), east: t.double() },
  unique: ['zone'],
  source: source.files({ name: 'map', path: 'data/zones.csv' }),
  checks: [check.predicate('has_area', sql`south < north and west < east`)],
})

const position = {
  at_time: t.timestamp().doc('When the position was measured, by the clock of the phone.'),
  lat: t.double(),
  lon: t.double(),
}

/** A phone that has no position yet says 0, 0: off the coast of Ghana. */
const inCity = check.predicate('in_city', sql`lat >= 47.00 and lat < 47.06 and lon >= 8.00 and lon < 8.12`)

/** What both streams of phones have in common. */
const phones = {
  time: 'at_time',
  lateness: '30 seconds',
  ahead: '5 minutes',
  // At night nobody may be looking for a ride: that holds back no supply.
  idle: '10 seconds',
  partitionBy: 'day',
} as const

export const drivers = stream('drivers', {
  doc: "Drivers' phones: where they are, every ten seconds, and what they begin and end.",
  columns: {
    driver_id: t.string(),
    ...position,
    event: t.string().doc('on (begins to work), ping, pickup, dropoff, off (goes home).'),
    free: t.boolean().doc('Whether the driver could take someone.'),
  },
  ...phones,
  partitions: 2,
  key: 'driver_id',
  unique: { columns: ['driver_id', 'at_time'], horizon: '1 day' },
  checks: [
    check.matches('driver_id', /^d\d+$/),
    check.oneOf('event', ['on', 'ping', 'pickup', 'dropoff', 'off']),
    inCity,
  ],
})

export const riders = stream('riders', {
  doc: "Riders' phones while they look for a ride.",
  columns: { rider_id: t.string(), ...position },
  ...phones,
  unique: { columns: ['rider_id', 'at_time'], horizon: '1 day' },
  checks: [check.matches('rider_id', /^r\d+$/), inCity],
})

import { check, sql, table, within } from 'millrace'
import { drivers, riders, zones } from './positions.ts'

/** So late a position may be and still correct what was published. What comes later goes to quarantine. */
const acceptLate = '1 hour'

/** Joins positions, called p, to their zone. */
const inZone = sql`join ${zones} z on p.lat >= z.south and p.lat < z.north and p.lon >= z.west and p.lon < z.east`

export const driverPositions = table('driver_positions', {
  doc: 'Where each driver was last; drivers who went home are not in it.',
  key: 'driver_id',
  version: 'at_time',
  deleted: 'is_gone',
  sql: sql`select driver_id, at_time, lat, lon, free, event = 'off' as is_gone from ${drivers}`,
})

export const trips = table('trips', {
  doc: 'Trips that began in a zone and minute.',
  interval: 'minute',
  emit: 'closed',
  acceptLate,
  sql: sql`
    select z.zone, count(*) as trips
    from ${drivers} p ${inZone}
    where p.event = 'pickup'
    group by z.zone`,
  checks: [check.unique(['minute', 'zone'])],
})

export const supply = table('supply', {
  doc: 'Drivers who were free in a zone at some time of five minutes.',
  window: { size: '5 minutes' },
  acceptLate,
  sql: sql`
    select z.zone, count(distinct p.driver_id) as drivers
    from ${drivers} p ${inZone}
    where p.free
    group by z.zone`,
})

export const demand = table('demand', {
  doc: 'Riders who looked for a ride in a zone at some time of five minutes.',
  window: { size: '5 minutes' },
  acceptLate,
  sql: sql`
    select z.zone, count(distinct p.rider_id) as riders
    from ${riders} p ${inZone}
    group by z.zone`,
})

export const surge = table('surge', {
  doc: 'What a ride costs more where riders outnumber drivers: demand over supply, from 1 to 3.',
  window: { size: '5 minutes' },
  sql: sql`
    select zone, riders, coalesce(drivers, 0) as drivers,
           least(greatest(round(riders / greatest(coalesce(drivers, 0), 1), 1), 1), 3) as surge
    from ${demand} left join ${supply} using (zone)`,
  checks: [check.unique(['window_start', 'zone'])],
})

export const silences = table('silences', {
  doc: 'Drivers at work of whom nothing was heard for five minutes after a position.',
  window: { size: '1 minute' },
  acceptLate,
  sql: sql`
    select p.driver_id, p.at_time as silent_since, p.lat, p.lon
    from ${drivers} p left join ${within(drivers, { after: '5 minutes' })} n
      on n.driver_id = p.driver_id and n.at_time > p.at_time and n.at_time <= p.at_time + interval 5 minutes
    where p.event <> 'off' and n.driver_id is null`,
  checks: [check.unique(['driver_id', 'silent_since'])],
})

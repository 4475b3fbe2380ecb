import { endpoint, sql, t } from 'millrace'
import { driverPositions, silences, surge, trips } from './tables.ts'

export const driver = endpoint('driver', {
  doc: 'Where a driver is.',
  params: { id: t.string() },
  sql: sql`select driver_id, at_time, lat, lon, free from ${driverPositions} where driver_id = ${'id'}`,
})

export const prices = endpoint('surge', {
  doc: 'The newest prices of all zones; those without demand are not in it.',
  sql: sql`
    select window_end as since, zone, riders, drivers, surge
    from ${surge}
    where window_start = (select max(window_start) from ${surge})
    order by surge desc, zone`,
})

export const zoneTrips = endpoint('trips', {
  doc: 'Trips that began in a zone, minute by minute.',
  params: { zone: t.string() },
  sql: sql`select minute, trips from ${trips} where zone = ${'zone'} order by minute`,
})

export const silentDrivers = endpoint('silent-drivers', {
  doc: 'Drivers who are silent now: nothing has come since.',
  sql: sql`
    select s.driver_id, s.silent_since, s.lat, s.lon
    from ${silences} s join ${driverPositions} p using (driver_id)
    where p.at_time <= s.silent_since
    order by s.silent_since`,
})

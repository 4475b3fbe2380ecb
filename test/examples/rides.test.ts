import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { linesOf } from '../../examples/generator/command.ts'
import * as endpoints from '../../examples/rides/endpoints.ts'
import { generator } from '../../examples/rides/generate.ts'
import * as positions from '../../examples/rides/positions.ts'
import * as tables from '../../examples/rides/tables.ts'
import { partitionOf } from '../../src/log/route.ts'
import { Home, query, send } from '../runtime/home.ts'
import { type Contract, deliver, expectCounted, expectTables, expectVerified, fallIdle, judge } from './events.ts'

const DATA = fileURLToPath(new URL('../../examples/rides/data', import.meta.url))
const LATE_MS = 60.5 * 60_000

/** What is wrong with a position, whoever it is of. */
function brokenOf(who: string, name: RegExp, rest: (record: Record<string, unknown>) => string | undefined) {
  return (record: Record<string, unknown>): string | undefined => {
    const { lat, lon, at_time } = record
    if (lon === null) return 'not_null(lon)'
    if (typeof lat !== 'number') return 'type(lat)'
    if (String(at_time).startsWith('2025-02-30')) return 'type(at_time)'
    if (!name.test(String(record[who]))) return `matches(${who})`
    return rest(record) ?? (lat < 47 || Number(lon) < 8 ? 'in_city' : undefined)
  }
}

const EVENTS = ['on', 'ping', 'pickup', 'dropoff', 'off']
const drivers: Contract = {
  stream: 'drivers',
  partitions: 2,
  key: 'driver_id',
  unique: ['driver_id', 'at_time'],
  lateMs: LATE_MS,
  broken: brokenOf('driver_id', /^d\d+$/, ({ event }) => (EVENTS.includes(String(event)) ? undefined : 'oneOf(event)')),
}
const riders: Contract = {
  stream: 'riders',
  partitions: 1,
  key: 'rider_id',
  unique: ['rider_id', 'at_time'],
  lateMs: LATE_MS,
  broken: brokenOf('rider_id', /^r\d+$/, () => undefined),
}

const POSITION = { at_time: 'TIMESTAMP', lat: 'DOUBLE', lon: 'DOUBLE' }
const COLUMNS = {
  drivers: { driver_id: 'VARCHAR', ...POSITION, event: 'VARCHAR', free: 'BOOLEAN' },
  riders: { rider_id: 'VARCHAR', ...POSITION },
}

/** Each table by one query over all positions that were accepted, up to the watermarks of the two streams. */
function bulk(driversMs: number, ridersMs: number): Record<string, string> {
  const until = (ms: number) => `make_timestamp(${ms} * 1000)`
  // The rectangles of the map are a grid: where a position is in it, without looking at any edge.
  const names = `['harbour', 'old town', 'station', 'market', 'brewery', 'university', 'hospital', 'fair', 'hill', 'park', 'stadium', 'airport']`
  const zone = `${names}[1 + 4 * ((round(lat * 100000)::INT - 4700000) // 2000) + (round(lon * 100000)::INT - 800000) // 3000]`
  const fives = "time_bucket(INTERVAL 5 minute, at_time, TIMESTAMP '1970-01-01')"
  const counted = (table: string, who: string, name: string, where: string, ms: number) => `
    SELECT w AS window_start, w + INTERVAL 5 minute AS window_end, zone, count(DISTINCT ${who}) AS ${name}
    FROM (SELECT *, ${fives} AS w, ${zone} AS zone FROM ${table} WHERE ${where})
    WHERE w + INTERVAL 5 minute <= ${until(ms)} GROUP BY w, zone`
  const supply = counted('drivers', 'driver_id', 'drivers', 'free', driversMs)
  const demand = counted('riders', 'rider_id', 'riders', 'true', ridersMs)
  return {
    drivers: 'FROM drivers',
    riders: 'FROM riders',
    driver_positions: `
      SELECT * EXCLUDE (event), false AS is_gone FROM drivers
      QUALIFY row_number() OVER (PARTITION BY driver_id ORDER BY at_time DESC) = 1 AND event <> 'off'`,
    trips: `
      SELECT minute, zone, count(*) AS trips
      FROM (SELECT date_trunc('minute', at_time) AS minute, ${zone} AS zone FROM drivers WHERE event = 'pickup')
      WHERE minute + INTERVAL 1 minute <= ${until(driversMs)} GROUP BY ALL`,
    supply,
    demand,
    surge: `
      SELECT window_start, window_end, zone, riders, ifnull(drivers, 0) AS drivers,
             CASE WHEN riders <= ifnull(drivers, 0) THEN 1 WHEN riders >= 3 * greatest(drivers, 1) THEN 3
                  ELSE round(riders / greatest(drivers, 1), 1) END::DOUBLE AS surge
      FROM (${demand}) LEFT JOIN (${supply}) USING (window_start, window_end, zone)
      WHERE window_end <= ${until(driversMs)}`,
    silences: `
      SELECT w AS window_start, w + INTERVAL 1 minute AS window_end, driver_id, at_time AS silent_since, lat, lon
      FROM (SELECT *, date_trunc('minute', at_time) AS w, lead(at_time) OVER (PARTITION BY driver_id ORDER BY at_time) AS next FROM drivers)
      WHERE event <> 'off' AND (next IS NULL OR next > at_time + INTERVAL 5 minute)
        AND w + INTERVAL 6 minute <= ${until(driversMs)}`,
  }
}

test.each([
  ['as generated', {}, [2_000, 37, 900]],
  [
    'another seed, and far worse',
    { seed: '2', duplicates: '0.1', late: '0.1', stale: '0.02', bad: '0.05', future: '0.01' },
    [6_000],
  ],
])(
  'examples/rides, %s: counts, tables and verification',
  async (_, options, sizes) => {
    const lines = [...linesOf(generator, options)]
    const judged = { drivers: judge(lines, drivers), riders: judge(lines, riders) }
    const home = await Home.make()
    await cp(DATA, join(home.directory, 'data'), { recursive: true })
    const runtime = await home.open([
      ...Object.values(positions),
      ...Object.values(tables),
      ...Object.values(endpoints),
    ])
    await deliver(runtime, lines, sizes)
    await fallIdle(home, runtime, 'trips', judged.drivers.newestMs)
    await fallIdle(home, runtime, 'demand', judged.riders.newestMs)

    for (const [name, result] of Object.entries(judged)) {
      await expectCounted(runtime, name, lines.filter(({ stream }) => stream === name).length, result)
      if (sizes.length === 1)
        for (const rule of ['late', 'ahead', 'malformed', 'in_city', 'type(lat)'])
          expect(result.quarantined[rule], `${name}: ${rule}`).toBeGreaterThan(0)
    }
    const accepted = {
      drivers: { rows: judged.drivers.accepted, columns: COLUMNS.drivers },
      riders: { rows: judged.riders.accepted, columns: COLUMNS.riders },
    }
    const rows = await expectTables(
      runtime,
      accepted,
      home.directory,
      bulk(judged.drivers.newestMs, judged.riders.newestMs),
    )
    for (const [name, count] of Object.entries(rows)) expect(count, name).toBeGreaterThan(5)
    const high = await query(runtime, 'SELECT count(*)::INT AS n FROM {surge} WHERE surge > 1')
    expect(high[0]!['n']).toBeGreaterThan(10)
    if (sizes.length > 1)
      expect(rows).toMatchInlineSnapshot(`
      {
        "demand": 201,
        "driver_positions": 15,
        "drivers": 15842,
        "riders": 3884,
        "silences": 46,
        "supply": 339,
        "surge": 201,
        "trips": 187,
      }
    `)
    await expectVerified(runtime)
  },
  180_000,
)

test('another map: every window is computed again, with its zones', async () => {
  const lines = [...linesOf(generator, { hours: '1', drivers: '8' })]
  const home = await Home.make()
  await cp(DATA, join(home.directory, 'data'), { recursive: true })
  const runtime = await home.open([...Object.values(positions), ...Object.values(tables)])
  await deliver(runtime, lines, [5_000])
  const station = 'SELECT window_start::VARCHAR AS w, drivers FROM {supply} WHERE zone = $$ZONE$$ ORDER BY w'
  const before = await query(runtime, station.replace('ZONE', 'station'))
  expect(before.length).toBeGreaterThan(3)

  const map = join(home.directory, 'data', 'zones.csv')
  await writeFile(map, (await readFile(map, 'utf8')).replace('station', 'central station'))
  await runtime.settle()
  expect(await query(runtime, station.replace('ZONE', 'station'))).toEqual([])
  expect(await query(runtime, station.replace('ZONE', 'central station'))).toEqual(before)
  await expectVerified(runtime)
})

test('a silence is published when five minutes are over, and taken back by a late position', async () => {
  const home = await Home.make()
  await cp(DATA, join(home.directory, 'data'), { recursive: true })
  const runtime = await home.open([...Object.values(positions), ...Object.values(tables)])
  const at = (minute: number) => new Date(Date.UTC(2025, 5, 2, 6, minute)).toISOString()
  const position = (driver_id: string, minute: number, event = 'ping') => ({
    driver_id,
    at_time: at(minute),
    lat: 47.01,
    lon: 8.01,
    event,
    free: event !== 'off',
  })
  const say = async (...records: object[]) => {
    await send(runtime, 'drivers', records)
    await runtime.settle()
    return query(runtime, 'SELECT driver_id, silent_since::VARCHAR AS since FROM {silences} ORDER BY ALL')
  }
  // Of one partition, so that one's events tell the time of all.
  const [a, b, c] = Array.from({ length: 99 }, (_, i) => `d${i}`).filter((id) => partitionOf([id], 2) === 0) as [
    string,
    string,
    string,
  ]
  expect(await say(position(a, 0), position(b, 0), position(b, 4, 'off'), position(c, 3))).toEqual([])
  expect(await say(position(c, 5))).toEqual([])
  const silent = { driver_id: a, since: '2025-06-02 06:00:00' }
  expect(await say(position(c, 7))).toEqual([silent])
  expect(await say(position(c, 30))).toEqual([silent, { driver_id: c, since: '2025-06-02 06:07:00' }])
  // It was a tunnel: the phone had said so in time.
  expect(await say(position(a, 5))).toEqual([
    { driver_id: a, since: '2025-06-02 06:05:00' },
    { driver_id: c, since: '2025-06-02 06:07:00' },
  ])
  await expectVerified(runtime)
})

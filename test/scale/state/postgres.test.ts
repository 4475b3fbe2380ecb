import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { MillraceError } from '../../../src/base/errors.ts'
import { LeaseKeeper } from '../../../src/state/lease-keeper.ts'
import { openState } from '../../../src/state/state.ts'
import { stateConformance } from '../../state/conformance.ts'
import { PostgresCluster } from './cluster.ts'

const url = process.env['POSTGRES_URL']
if (url === undefined) throw new Error('POSTGRES_URL is not set: run these tests with npm run test:scale')

const clock = systemClock

stateConformance('PostgreSQL', async () => {
  const schemas: string[] = []
  return {
    target: async () => {
      const schema = `state_${randomBytes(6).toString('hex')}`
      schemas.push(schema)
      return { kind: 'postgres', url, schema }
    },
    remove: async () => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      for (const schema of schemas) await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
      await client.end()
    },
  }
})

describe('state in PostgreSQL', () => {
  let cluster: PostgresCluster
  beforeAll(async () => {
    cluster = await PostgresCluster.start()
  })
  afterAll(() => cluster.remove())

  const opening = async (target: string, schema?: string) => {
    const state = await openState(
      { kind: 'postgres', url: target, ...(schema === undefined ? {} : { schema }) },
      { clock },
    )
    onTestFinished(() => state.close())
    return state
  }
  const failing = async (target: string): Promise<MillraceError> => {
    const error: unknown = await opening(target).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(MillraceError)
    return error as MillraceError
  }
  /** All that an error may show, in logs too. */
  const shown = (error: Error): string => JSON.stringify([error, error.message, error.stack, String(error.cause)])

  test('goes on after the server was restarted, and says unavailable meanwhile', async () => {
    const state = await opening(cluster.url(), 'restart')
    await state.places.write('n', 0, undefined)
    let done = 0
    let unavailable = 0
    let version = 1
    const stop = new AbortController()
    // A writer that does not know whether a failed write happened looks.
    const writing = (async () => {
      while (!stop.signal.aborted) {
        try {
          version = await state.places.write('n', version, version)
          done++
        } catch (error) {
          expect(error).toMatchObject({ kind: expect.stringMatching(/unavailable|conflict/) as string })
          if ((error as MillraceError).kind === 'unavailable') unavailable++
          const place = await state.places.read('n').catch(() => undefined)
          if (place) version = place.version
          await clock.sleep(20)
        }
      }
    })()
    for (const mode of ['fast', 'immediate'] as const) {
      const before = done
      while (done < before + 20) await clock.sleep(10)
      await cluster.down(mode)
      const seen = unavailable
      while (unavailable < seen + 2) await clock.sleep(10)
      await cluster.up()
    }
    const before = done
    while (done < before + 20) await clock.sleep(10)
    stop.abort()
    await writing
    // Each value is the version before it: no write was lost, none was done over another.
    expect(await state.places.read('n')).toEqual({ value: version - 1, version })
    expect(version).toBeGreaterThanOrEqual(done)
  })

  test('a keeper whose server is away loses its leases by its own clock, and has them again when it is back', async () => {
    const state = await opening(cluster.url(), 'keeper')
    const events: string[] = []
    const keeper = new LeaseKeeper({
      state,
      clock,
      pool: 'p',
      items: ['x'],
      member: 'a',
      ttlMs: 1_500,
      onAcquired: () => events.push('acquired'),
      onRelease: async () => void events.push('released'),
      onLost: (_, error) => events.push(`lost ${error?.kind}`),
    })
    keeper.start()
    while (events.length < 1) await clock.sleep(20)
    const { epoch } = keeper.holds('x')!
    await cluster.down('immediate')
    while (events.length < 2) await clock.sleep(20)
    expect(keeper.holds('x')).toBeUndefined()
    await cluster.up()
    while (events.length < 3) await clock.sleep(20)
    expect(keeper.holds('x')!.epoch).toBeGreaterThan(epoch)
    await keeper.stop()
    expect(events).toEqual(['acquired', 'lost unavailable', 'acquired', 'released'])
  })

  test('a server that accepts and says nothing is unavailable', async () => {
    const mute = createServer(() => undefined).listen(0, '127.0.0.1')
    onTestFinished(() => void mute.close())
    await once(mute, 'listening')
    const error = await failing(`postgres://millrace:hidden-word@127.0.0.1:${(mute.address() as AddressInfo).port}/x`)
    expect(error).toMatchObject({ kind: 'unavailable', code: 'state-unavailable' })
  })

  test.each([
    [
      'a port where nobody listens',
      () => 'postgres://millrace:hidden-word@127.0.0.1:1/x',
      'unavailable',
      'state-unavailable',
    ],
    [
      'a name that is none',
      () => 'postgres://millrace:hidden-word@nowhere.invalid/x',
      'unavailable',
      'state-unavailable',
    ],
    ['another password', () => cluster.url({ password: 'hidden-word' }), 'denied', 'state-denied'],
    ['no password', () => cluster.url({ password: '' }), 'denied', 'state-denied'],
    ['a user who is none', () => cluster.url({ user: 'nobody', password: 'hidden-word' }), 'denied', 'state-denied'],
    ['a database that is none', () => cluster.url({ database: 'nowhere' }), 'invalid', 'no-database'],
    ['TLS where there is none', () => `${cluster.url()}?sslmode=require`, 'invalid', 'state-tls'],
    ['what is no URL', () => 'postgres://millrace:hidden-word@[', 'invalid', 'bad-state-url'],
    ['a URL of something else', () => 'mysql://millrace:hidden-word@127.0.0.1/x', 'invalid', 'bad-state-url'],
  ])('%s is told as such, with a remedy and without the password', async (_, target, kind, code) => {
    const error = await failing(target())
    expect(error).toMatchObject({ kind, code, hint: expect.any(String) as string })
    for (const secret of ['hidden-word', PostgresCluster.password, encodeURIComponent(PostgresCluster.password)])
      expect(shown(error)).not.toContain(secret)
  })

  test('a user who may not create a schema is told so, and may use the one that is there', async () => {
    await opening(cluster.url(), 'theirs')
    const client = new pg.Client({ connectionString: cluster.url() })
    await client.connect()
    await client.query("CREATE USER guest PASSWORD 'guest'")
    await client.query('GRANT USAGE ON SCHEMA theirs TO guest')
    await client.query('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA theirs TO guest')
    await client.end()
    const guest = { user: 'guest', password: 'guest' }
    expect(await failing(cluster.url(guest))).toMatchObject({
      kind: 'denied',
      code: 'state-denied',
      hint: expect.stringContaining('right') as string,
    })
    const state = await opening(cluster.url(guest), 'theirs')
    expect(await state.leases.acquire('x', 'a', 1_000)).toMatchObject({ holder: 'a' })
  })
})

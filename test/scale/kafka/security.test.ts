import { randomUUID } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { MillraceError } from '../../../src/base/errors.ts'
import type { KafkaConfig } from '../../../src/log/kafka/config.ts'
import type { KafkaLogOptions } from '../../../src/log/kafka/open.ts'
import { SchemaRegistry } from '../../../src/log/kafka/registry/client.ts'
import { recordsFrom } from '../../log/conformance.ts'
import { kafkaHome } from './home.ts'
import { ALICE, BOB, type SecuredBroker, allowReading, securedBroker } from './secured.ts'

let broker: SecuredBroker
beforeAll(async () => {
  broker = await securedBroker()
})
afterAll(() => broker.stop())

type Wanted = (broker: SecuredBroker) => KafkaConfig

const MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

const right: Record<string, Wanted> = {
  ...Object.fromEntries(
    MECHANISMS.map((mechanism) => [
      mechanism,
      ({ address }: SecuredBroker) => ({ brokers: [address.login], sasl: { mechanism, ...ALICE } }),
    ]),
  ),
  TLS: ({ address, ca }) => ({ brokers: [address.tls], tls: { ca } }),
  'TLS, by address': ({ address, ca }) => ({
    brokers: [address.tls.replace('localhost', '127.0.0.1')],
    tls: { ca },
  }),
  'mutual TLS': ({ address, ca, client }) => ({ brokers: [address.mutual], tls: { ca, ...client } }),
  'SCRAM-SHA-512 over TLS': ({ address, ca }) => ({
    brokers: [address.both],
    tls: { ca },
    sasl: { mechanism: 'SCRAM-SHA-512', ...ALICE },
  }),
}

const wrong: Record<string, readonly [kind: string, code: string, wanted: Wanted]> = {
  ...Object.fromEntries(
    MECHANISMS.map((mechanism): [string, readonly ['denied', 'kafka-login', Wanted]] => [
      `${mechanism} with a wrong password`,
      [
        'denied',
        'kafka-login',
        ({ address }) => ({ brokers: [address.login], sasl: { mechanism, ...ALICE, password: 'wrong' } }),
      ],
    ]),
  ),
  'an unknown user': [
    'denied',
    'kafka-login',
    ({ address }) => ({
      brokers: [address.login],
      sasl: { mechanism: 'SCRAM-SHA-256', username: 'carol', password: 'x' },
    }),
  ],
  'a wrong password over TLS': [
    'denied',
    'kafka-login',
    ({ address, ca }) => ({
      brokers: [address.both],
      tls: { ca },
      sasl: { mechanism: 'PLAIN', ...ALICE, password: 'wrong' },
    }),
  ],
  'a user without rights': [
    'denied',
    'kafka-denied',
    ({ address }) => ({ brokers: [address.login], sasl: { mechanism: 'SCRAM-SHA-512', ...BOB } }),
  ],
  'a certificate of an unknown authority': [
    'invalid',
    'kafka-tls',
    ({ address }) => ({ brokers: [address.tls], tls: true }),
  ],
  'another authority': [
    'invalid',
    'kafka-tls',
    ({ address, otherCa }) => ({ brokers: [address.tls], tls: { ca: otherCa } }),
  ],
  'no certificate where one is wanted': [
    'invalid',
    'kafka-tls',
    ({ address, ca }) => ({ brokers: [address.mutual], tls: { ca } }),
  ],
  'a certificate that the broker does not know': [
    'invalid',
    'kafka-tls',
    ({ address, ca, stranger }) => ({ brokers: [address.mutual], tls: { ca, ...stranger } }),
  ],
  'TLS to a plain listener': ['invalid', 'kafka-tls', ({ address, ca }) => ({ brokers: [address.plain], tls: { ca } })],
  'no TLS to a listener with TLS': ['invalid', 'kafka-tls', ({ address }) => ({ brokers: [address.tls] })],
  // The broker only hangs up: the hint names both.
  'no TLS but a login to a listener with both': [
    'unavailable',
    'kafka-unreachable',
    ({ address }) => ({ brokers: [address.both], sasl: { mechanism: 'PLAIN', ...ALICE } }),
  ],
  'no login where one is wanted': ['unavailable', 'kafka-unreachable', ({ address }) => ({ brokers: [address.login] })],
  'a mechanism that the broker does not have': [
    'denied',
    'kafka-login',
    ({ address, ca }) => ({ brokers: [address.both], tls: { ca }, sasl: { mechanism: 'SCRAM-SHA-256', ...ALICE } }),
  ],
  'a certificate that is none': [
    'invalid',
    'kafka-tls',
    ({ address }) => ({ brokers: [address.tls], tls: { ca: 'no certificate' } }),
  ],
}

async function open(wanted: Wanted, more: Partial<KafkaLogOptions> = {}) {
  const config = { topicPrefix: `secured-${randomUUID().slice(0, 8)}.`, ...wanted(broker) }
  const home = await kafkaHome({ config, partitions: 1, marks: false, ...more })
  onTestFinished(() => home.remove())
  return home.open()
}

describe('right credentials', () => {
  test.each(Object.keys(right))('%s', async (name) => {
    const log = await open(right[name]!)
    onTestFinished(() => log.close())
    const [partition] = log.partitions
    await partition!.append({ lines: Buffer.from('{"n":1}\n{"n":2}\n'), records: 2 })
    expect(await recordsFrom(partition!)).toEqual(['{"n":1}', '{"n":2}'])
  })
})

describe('wrong credentials are told for what they are', () => {
  test.each(Object.keys(wrong))('%s', async (name) => {
    const [kind, code, wanted] = wrong[name]!
    const error = await open(wanted).then(
      (log) => log.close().then(() => undefined),
      (thrown: unknown) => thrown as MillraceError,
    )
    expect(error).toBeInstanceOf(MillraceError)
    expect(error).toMatchObject({ kind, code })
    expect(error!.hint).toMatch({ 'kafka-tls': /`tls`/, 'kafka-login': /`sasl`/ }[code] ?? /rights|login or TLS/)
    expect(`${error!.message} ${error!.hint}`).not.toMatch(/-secret|wrong/)
  })
})

test('a topic of others needs the right to read it alone; appending to it is denied', async () => {
  const topic = `billing-${randomUUID().slice(0, 8)}.orders`
  const writer = await open((known) => ({ ...right['mutual TLS']!(known), topicPrefix: topic.replace('orders', '') }))
  await writer.partitions[0]!.append({ lines: Buffer.from('{"n":2}\n'), records: 1 })
  await writer.close()
  await allowReading(broker, BOB, topic)
  const bob: Wanted = ({ address }) => ({ brokers: [address.login], sasl: { mechanism: 'SCRAM-SHA-256', ...BOB } })
  const log = await open(bob, { topic: { name: topic } })
  onTestFinished(() => log.close())
  const [partition] = log.partitions
  expect(await recordsFrom(partition!)).toEqual(['{"n":2}'])
  const append = partition!.append({ lines: Buffer.from('{"n":3}\n'), records: 1 })
  await expect(append).rejects.toMatchObject({ kind: 'denied', code: 'kafka-denied' })
})

describe('a schema registry with TLS', () => {
  /** Wants a certificate of a client, and answers nothing of interest. */
  async function registry(): Promise<string> {
    const { ca, server } = broker
    const listener = createServer({ ...server, ca, requestCert: true, rejectUnauthorized: true }, (_, response) => {
      response.end('[]')
    })
    await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done))
    onTestFinished(() => void listener.close())
    return `https://localhost:${(listener.address() as AddressInfo).port}`
  }

  test('certificates that fit', async () => {
    await new SchemaRegistry({ url: await registry(), tls: { ca: broker.ca, ...broker.client } }, 5_000).check()
  })

  test.each([
    ['of an unknown authority', () => undefined],
    ['of another authority', () => ({ ca: broker.otherCa, ...broker.client })],
    ['of no client', () => ({ ca: broker.ca })],
    ['that is none', () => ({ ca: broker.ca, cert: 'no certificate', key: 'no key' })],
  ])('a certificate %s', async (_, tls) => {
    const given = tls()
    const wrong = new SchemaRegistry({ url: await registry(), ...(given === undefined ? {} : { tls: given }) }, 5_000)
    await expect(wrong.check()).rejects.toMatchObject({ kind: 'invalid', code: 'registry-tls' })
  })

  test('asked without', async () => {
    const plain = new SchemaRegistry({ url: (await registry()).replace('https', 'http') }, 5_000)
    await expect(plain.check()).rejects.toMatchObject({ code: expect.stringMatching(/registry-(tls|unreachable)/) })
  })
})

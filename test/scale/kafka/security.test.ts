import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { MillraceError } from '../../../src/base/errors.ts'
import type { KafkaConfig } from '../../../src/log/kafka/config.ts'
import { recordsFrom } from '../../log/conformance.ts'
import { kafkaHome } from './home.ts'
import { ALICE, BOB, type SecuredBroker, securedBroker } from './secured.ts'

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

async function open(wanted: Wanted) {
  const config = { topicPrefix: `secured-${randomUUID().slice(0, 8)}.`, ...wanted(broker) }
  const home = await kafkaHome({ config, partitions: 1, marks: false })
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

import { NetworkError, ProtocolError, AuthenticationError, UserError } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { kafkaError } from '../../src/log/kafka/errors.ts'

const BROKERS = ['127.0.0.1:9092']
const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
const within = (cause: Error) => new NetworkError('Connection to 127.0.0.1:9092 failed.', { cause })

// What the client throws, seen on brokers in test/scale/kafka/security.test.ts; these come of brokers that stop at the wrong moment.
test.each([
  ['a login that is refused', within(new AuthenticationError('no', { cause: new ProtocolError(58) })), 'denied'],
  [
    'a login that breaks off',
    within(new AuthenticationError('no', { cause: new NetworkError('Connection closed') })),
    'unavailable',
  ],
  ['a certificate that does not match', within(Object.assign(new Error(), { code: 'CERT_HAS_EXPIRED' })), 'invalid'],
  ['a handshake that breaks off', within(new UserError('TLS handshake failed.', { cause: reset })), 'unavailable'],
  ['a connection that breaks off', within(reset), 'unavailable'],
  [
    'a connection that breaks off under TLS',
    within(Object.assign(new Error(), { code: 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING' })),
    'unavailable',
  ],
])('%s is told as what to do about it, once the cluster was talked to', (_, error, kind) => {
  expect(kafkaError(error, { brokers: BROKERS, isKnown: true })).toMatchObject({ kind })
})

test('a handshake that breaks off at the start is a listener without TLS', () => {
  const error = within(new UserError('TLS handshake failed.', { cause: reset }))
  expect(kafkaError(error, { brokers: BROKERS })).toMatchObject({ kind: 'invalid', code: 'kafka-tls' })
})

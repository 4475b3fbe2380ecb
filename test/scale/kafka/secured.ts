import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { AclOperations, AclPermissionTypes, Admin, ResourcePatternTypes, ResourceTypes } from '@platformatic/kafka'
import { freePorts } from '../../../scripts/services/free-ports.ts'
import { Home } from '../../../scripts/services/home.ts'
import { LOGGING } from '../../../scripts/services/java.ts'
import { startProcess, stopProcess } from '../../../scripts/services/processes.ts'

const run = promisify(execFile)

/** A certificate with its key, as PEM texts. */
interface Identity {
  readonly cert: string
  readonly key: string
}

/** Listeners of the broker, by what they want of a client. */
const LISTENERS = {
  plain: 'PLAINTEXT',
  login: 'SASL_PLAINTEXT',
  tls: 'SSL',
  mutual: 'SSL',
  both: 'SASL_SSL',
} as const
const MECHANISMS = {
  login: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
  both: ['PLAIN', 'SCRAM-SHA-512'],
}
type Listener = keyof typeof LISTENERS

export interface SecuredBroker {
  /** `host:port` of each listener. */
  readonly address: Readonly<Record<Listener, string>>
  /** Who has signed the broker's certificate. */
  readonly ca: string
  /** The broker's own, for this machine's names. */
  readonly server: Identity
  /** Of a client that the broker knows. */
  readonly client: Identity
  /** An authority that has signed nothing of the broker's. */
  readonly otherCa: string
  /** Signed by that one. */
  readonly stranger: Identity
  stop(): Promise<void>
}

/** May do anything; bob nothing. */
export const ALICE = { username: 'alice', password: 'alice-secret' }
export const BOB = { username: 'bob', password: 'bob-secret' }

/** Starts a broker of its own with logins, TLS and rights. */
export async function securedBroker(): Promise<SecuredBroker> {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-secured-'))
  const ca = await authority(directory, 'ca')
  const other = await authority(directory, 'other')
  const server = await signed(directory, ca, 'localhost')
  const files = {
    keys: write(directory, 'server.pem', `${server.key}${server.cert}`),
    trusted: write(directory, 'trusted.pem', ca.cert),
  }
  const names = [...(Object.keys(LISTENERS) as Listener[]), 'controller'] as const
  const ports = await freePorts(names.length)
  const addresses = Object.fromEntries(names.map((name, i) => [name, `localhost:${ports[i]!}`]))
  const address = addresses as Record<(typeof names)[number], string>
  const config = write(directory, 'server.properties', properties(directory, address, files))
  const java = ['-Xmx256m', '-cp', join(Home.default().packages, 'kafka', '*'), LOGGING]
  const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) =>
    [ALICE, BOB].flatMap(({ username, password }) => [
      '--add-scram',
      `${mechanism}=[name=${username},password=${password}]`,
    ]),
  )
  const format = ['format', '-t', 'bWlsbHJhY2Utc2VjdXJlZA', '-c', config, ...scram]
  await run('java', [...java, 'kafka.tools.StorageTool', ...format])
  const id = startProcess({
    name: 'kafka-secured',
    command: 'java',
    args: [...java, 'kafka.Kafka', config],
    cwd: directory,
    log: join(directory, 'broker.log'),
  })
  const stop = async () => {
    await stopProcess(id, 'SIGTERM')
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    await answers(address.plain)
  } catch (error) {
    const log = readFileSync(join(directory, 'broker.log'), 'utf8').split('\n').slice(-20).join('\n')
    await stop()
    throw new Error(`the broker did not start:\n${log}`, { cause: error })
  }
  const client = await signed(directory, ca, 'client')
  const stranger = await signed(directory, other, 'stranger')
  return { address, ca: ca.cert, server, client, otherCa: other.cert, stranger, stop }
}

function properties(
  directory: string,
  address: Readonly<Record<Listener | 'controller', string>>,
  files: { readonly keys: string; readonly trusted: string },
): string {
  const upper = (name: string) => name.toUpperCase()
  const listeners = Object.keys(LISTENERS) as Listener[]
  const users = [ALICE, BOB].map(({ username, password }) => `user_${username}="${password}"`).join(' ')
  const logins = ['login', 'both'].flatMap((name) => [
    [`listener.name.${name}.sasl.enabled.mechanisms`, MECHANISMS[name as 'login' | 'both'].join()],
    [
      `listener.name.${name}.plain.sasl.jaas.config`,
      `org.apache.kafka.common.security.plain.PlainLoginModule required ${users};`,
    ],
    ...['scram-sha-256', 'scram-sha-512'].map((mechanism) => [
      `listener.name.${name}.${mechanism}.sasl.jaas.config`,
      'org.apache.kafka.common.security.scram.ScramLoginModule required;',
    ]),
  ])
  const one = [
    'offsets.topic.replication.factor',
    'transaction.state.log.replication.factor',
    'transaction.state.log.min.isr',
    'default.replication.factor',
  ].map((name) => [name, 1])
  return [
    ['process.roles', 'broker,controller'],
    ['node.id', 1],
    ['controller.quorum.voters', `1@${address.controller}`],
    ['listeners', [...listeners, 'controller' as const].map((name) => `${upper(name)}://${address[name]}`).join()],
    [
      'listener.security.protocol.map',
      ['CONTROLLER:PLAINTEXT', ...listeners.map((name) => `${upper(name)}:${LISTENERS[name]}`)].join(),
    ],
    ['inter.broker.listener.name', 'PLAIN'],
    ['controller.listener.names', 'CONTROLLER'],
    ['log.dirs', join(directory, 'data')],
    ['auto.create.topics.enable', false],
    ...one,
    ['log.cleaner.dedupe.buffer.size', 16 * 1024 * 1024],
    ['ssl.keystore.type', 'PEM'],
    ['ssl.keystore.location', files.keys],
    ['ssl.truststore.type', 'PEM'],
    ['ssl.truststore.location', files.trusted],
    ['listener.name.mutual.ssl.client.auth', 'required'],
    ...logins,
    ['authorizer.class.name', 'org.apache.kafka.metadata.authorizer.StandardAuthorizer'],
    ['super.users', 'User:ANONYMOUS;User:alice;User:CN=client'],
  ]
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

/** Lets a user read a topic, and nothing else. */
export async function allowReading({ address }: SecuredBroker, { username }: typeof BOB, topic: string): Promise<void> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: [address.plain] })
  try {
    const grant = {
      resourceType: ResourceTypes.TOPIC,
      resourceName: topic,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: `User:${username}`,
      host: '*',
      operation: AclOperations.READ,
      permissionType: AclPermissionTypes.ALLOW,
    }
    await admin.createAcls({ creations: [grant] })
  } finally {
    await admin.close()
  }
}

async function answers(address: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [address], retries: 0, connectTimeout: 1000 })
    try {
      await admin.metadata({ topics: [], forceUpdate: true })
      return
    } catch (error) {
      if (tries === 600) throw error
      await sleep(100)
    } finally {
      await admin.close()
    }
  }
}

interface Authority {
  readonly name: string
  readonly cert: string
}

async function authority(directory: string, name: string): Promise<Authority> {
  const own = join(directory, name)
  mkdirSync(own)
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`]
  await run('openssl', [...request, '-keyout', join(own, 'key.pem'), '-out', join(own, 'cert.pem')])
  return { name, cert: readFileSync(join(own, 'cert.pem'), 'utf8') }
}

async function signed(directory: string, { name: by }: Authority, name: string): Promise<Identity> {
  const path = (file: string) => join(directory, `${name}-${file}`)
  const extensions = write(directory, `${name}-ext`, 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  const subject = ['-nodes', '-subj', `/CN=${name}`]
  await run('openssl', ['req', '-newkey', 'rsa:2048', ...subject, '-keyout', path('key'), '-out', path('csr')])
  const authorityFiles = ['-CA', join(directory, by, 'cert.pem'), '-CAkey', join(directory, by, 'key.pem')]
  const signing = ['x509', '-req', '-in', path('csr'), ...authorityFiles, '-CAcreateserial', '-days', '2']
  await run('openssl', [...signing, '-extfile', extensions, '-out', path('cert')])
  return { cert: readFileSync(path('cert'), 'utf8'), key: readFileSync(path('key'), 'utf8') }
}

function write(directory: string, name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

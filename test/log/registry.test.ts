import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { crc32 } from 'node:zlib'
import avsc from 'avsc'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { RegistryConfig } from '../../src/log/kafka/registry/client.ts'
import { SchemaRegistry } from '../../src/log/kafka/registry/client.ts'
import { RegistryValues } from '../../src/log/kafka/registry/values.ts'
import { sealBatch } from '../../src/log/kafka/batch.ts'
import { decodeRecords } from '../../src/log/kafka/decode.ts'
import { writeVarint } from '../../src/log/kafka/varint.ts'

type Answers = Readonly<Record<string, unknown>>

/** A server with the answers of a schema registry that tests of all kinds of them need; a real one is in test/scale/kafka. */
async function registryOf(answers: Answers, allow: (login: string | undefined) => boolean = () => true) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = request.url!
    asked.push(path)
    const answer = allow(request.headers.authorization) ? answers[path] : 401
    const [status, body] =
      typeof answer === 'number'
        ? [answer, 'an error page']
        : answer === undefined
          ? [404, JSON.stringify({ error_code: 40403, message: 'Schema not found' })]
          : [200, JSON.stringify(answer)]
    response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' }).end(body)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const open = (more: Partial<RegistryConfig> = {}) => new SchemaRegistry({ url, ...more }, 5_000)
  return { asked, url, open }
}

interface Written {
  readonly value: Buffer | undefined
  readonly headers?: Readonly<Record<string, Buffer>>
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(5)
  return bytes.subarray(0, writeVarint(bytes, 0, value))
}

const sized = (bytes: Buffer) => Buffer.concat([varint(bytes.length), bytes])

/** A batch of records whose values may be any bytes. */
function batchOf(written: readonly Written[]): Buffer {
  const records = written.map(({ value, headers = {} }, i) => {
    const entries = Object.entries(headers)
    return Buffer.concat([
      Buffer.from([0]),
      varint(0),
      varint(i),
      varint(-1),
      value === undefined ? varint(-1) : sized(value),
      varint(entries.length),
      ...entries.flatMap(([name, content]) => [sized(Buffer.from(name)), sized(content)]),
    ])
  })
  const bytes = Buffer.concat([Buffer.alloc(61), ...records.map(sized)])
  const encoded = { bytes, room: bytes, records: records.length, firstMs: 0, newestMs: 0 }
  return sealBatch(encoded, { id: 1n, epoch: 0, sequence: 0 }, (part) => crc32(part))
}

/** The lines of records, loading schemas as a reader does. */
async function linesOf(values: RegistryValues, written: readonly Written[]): Promise<string[]> {
  const codec = { crc32c: (bytes: Buffer) => crc32(bytes), decompress: (_: string, bytes: Buffer) => bytes, values }
  const decode = () => decodeRecords({ topic: 't', partition: 0, bytes: batchOf(written), from: 0, aborted: [] }, codec)
  let decoded = decode()
  for (; decoded.missing.size > 0; decoded = decode()) await values.load(decoded.missing)
  return decoded.runs.flatMap(({ lines }) => lines.toString().split('\n').slice(0, -1))
}

const byId = (id: number, data: Buffer = Buffer.alloc(0)) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, data])
}
const GUID = '89791762-2336-186f-9674-180ac8b2ba1c'
const byGuid = Buffer.from(`01${GUID.replaceAll('-', '')}`, 'hex')
const avro = (schema: unknown, references: readonly unknown[] = []) => ({ schema: JSON.stringify(schema), references })

const POINT = { type: 'record', name: 'Point', fields: [{ name: 'x', type: 'int' }] }
const point = (x: number) => avsc.Type.forSchema(POINT as avsc.Schema).toBuffer({ x })

describe('values with a schema', () => {
  test('are read by an id before them, or by an id or a GUID in a header, among others that are text', async () => {
    const { open, asked } = await registryOf({
      '/schemas/ids/7': avro(POINT),
      '/schemas/ids/10': { schemaType: 'JSON', schema: '{}' },
      [`/schemas/guids/${GUID}`]: avro(POINT),
    })
    const lines = await linesOf(new RegistryValues(open(), systemClock), [
      { value: byId(7, point(1)) },
      { value: Buffer.from('{"x":2}') },
      { value: point(3), headers: { other: Buffer.from('x'), __value_schema_id: byId(7) } },
      { value: point(4), headers: { __value_schema_id: byGuid, __key_schema_id: byId(99) } },
      { value: undefined },
      { value: byId(10, Buffer.from('{\n "x": 5 }')) },
      { value: Buffer.from('{"x":\r\n6}') },
      { value: byId(7, point(-7)), headers: { __value_schema_id: Buffer.from('nothing') } },
      { value: Buffer.from([0, 1]) },
    ])
    expect(lines).toEqual([
      '{"x":1}',
      '{"x":2}',
      '{"x":3}',
      '{"x":4}',
      '{  "x": 5 }',
      '{"x":  6}',
      '{"x":-7}',
      '\u0000\u0001',
    ])
    expect(asked.toSorted()).toEqual([`/schemas/guids/${GUID}`, '/schemas/ids/10', '/schemas/ids/7'])
  })

  test('are kept whole where they cannot be read', async () => {
    const { open } = await registryOf({
      '/schemas/ids/7': avro(POINT),
      '/schemas/ids/8': { schemaType: 'PROTOBUF', schema: 'message Point {}' },
      '/schemas/ids/9': avro({ type: 'record', name: 'Line', fields: [{ name: 'from', type: 'Point' }] }),
    })
    const bad = [byId(6, point(1)), byId(7), byId(7, Buffer.from([2, 2])), byId(8, point(1)), byId(9, point(1))]
    const lines = await linesOf(
      new RegistryValues(open(), systemClock),
      bad.map((value) => ({ value })),
    )
    const said = lines.map((line) => (JSON.parse(line) as string).split('; in base64: '))
    expect(said.map(([, kept]) => Buffer.from(kept!, 'base64'))).toEqual(bad)
    expect(said.map(([why]) => why)).toEqual([
      'schema 6 is not in the registry',
      'it does not fit schema 7: at byte 0 it ends there',
      'it does not fit schema 7: at byte 1 1 bytes are left',
      'schema 8 is of type PROTOBUF, and Avro and JSON Schema are read',
      "schema 9 cannot be read: there is no type 'Point'",
    ])
  })

  test('a schema is asked for once, one that is not there again after a minute', async () => {
    const answers: Record<string, unknown> = { '/schemas/ids/7': avro(POINT) }
    const { open, asked } = await registryOf(answers)
    let now = 0
    const values = new RegistryValues(open(), { ...systemClock, monotonic: () => now })
    const read = () => linesOf(values, [{ value: byId(7, point(1)) }, { value: byId(8, point(2)) }])
    await read()
    await read()
    expect(asked).toEqual(['/schemas/ids/7', '/schemas/ids/8'])
    answers['/schemas/ids/8'] = avro(POINT)
    now += 60_001
    expect(await read()).toEqual(['{"x":1}', '{"x":2}'])
    expect(asked).toHaveLength(3)
  })

  test('types may come from schemas that are referred to, by these too', async () => {
    const named = (name: string, type: unknown) => ({
      type: 'record',
      name,
      namespace: 'geo',
      fields: [{ name: 'v', type }],
    })
    const { open, asked } = await registryOf({
      '/schemas/ids/1': avro(
        ['null', named('A', { type: 'array', items: 'geo.B' })],
        [{ name: 'geo.B', subject: 'geo/B', version: 3 }],
      ),
      '/subjects/geo%2FB/versions/3?deleted=true': avro(named('B', 'C'), [{ name: 'geo.C', subject: 'C', version: 1 }]),
      '/subjects/C/versions/1?deleted=true': avro(named('C', 'int')),
    })
    const values = new RegistryValues(open(), systemClock)
    expect(await linesOf(values, [{ value: byId(1, Buffer.from([2, 4, 8, 9, 0])) }])).toEqual([
      '{"v":[{"v":{"v":4}},{"v":{"v":-5}}]}',
    ])
    expect(asked).toHaveLength(3)
  })
})

describe('a registry', () => {
  test.each([
    ['username and password', { username: 'ann', password: 'pw' }, 'Basic YW5uOnB3'],
    ['a token', { token: 'abc' }, 'Bearer abc'],
  ])('is given %s', async (_, login, wanted) => {
    const { open } = await registryOf({ '/schemas/types': ['AVRO'] }, (given) => given === wanted)
    await open(login).check()
    await expect(open().check()).rejects.toMatchObject({ kind: 'denied', code: 'registry-login' })
  })

  test.each([
    [500, 'unavailable', 'registry-unreachable'],
    [429, 'unavailable', 'registry-unreachable'],
    [403, 'denied', 'registry-login'],
    // Another server: its answer is no word about a schema.
    [404, 'invalid', 'bad-registry'],
    [302, 'invalid', 'bad-registry'],
  ])('that answers %i', async (status, kind, code) => {
    const { open } = await registryOf({ '/schemas/ids/1': status })
    await expect(open().schema('/schemas/ids/1')).rejects.toMatchObject({ kind, code })
  })

  test('that is not there', async () => {
    const registry = new SchemaRegistry({ url: 'http://127.0.0.1:1' }, 1_000)
    await expect(registry.check()).rejects.toMatchObject({ kind: 'unavailable', code: 'registry-unreachable' })
  })

  test.each([
    { url: 'registry:8081' },
    { url: 'ftp://registry' },
    { url: 'http://ann:pw@registry' },
    { url: 'http://registry', username: 'ann' },
    { url: 'http://registry', username: 'ann', password: 'pw', token: 'abc' },
  ])('that is declared wrong: %o', (config) => {
    expect(() => new SchemaRegistry(config, 1_000)).toThrow(expect.objectContaining({ code: 'bad-registry' }))
  })
})

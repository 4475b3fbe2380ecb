import { Server, ServerCredentials, type ServerWritableStream, Metadata, status } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import { expect, onTestFinished, test } from 'vitest'
import { parseAddress } from '../../src/engine/spark/address.ts'
import { type Answers, DESCRIPTOR, MESSAGES } from '../../src/engine/spark/protocol.ts'
import { SparkSession } from '../../src/engine/spark/session.ts'
import { planShape } from '../../src/engine/spark/shape.ts'

const root = protobuf.Root.fromJSON(DESCRIPTOR)

type Call = Record<string, unknown> & { sessionId: string; operationId?: string; lastResponseId?: string }
type Answer = object | { readonly error: { code: number; message: string; errorClass?: string } }

/**
 * What no real server does when it is told to: a server that speaks the protocol and answers as a test wants. The handlers get
 * the request and return one answer, or a stream of them, in which an `error` ends the call.
 */
async function scripted(
  handlers: Partial<Record<keyof Answers, (request: Call) => Answer | readonly Answer[]>>,
): Promise<{ url: string; calls: [string, Call][] }> {
  const server = new Server()
  const calls: [string, Call][] = []
  const methods = Object.entries(MESSAGES).map(([name, [request, answer]]) => {
    const [asked, told] = [root.lookupType(request), root.lookupType(answer)]
    const definition = {
      path: `/spark.connect.SparkConnectService/${name}`,
      requestStream: false,
      responseStream: name.endsWith('Execute') ? name === 'ReattachExecute' : name === 'ExecutePlan',
      requestDeserialize: (bytes: Buffer) => asked.toObject(asked.decode(bytes)) as Call,
      requestSerialize: () => Buffer.alloc(0),
      responseSerialize: (message: object) => Buffer.from(told.encode(told.fromObject(message)).finish()),
      responseDeserialize: () => ({}),
    }
    const handle = (call: { request: Call }, reply: (error: object | null, message?: object) => void): void => {
      calls.push([name, call.request])
      const all = [handlers[name as keyof Answers]?.(call.request) ?? DEFAULTS[name] ?? {}].flat() as Answer[]
      const failed = all.find((one) => 'error' in one)
      if (definition.responseStream) {
        const stream = call as unknown as ServerWritableStream<Call, object>
        for (const one of all) if (!('error' in one)) stream.write(one)
        if (failed) stream.emit('error', failureOf(failed))
        else stream.end()
      } else if (failed) reply(failureOf(failed))
      else reply(null, all[0])
    }
    return [name, definition, handle] as const
  })
  server.addService(
    Object.fromEntries(methods.map(([name, definition]) => [name, definition])),
    Object.fromEntries(methods.map(([name, , handle]) => [name, handle])) as never,
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  onTestFinished(() => server.forceShutdown())
  return { url: `sc://127.0.0.1:${port}`, calls }
}

const DEFAULTS: Readonly<Record<string, object>> = {
  AnalyzePlan: { serverSideSessionId: 'one', sparkVersion: { text: '4.1.3' } },
  Config: { serverSideSessionId: 'one' },
}

function failureOf(answer: Answer): object {
  const { error } = answer as { error: { code: number; message: string; errorClass?: string } }
  const metadata = new Metadata()
  if (error.errorClass !== undefined) {
    const info = root
      .lookupType('ErrorInfo')
      .encode({ metadata: { errorClass: error.errorClass } })
      .finish()
    const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }]
    metadata.set('grpc-status-details-bin', Buffer.from(root.lookupType('RpcStatus').encode({ details }).finish()))
  }
  return { code: error.code, details: error.message, metadata }
}

const lost = (errorClass: string): Answer => ({
  error: { code: status.INTERNAL, message: `[${errorClass}] gone`, errorClass },
})
const broken: Answer = { error: { code: status.UNAVAILABLE, message: 'reset' } }
const complete = { responseId: 'last', resultComplete: {} }

const of = (calls: readonly [string, Call][], name: string): Call[] =>
  calls.filter(([called]) => called === name).map(([, request]) => request)

async function open(url: string): Promise<SparkSession> {
  const session = await SparkSession.open({ url, settings: { 'a.setting': '1' }, reconnectMs: 500 })
  onTestFinished(() => session.close())
  return session
}

test.each([
  ['3.5.1', 'spark-too-old', /3\.5\.1/],
  ['', 'spark-too-old', /unknown/],
])('version %j is refused', async (text, code, message) => {
  const { url } = await scripted({ AnalyzePlan: () => ({ sparkVersion: { text } }) })
  await expect(SparkSession.open({ url })).rejects.toMatchObject({
    kind: 'invalid',
    code,
    message: expect.stringMatching(message),
  })
})

test.each([
  [status.UNIMPLEMENTED, 'invalid', 'no-spark-connect'],
  [status.UNAUTHENTICATED, 'denied', 'engine-denied'],
  [status.UNAVAILABLE, 'unavailable', 'engine-unreachable'],
])('what answers with status %i is told as %s', async (code, kind, told) => {
  const { url } = await scripted({ AnalyzePlan: () => ({ error: { code, message: 'no' } }) })
  await expect(SparkSession.open({ url })).rejects.toMatchObject({ kind, code: told })
})

test('a stream that ends early or breaks goes on after the last answer that came', async () => {
  const streams: Answer[][] = [[{ responseId: 'a' }], [{ responseId: 'b' }, broken], [broken], [complete]]
  const { url, calls } = await scripted({
    ExecutePlan: () => streams.shift()!,
    ReattachExecute: () => streams.shift()!,
  })
  await (await open(url)).execute('x')
  const [first] = of(calls, 'ExecutePlan')
  expect(of(calls, 'ExecutePlan').length).toBe(1)
  expect(of(calls, 'ReattachExecute').map((call) => [call.operationId, call.lastResponseId])).toEqual(
    ['a', 'b', 'b'].map((id) => [first!.operationId, id]),
  )
})

test('what never reached the server is sent again under its id; what may have is not', async () => {
  const streams: Answer[][] = [[broken], [lost('INVALID_HANDLE.OPERATION_NOT_FOUND')], [complete]]
  const unsent = await scripted({ ExecutePlan: () => streams.shift()!, ReattachExecute: () => streams.shift()! })
  await (await open(unsent.url)).execute('x')
  const [first, again] = of(unsent.calls, 'ExecutePlan')
  expect(again!.operationId).toBe(first!.operationId)

  for (const gone of [
    'INVALID_HANDLE.OPERATION_ABANDONED',
    'INVALID_HANDLE.SESSION_CHANGED',
    'INVALID_HANDLE.SESSION_NOT_FOUND',
  ]) {
    const sent = await scripted({ ExecutePlan: () => [broken], ReattachExecute: () => [lost(gone)] })
    await expect((await open(sent.url)).execute('x')).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'engine-restarted',
    })
    expect(of(sent.calls, 'ExecutePlan').length).toBe(1)
  }
  const started = await scripted({
    ExecutePlan: () => [{ responseId: 'a' }, broken],
    ReattachExecute: () => [lost('INVALID_HANDLE.OPERATION_NOT_FOUND')],
  })
  await expect((await open(started.url)).execute('x')).rejects.toMatchObject({ code: 'engine-restarted' })
})

test('a server that stays away is given up', async () => {
  const { url } = await scripted({ ExecutePlan: () => [broken], ReattachExecute: () => [broken] })
  await expect((await open(url)).execute('x')).rejects.toMatchObject({
    kind: 'unavailable',
    code: 'engine-unreachable',
  })
})

test('a session that was forgotten before anything began is made anew with its settings', async () => {
  let forgotten: string | undefined
  const { url, calls } = await scripted({
    ExecutePlan: ({ sessionId }) => (sessionId === forgotten ? [lost('INVALID_HANDLE.SESSION_CHANGED')] : [complete]),
  })
  const session = await open(url)
  await session.config({ 'another.setting': '2' })
  forgotten = session.sessionId
  await Promise.all([session.execute('x'), session.execute('y')])
  expect(session.sessionId).not.toBe(forgotten)
  const [renewal, ...more] = of(calls, 'Config').filter((call) => call.sessionId === session.sessionId)
  expect(more).toEqual([])
  expect(JSON.stringify(renewal)).toMatch(/"a\.setting","value":"1".*"another\.setting","value":"2"/)
  expect(renewal!['clientObservedServerSideSessionId']).toBeUndefined()
  expect(of(calls, 'ExecutePlan')[0]!['clientObservedServerSideSessionId']).toBe('one')
})

test('addresses are those of Spark’s own clients', () => {
  const plain = { port: 15_002, tls: false, token: undefined, userId: 'millrace' }
  expect(parseAddress('sc://spark')).toEqual({ host: 'spark', ...plain })
  expect(parseAddress('sc://spark:7/;token=a%3Db;user_id=me')).toEqual({
    host: 'spark',
    port: 7,
    tls: true,
    token: 'a=b',
    userId: 'me',
  })
  expect(parseAddress('sc://[::1]:7')).toEqual({ host: '::1', ...plain, port: 7 })
  for (const url of [
    'http://spark',
    'sc://',
    'sc://a:99999',
    'sc://a/;what=1',
    'sc://a/;token=t;use_ssl=false',
    'sc://a/;use_ssl=yes',
  ])
    expect(() => parseAddress(url)).toThrowError(expect.objectContaining({ code: 'bad-spark-url' }))
})

test('a plan that is not understood is nothing by row', () => {
  const explained = (plan: string) =>
    planShape(`== Parsed Logical Plan ==\nx\n\n== Optimized Logical Plan ==\n${plan}\n\n== Physical Plan ==\n`)
  expect(explained('Project [a#1]\n+- Filter (a#1 > 3)\n   +- RelationV2[a#1] t')).toBe('by row')
  expect(explained('Join Inner, (a#1 = b#2)\n:- RelationV2[a#1] t\n+- RelationV2[b#2] u')).toBe('joined')
  expect(explained('Join LeftOuter, (a#1 = b#2)\n:- RelationV2[a#1] t\n+- RelationV2[b#2] u')).toBeUndefined()
  expect(explained('Aggregate [count(1)]\n+- RelationV2[a#1] t')).toBeUndefined()
  expect(planShape('something else')).toBeUndefined()
})

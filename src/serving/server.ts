import { channel } from 'node:diagnostics_channel'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Clock } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { RestCatalog } from '../lake/rest/catalog.ts'
import type { Config } from '../project/config.ts'
import { type Access, authorize, requireTokenBeyondLoopback } from './authorize.ts'
import { controlRoute } from './control.ts'
import { runRoutes } from './runs.ts'
import { datasetRoutes } from './datasets.ts'
import { endpointRoutes } from './endpoints.ts'
import { icebergRoutes } from './iceberg.ts'
import { ingestRoute } from './ingest.ts'
import { type ServingLimits, servingLimits } from './limits.ts'
import { liveRoute } from './live.ts'
import { openApiRoute, registerOpenApi } from './openapi.ts'
import type { Platform } from './platform.ts'
import { fromServer, sendProblem } from './problem.ts'
import { Queries } from './queries.ts'
import { refuseUnknown } from './routing.ts'
import { jsonResponses } from './schemas.ts'
import { parseJson, sqlRoute } from './sql-route.ts'

export interface ServerOptions {
  readonly platform: Platform
  readonly config: Config
  readonly clock: Clock
  /** The lake as an Iceberg REST catalog; without it there is none at /iceberg. */
  readonly catalog?: RestCatalog
  /** Directories that relations read from: the lake, and wherever hot rows are. */
  readonly directories: readonly string[]
  /** A directory for query processes alone; emptied at the start. */
  readonly temporary: string
  /** What the command line beside this server shows. */
  readonly controlToken: string
  /** Over the configuration's, for tests. */
  readonly limits?: Partial<ServingLimits>
}

export interface Server {
  readonly port: number
  readonly url: string
  /** Stops taking requests, lets those under way end for a while, then ends them. */
  close(): Promise<void>
}

/** One message for each answered request. */
export interface RequestEvent {
  readonly method: string
  /** The route, not the URL: `/v1/streams/:name`. */
  readonly route: string
  readonly status: number
  readonly ms: number
  readonly bytesIn: number
  /** The error behind a status of 500 or more. */
  readonly error?: unknown
}

/** `RequestEvent`s. */
export const requestChannel = channel('millrace:http:request')

const DEFAULT_PORT = 4400
const DEFAULT_HOST = '127.0.0.1'
const REQUEST_MS_MAX = 300_000
const CLOSE_GRACE_MS = 10_000

/**
 * Starts the HTTP server and its query processes. Port 0 takes a free one. Errors: `invalid` / `token-required`, `bad-duration`;
 * `conflict`/`port-taken`; `denied`/`no-access` for a port this user may not have; `unavailable`/`query-process`.
 */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { platform, config, clock } = options
  const host = config.server?.host ?? DEFAULT_HOST
  // An empty text, as an unset environment variable may become, is no token.
  const access: Access = { token: config.server?.token || undefined, controlToken: options.controlToken }
  requireTokenBeyondLoopback(host, access.token)
  const limits = { ...servingLimits(config), ...options.limits }
  const queries = await Queries.open({
    platform,
    limits,
    directories: options.directories,
    temporary: join(options.temporary, 'queries'),
    clock,
  })
  try {
    const app = await build(options, queries, access, limits)
    const port = await listen(app, host, config.server?.port ?? DEFAULT_PORT)
    const name = host.includes(':') ? `[${host}]` : host
    return { port, url: `http://${name}:${port}`, close: () => close(app, queries, clock) }
  } catch (error) {
    await queries.close()
    throw error
  }
}

async function build(
  { platform, clock, catalog }: ServerOptions,
  queries: Queries,
  access: Access,
  limits: ServingLimits,
): Promise<FastifyInstance> {
  const app = Fastify({
    bodyLimit: limits.requestBytes,
    requestTimeout: REQUEST_MS_MAX,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, strict: false } },
    frameworkErrors: (error, _request, reply) => void sendProblem(reply, fromServer(error)),
  })
  app.setSerializerCompiler(() => JSON.stringify)
  app.setErrorHandler((error, request, reply) => {
    const problem = fromServer(error)
    failures.set(request.raw, problem.cause ?? problem)
    return sendProblem(reply, problem)
  })
  parsing(app)
  refuseUnknown(app)
  await registerOpenApi(app, platform, access.token !== undefined)
  probes(app, platform)
  await app.register(async (guarded) => {
    guarded.addHook('onRequest', async (request) => {
      if (request.routeOptions.url !== '/v1/control/:verb') authorize(request.raw, access)
    })
    openApiRoute(guarded, platform)
    ingestRoute(guarded, platform, limits)
    sqlRoute(guarded, queries, limits)
    datasetRoutes(guarded, platform, queries, limits)
    runRoutes(guarded, platform)
    liveRoute(guarded, platform, limits, clock)
    endpointRoutes(guarded, platform, queries, limits)
    controlRoute(guarded, platform, access)
    if (catalog !== undefined) icebergRoutes(guarded, catalog)
  })
  publishRequests(app)
  endConnectionsWhenClosing(app)
  await app.ready()
  return app
}

/** JSON without loss; and a client that asks first (`Expect: 100-continue`) is told to go on only when its body is wanted. */
function parsing(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, body: string) =>
    parseJson(body),
  )
  app.server.on('checkContinue', (request, response) => void app.server.emit('request', request, response))
  app.addHook('preParsing', async (request, reply, payload) => {
    const ingest = request.routeOptions.url === '/v1/streams/:name'
    if (request.headers.expect !== undefined && !ingest) reply.raw.writeContinue()
    return payload
  })
}

function probes(app: FastifyInstance, platform: Platform): void {
  const state = { type: 'object', properties: { status: { type: 'string' } } }
  const schema = (operationId: string, summary: string) => ({
    operationId,
    summary,
    tags: ['Probes'],
    security: [],
    response: jsonResponses(200, 'Yes.', state),
  })
  app.get('/healthz', { schema: schema('healthz', 'Whether the process answers') }, async () => ({ status: 'ok' }))
  app.get('/readyz', { schema: schema('readyz', 'Whether the platform is ready') }, async () => {
    const reason = platform.notReady()
    if (reason === undefined) return { status: 'ready', project: platform.project }
    throw new MillraceError('unavailable', 'not-ready', `Not ready: ${reason}.`, { hint: 'Ask again in a moment.' })
  })
}

/** What went wrong with a request, from the error handler to the channel. */
const failures = new WeakMap<object, unknown>()

function publishRequests(app: FastifyInstance): void {
  app.addHook('onResponse', async (request, reply) => {
    if (!requestChannel.hasSubscribers) return
    const error = reply.statusCode >= 500 ? failures.get(request.raw) : undefined
    const event: RequestEvent = {
      method: request.method,
      route: request.routeOptions.url ?? 'unknown',
      status: reply.statusCode,
      ms: reply.elapsedTime,
      bytesIn: Number(request.headers['content-length'] ?? 0),
      ...(error === undefined ? {} : { error }),
    }
    requestChannel.publish(event)
  })
}

/** A connection whose request was under way when the server began to close would otherwise be kept alive. */
function endConnectionsWhenClosing(app: FastifyInstance): void {
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onResponse', async () => {
    if (closing) setImmediate(() => app.server.closeIdleConnections())
  })
}

async function listen(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const details = { context: { host, port }, cause: error }
    if (code === 'EADDRINUSE') {
      throw new MillraceError('conflict', 'port-taken', `Port ${port} on ${host} is in use.`, {
        hint: 'Stop what uses it, or choose another with --port.',
        ...details,
      })
    }
    if (code === 'EACCES') {
      throw new MillraceError('denied', 'no-access', `Port ${port} on ${host} may not be opened by this user.`, {
        hint: 'Choose a port above 1023 with --port.',
        ...details,
      })
    }
    throw new MillraceError(
      'invalid',
      'bad-host',
      `The server cannot listen on ${host}:${port} (${code ?? String(error)}).`,
      {
        hint: 'Give an address of this machine as server.host.',
        ...details,
      },
    )
  }
  const address = app.server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

async function close(app: FastifyInstance, queries: Queries, clock: Clock): Promise<void> {
  const closed = new AbortController()
  const forced = clock.sleep(CLOSE_GRACE_MS, closed.signal).then(() => {
    if (!closed.signal.aborted) app.server.closeAllConnections()
  })
  await app.close()
  closed.abort()
  await forced
  await queries.close()
}

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import { parseJson, stringifyJson } from '../lake/json.ts'
import type { RestCatalog } from '../lake/rest/catalog.ts'
import { fromServer, statusOf } from './problem.ts'

/** Levels of a namespace in a path are divided by the unit separator (specification of the catalog). */
const LEVEL_SEPARATOR = '\x1f'

type Answer = (catalog: RestCatalog, request: CatalogRequest) => Promise<unknown>

interface CatalogRequest {
  readonly namespace: readonly string[]
  readonly table: string
  readonly query: Readonly<Record<string, string>>
  readonly body: unknown
}

interface Route {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE'
  /** As the specification writes it: what clients find under `endpoints`. */
  readonly path: string
  readonly answer: Answer
}

const NAMESPACES = '/v1/{prefix}/namespaces'
const NAMESPACE = `${NAMESPACES}/{namespace}`
const TABLES = `${NAMESPACE}/tables`
const TABLE = `${TABLES}/{table}`

/** The routes that clients are told of; an answer of undefined is 204. */
const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: NAMESPACES,
    answer: (catalog, { query }) => catalog.namespaces(levelsOf(query['parent'] ?? '')),
  },
  { method: 'POST', path: NAMESPACES, answer: (catalog, { body }) => catalog.createNamespace(body) },
  { method: 'GET', path: NAMESPACE, answer: (catalog, { namespace }) => catalog.namespace(namespace) },
  {
    method: 'HEAD',
    path: NAMESPACE,
    answer: async (catalog, { namespace }) => void (await catalog.namespace(namespace)),
  },
  { method: 'DELETE', path: NAMESPACE, answer: (catalog, { namespace }) => catalog.dropNamespace(namespace) },
  { method: 'GET', path: TABLES, answer: (catalog, { namespace }) => catalog.tables(namespace) },
  { method: 'POST', path: TABLES, answer: (catalog, { namespace, body }) => catalog.createTable(namespace, body) },
  {
    method: 'GET',
    path: TABLE,
    answer: (catalog, { namespace, table, query }) =>
      catalog.table(namespace, table, query['snapshots'] === 'refs' ? 'refs' : 'all'),
  },
  {
    method: 'HEAD',
    path: TABLE,
    answer: async (catalog, { namespace, table }) => void (await catalog.table(namespace, table, 'all')),
  },
  {
    method: 'POST',
    path: TABLE,
    answer: (catalog, { namespace, table, body }) => catalog.commit(namespace, table, body),
  },
  { method: 'DELETE', path: TABLE, answer: (catalog, { namespace, table }) => catalog.dropTable(namespace, table) },
]

/**
 * The Iceberg REST catalog at `/iceberg/v1/…`, in the terms of its specification: its own error documents, and integers of
 * 64 bits exact both ways. Engines attach with the URI `http://HOST:PORT/iceberg` and, where the server has one, the token.
 */
export function icebergRoutes(app: FastifyInstance, catalog: RestCatalog): void {
  void app.register(
    async (scope) => {
      speakIceberg(scope)
      scope.get('/v1/config', { schema: { hide: true } }, async () => ({
        defaults: catalog.defaults,
        overrides: {},
        endpoints: ROUTES.map(({ method, path }) => `${method} ${path}`),
      }))
      for (const { method, path, answer } of ROUTES) {
        scope.route({
          method,
          url: path.replace('/{prefix}', '').replaceAll(/\{(\w+)\}/g, ':$1'),
          schema: { hide: true },
          // Fastify would add HEAD to each GET itself: ours answer 204, as the specification has it.
          exposeHeadRoute: false,
          handler: async (request, reply) => {
            const result = await answer(catalog, requestOf(request))
            return result === undefined ? reply.code(204).send() : result
          },
        })
      }
    },
    { prefix: '/iceberg' },
  )
}

function speakIceberg(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, body: string) => {
    if (body === '') return undefined
    try {
      return parseJson(body)
    } catch (error) {
      throw new MillraceError('invalid', 'bad-json', `The body is not JSON: ${(error as Error).message}.`, {
        cause: error,
      })
    }
  })
  scope.setReplySerializer((payload) => stringifyJson(payload))
  scope.setErrorHandler((error, _request, reply) => sendError(reply, fromServer(error)))
  scope.setNotFoundHandler(async ({ method, url }) => {
    throw new MillraceError('invalid', 'not-supported', `This catalog does not have ${method} ${url}.`, {
      hint: 'What it has is told by /iceberg/v1/config.',
    })
  })
}

function requestOf(request: FastifyRequest): CatalogRequest {
  const { namespace = '', table = '' } = request.params as { namespace?: string; table?: string }
  const query = request.query as Record<string, string>
  return { namespace: levelsOf(namespace), table, query, body: request.body }
}

function levelsOf(text: string): string[] {
  return text === '' ? [] : text.split(LEVEL_SEPARATOR)
}

/** What clients do about an error follows from its type and status (`ErrorModel` of the specification). */
const ERRORS: Readonly<Record<string, readonly [type: string, status: number]>> = {
  'no-such-table': ['NoSuchTableException', 404],
  'no-such-namespace': ['NoSuchNamespaceException', 404],
  'table-exists': ['AlreadyExistsException', 409],
  'namespace-exists': ['AlreadyExistsException', 409],
  'namespace-not-empty': ['NamespaceNotEmptyException', 409],
  'requirement-failed': ['CommitFailedException', 409],
  // Nothing was committed: the client may load the table and try again.
  contended: ['CommitFailedException', 409],
  'commit-unknown': ['CommitStateUnknownException', 500],
  'not-supported': ['UnsupportedOperationException', 406],
  'token-missing': ['NotAuthorizedException', 401],
  'token-wrong': ['NotAuthorizedException', 401],
}

const ERRORS_BY_KIND: Readonly<Record<MillraceError['kind'], string>> = {
  invalid: 'BadRequestException',
  conflict: 'CommitFailedException',
  unavailable: 'ServiceUnavailableException',
  corrupt: 'InternalServerError',
  denied: 'ForbiddenException',
  internal: 'InternalServerError',
}

function sendError(reply: FastifyReply, error: MillraceError): FastifyReply {
  const [type, code] = ERRORS[error.code] ?? [ERRORS_BY_KIND[error.kind], statusOf(error)]
  const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`
  if (code === 401) void reply.header('www-authenticate', 'Bearer realm="millrace"')
  return reply.code(code).type('application/json').send({ error: { message, type, code } })
}

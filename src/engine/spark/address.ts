import { MillraceError } from '../../base/errors.ts'

/** Where a Spark Connect server is, and as whom to speak to it. */
export interface SparkAddress {
  readonly host: string
  readonly port: number
  readonly tls: boolean
  readonly token: string | undefined
  readonly userId: string
}

const PORT = 15002
const PARAMETERS = ['token', 'use_ssl', 'user_id']

/**
 * Reads `sc://host:port/;use_ssl=true;token=…;user_id=…`, the form that Spark's own clients take. Throws `invalid` /
 * `bad-spark-url`; the text of the URL, which may hold a token, is in no message.
 */
export function parseAddress(url: string): SparkAddress {
  const [, host, port = String(PORT), rest = ''] =
    /^sc:\/\/((?:[^\s:/;[\]]+)|\[[0-9a-f:.]+\])(?::(\d{1,5}))?\/?(?:;(.*))?$/i.exec(url) ?? []
  if (host === undefined || Number(port) > 65_535) throw badUrl('The URL of a Spark Connect server is not one')
  const given = new Map<string, string>()
  for (const part of rest.split(';').filter(Boolean)) {
    const at = part.indexOf('=')
    const name = at < 0 ? part : part.slice(0, at)
    if (at < 0 || !PARAMETERS.includes(name))
      throw badUrl(`The URL of Spark at ${host}:${port} has the parameter '${name}'`)
    given.set(name, decodeURIComponent(part.slice(at + 1)))
  }
  const token = given.get('token')
  const ssl = given.get('use_ssl') ?? String(token !== undefined)
  if (ssl !== 'true' && ssl !== 'false') throw badUrl(`use_ssl of Spark at ${host}:${port} is '${ssl}'`)
  if (token !== undefined && ssl === 'false' && !isLocal(host))
    throw badUrl(`The URL of Spark at ${host}:${port} would send its token unencrypted`)
  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: Number(port),
    tls: ssl === 'true',
    token,
    userId: given.get('user_id') ?? 'millrace',
  }
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host.startsWith('127.')
}

function badUrl(message: string): MillraceError {
  return new MillraceError('invalid', 'bad-spark-url', `${message}.`, {
    hint: 'Write sc://host:port, and after it /;use_ssl=true;token=TOKEN;user_id=NAME where needed.',
  })
}

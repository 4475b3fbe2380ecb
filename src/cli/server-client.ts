import { type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { type ErrorKind, MillraceError } from '../base/errors.ts'
import { type ServerNote, readServerNote } from './server-file.ts'

/** The HTTP interface of a server on this machine, as the command line uses it. */
export class ServerClient {
  readonly #note: ServerNote

  constructor(note: ServerNote) {
    this.#note = note
  }

  get url(): string {
    return this.#note.url
  }

  /** When it read the project's files, ms since the epoch. */
  get startedMs(): number {
    return this.#note.startedMs
  }

  /** The body of an answer. Throws what the server's problem document says. */
  async ask(method: 'GET' | 'POST', path: string, body?: unknown, accept = 'application/json'): Promise<Buffer> {
    const response = await this.#send(method, path, body, accept)
    const bytes = await buffer(response)
    if (response.statusCode! >= 400) throw problemError(bytes.toString('utf8'), response.statusCode!)
    return bytes
  }

  /** Has the server carry out a verb. Its connection may stay silent for as long as the work takes. */
  async control(verb: string, input: unknown, progress: (event: Record<string, unknown>) => void): Promise<unknown> {
    const response = await this.#send('POST', `/v1/control/${verb}`, input)
    if (response.statusCode! >= 400) {
      const text = (await buffer(response)).toString('utf8')
      throw problemError(text, response.statusCode!)
    }
    for await (const line of createInterface({ input: response })) {
      const message = JSON.parse(line) as {
        progress?: Record<string, unknown>
        result?: unknown
        problem?: Record<string, unknown>
      }
      if (message.progress) progress(message.progress)
      else if (message.problem) throw problemError(JSON.stringify(message.problem), Number(message.problem['status']))
      else return message.result
    }
    throw new MillraceError('unavailable', 'server-gone', `The server at ${this.url} ended before the work was done.`, {
      hint: 'Look at what it printed; nothing is half done, so the command can be given again.',
    })
  }

  #send(method: string, path: string, body: unknown, accept?: string): Promise<IncomingMessage> {
    const url = new URL(path, this.#note.url)
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    return new Promise((resolve, reject) => {
      const sent = request(
        url,
        {
          method,
          agent: false,
          headers: {
            authorization: `Bearer ${this.#note.token}`,
            ...(accept === undefined ? {} : { accept }),
            ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
          },
        },
        resolve,
      )
      sent.once('error', (cause) =>
        reject(
          new MillraceError(
            'unavailable',
            'server-unreachable',
            `The server at ${this.url} cannot be reached: ${cause.message}.`,
            {
              hint: 'Is it stopping? Try again in a moment.',
              cause,
            },
          ),
        ),
      )
      sent.end(payload)
    })
  }
}

const PING_MS_MAX = 2_000

/** The server that runs on a data directory; undefined when there is none that answers to its token. */
export async function runningServer(data: string): Promise<ServerClient | undefined> {
  const note = readServerNote(data)
  if (note === undefined) return undefined
  const client = new ServerClient(note)
  const silence = new Promise<undefined>((resolve) => setTimeout(resolve, PING_MS_MAX, undefined).unref())
  try {
    return await Promise.race([client.control('ping', {}, () => undefined).then(() => client), silence])
  } catch {
    return undefined
  }
}

function problemError(text: string, status: number): MillraceError {
  let problem: Record<string, unknown> = {}
  try {
    problem = JSON.parse(text) as Record<string, unknown>
  } catch {
    // Not a problem document: something between us and the server answered.
  }
  const { type: _type, title, status: _status, detail, code, hint, ...context } = problem
  return new MillraceError(
    kindOf(status),
    typeof code === 'string' ? code : 'bad-answer',
    typeof detail === 'string'
      ? detail
      : `The server answered ${status} ${typeof title === 'string' ? title : ''}`.trim(),
    {
      ...(typeof hint === 'string' ? { hint } : {}),
      context: context as Record<string, string | number | boolean>,
    },
  )
}

function kindOf(status: number): ErrorKind {
  if (status === 401 || status === 403) return 'denied'
  if (status === 409) return 'conflict'
  if (status === 429 || status === 503) return 'unavailable'
  return status < 500 ? 'invalid' : 'internal'
}

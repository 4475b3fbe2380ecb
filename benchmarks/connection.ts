import { type Socket, connect } from 'node:net'

interface Answer {
  readonly status: number
  readonly retryAfter: number
}

/** One keep-alive connection with one request on it at a time. */
export class Connection {
  readonly #host: string
  readonly #socket: Socket
  #answered: ((answer: Answer) => void) | undefined
  #failed: ((error: Error) => void) | undefined

  constructor(url: URL) {
    this.#host = url.host
    this.#socket = connect(Number(url.port), url.hostname)
    this.#socket.setNoDelay(true)
    let text = ''
    this.#socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const head = text.indexOf('\r\n\r\n')
      if (head === -1) return
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      if (text.length < head + 4 + length) return
      const answer = {
        status: Number(text.slice(9, 12)),
        retryAfter: Number(/retry-after: (\d+)/i.exec(text)?.[1] ?? 0),
      }
      text = ''
      this.#answered?.(answer)
    })
    this.#socket.on('error', (error) => this.#failed?.(error))
    this.#socket.on('close', () => this.#failed?.(new Error('the server closed the connection')))
  }

  post(path: string, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#answered = resolve
      this.#failed = reject
      this.#socket.cork()
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\nhost: ${this.#host}\r\ncontent-type: application/x-ndjson\r\ncontent-length: ${body.length}\r\n\r\n`,
      )
      this.#socket.write(body)
      this.#socket.uncork()
    })
  }

  close(): void {
    this.#failed = undefined
    this.#socket.destroy()
  }
}

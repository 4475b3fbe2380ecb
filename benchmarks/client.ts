// A client process: posts the lines of a file in batches and reports when they were acknowledged. It writes requests to
// sockets itself, so that it takes as little as can be of the processors that it shares with the server.
// Arguments: url, file, records per batch, connections, events per second (0: as fast as answered).
import { open } from 'node:fs/promises'
import { type Socket, connect } from 'node:net'

const [urlText, file, batchText, connectionsText, rateText] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
]
const url = new URL(urlText)
const batch = Number(batchText)
const rate = Number(rateText)

interface Answer {
  readonly status: number
  readonly retryAfter: number
}

/** One keep-alive connection with one request on it at a time. */
class Connection {
  readonly #socket: Socket
  #answered: ((answer: Answer) => void) | undefined
  #failed: ((error: Error) => void) | undefined

  constructor() {
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

  post(body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#answered = resolve
      this.#failed = reject
      this.#socket.cork()
      this.#socket.write(
        `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/x-ndjson\r\ncontent-length: ${body.length}\r\n\r\n`,
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

/** Batches of lines, read ahead in large blocks. */
async function* batches(): AsyncGenerator<{ body: Buffer; records: number }> {
  const handle = await open(file, 'r')
  let rest = Buffer.alloc(0)
  for (;;) {
    const block = Buffer.allocUnsafe(1 << 24)
    const { bytesRead } = await handle.read(block, 0, block.length)
    const data = rest.length === 0 ? block.subarray(0, bytesRead) : Buffer.concat([rest, block.subarray(0, bytesRead)])
    let from = 0
    let lines = 0
    for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10, at + 1)) {
      if (++lines < batch) continue
      yield { body: data.subarray(from, at + 1), records: lines }
      from = at + 1
      lines = 0
    }
    rest = data.subarray(from)
    if (bytesRead > 0) continue
    if (lines > 0) yield { body: rest, records: lines }
    break
  }
  await handle.close()
}

const started = performance.now()
let sent = 0
let refused = 0
const latencies: number[] = []
const source = batches()

/** Takes batches in turn with the other connections. */
async function work(): Promise<void> {
  const connection = new Connection()
  for (;;) {
    const { value, done } = await source.next()
    if (done === true) break
    if (rate > 0) {
      const wait = started + (sent / rate) * 1_000 - performance.now()
      sent += value.records
      if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait))
    } else {
      sent += value.records
    }
    const begun = performance.now()
    for (;;) {
      const { status, retryAfter } = await connection.post(value.body)
      if (status === 202) break
      if (status !== 429) throw new Error(`HTTP ${status}`)
      refused++
      await new Promise((resolve) => setTimeout(resolve, retryAfter * 1_000))
    }
    latencies.push(performance.now() - begun)
  }
  connection.close()
}

await Promise.all(Array.from({ length: Number(connectionsText) }, work))
latencies.sort((a, b) => a - b)
const at = (q: number) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))]!
const { user, system } = process.cpuUsage()
console.log(
  JSON.stringify({
    seconds: (performance.now() - started) / 1_000,
    sent,
    refused,
    ack_p50_ms: at(0.5),
    ack_p99_ms: at(0.99),
    cpu_seconds: (user + system) / 1e6,
  }),
)

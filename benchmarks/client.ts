// A client process: posts the lines of a file in batches and reports when they were acknowledged. It writes requests to
// sockets itself, so that it takes as little as can be of the processors that it shares with the server.
// Arguments: url, file, records per batch, connections, events per second (0: as fast as answered).
import { batches } from './batches.ts'
import { Connection } from './connection.ts'

const [urlText, file, batchText, connectionsText, rateText] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
]
const url = new URL(urlText)
const rate = Number(rateText)

const started = performance.now()
let sent = 0
let refused = 0
const latencies: number[] = []
const source = batches(file, Number(batchText))

/** Takes batches in turn with the other connections. */
async function work(): Promise<void> {
  const connection = new Connection(url)
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
      const { status, retryAfter } = await connection.post(url.pathname, value.body)
      if (status === 202) break
      if (status !== 429) throw new Error(`HTTP ${status}`)
      refused++
      await new Promise((resolve) => setTimeout(resolve, retryAfter * 1_000))
    }
    latencies.push(performance.now() - begun)
  }
  connection.close()
}

try {
  await Promise.all(Array.from({ length: Number(connectionsText) }, work))
} catch (error) {
  // The report says so: a server may be killed on purpose.
  console.log(JSON.stringify({ error: String(error) }))
  process.exit(1)
}
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

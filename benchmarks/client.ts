// A client process: posts the lines of a file in batches and reports when each was acknowledged.
// Arguments: url, file, records per batch, requests in flight, events per second (0: as fast as answered).
import { open } from 'node:fs/promises'
import { Agent, request } from 'node:http'

const [url, file, batchText, flightText, rateText] = process.argv.slice(2) as [string, string, string, string, string]
const batch = Number(batchText)
const rate = Number(rateText)
const agent = new Agent({ keepAlive: true, maxSockets: Number(flightText) })

function post(body: Buffer): Promise<{ status: number; retryAfter: number }> {
  return new Promise((resolve, reject) => {
    const req = request(
      url,
      { method: 'POST', agent, headers: { 'content-type': 'application/x-ndjson', 'content-length': body.length } },
      (res) => {
        res.resume()
        res.on('end', () => resolve({ status: res.statusCode!, retryAfter: Number(res.headers['retry-after'] ?? 0) }))
      },
    )
    req.on('error', reject)
    req.end(body)
  })
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
    let at = 0
    let lines = 0
    while ((at = data.indexOf(10, at)) !== -1) {
      at++
      if (++lines === batch) {
        yield { body: data.subarray(from, at), records: lines }
        from = at
        lines = 0
      }
    }
    rest = data.subarray(from)
    if (bytesRead === 0) {
      if (lines > 0) yield { body: rest, records: lines }
      break
    }
  }
  await handle.close()
}

const started = performance.now()
let sent = 0
let refused = 0
const latencies: number[] = []
const flight = new Set<Promise<void>>()
for await (const { body, records } of batches()) {
  if (rate > 0) {
    const due = started + (sent / rate) * 1_000
    const wait = due - performance.now()
    if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait))
  }
  sent += records
  const one = (async () => {
    const begin = performance.now()
    for (;;) {
      const { status, retryAfter } = await post(body)
      if (status === 202) break
      if (status !== 429) throw new Error(`HTTP ${status}`)
      refused++
      await new Promise((resolve) => setTimeout(resolve, retryAfter * 1_000))
    }
    latencies.push(performance.now() - begin)
  })().finally(() => flight.delete(one))
  flight.add(one)
  if (flight.size >= Number(flightText)) await Promise.race(flight)
}
await Promise.all(flight)
latencies.sort((a, b) => a - b)
const at = (q: number) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))]!
console.log(
  JSON.stringify({
    seconds: (performance.now() - started) / 1_000,
    sent,
    refused,
    ack_p50_ms: at(0.5),
    ack_p99_ms: at(0.99),
    cpu_seconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
  }),
)
agent.destroy()

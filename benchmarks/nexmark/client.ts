// A client process: posts the files of several streams side by side, so that all are as far in event time, and reports
// how long that took. Arguments: url, connections, and for each stream its name, file and records per batch.
import { Connection } from '../connection.ts'
import { turns } from './turns.ts'

const [urlText, connectionsText, ...streams] = process.argv.slice(2) as [string, string, ...string[]]
const url = new URL(urlText)

const source = turns(
  Array.from({ length: streams.length / 3 }, (_, i) => {
    const [stream, path, records] = streams.slice(i * 3, i * 3 + 3) as [string, string, string]
    return { stream, path, records: Number(records) }
  }),
)

let sent = 0
let refused = 0
/** When one is told to wait, all wait: batches that overtook it by seconds would be out of order by minutes of event time. */
let pause: Promise<void> | undefined

async function work(): Promise<void> {
  const connection = new Connection(url)
  for (;;) {
    await pause
    const { value, done } = await source.next()
    if (done === true) break
    for (;;) {
      const { status, retryAfter } = await connection.post(`/v1/streams/${value.stream}`, value.batch.body)
      if (status === 202) break
      if (status !== 429) throw new Error(`HTTP ${status}`)
      refused++
      await (pause ??= new Promise((resolve) => setTimeout(resolve, retryAfter * 1_000)))
      pause = undefined
    }
    sent += value.batch.records
  }
  connection.close()
}

const started = performance.now()
await Promise.all(Array.from({ length: Number(connectionsText) }, work))
const { user, system } = process.cpuUsage()
console.log(
  JSON.stringify({ seconds: (performance.now() - started) / 1_000, sent, refused, cpu_seconds: (user + system) / 1e6 }),
)

import { Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { recordsFrom } from '../../log/conformance.ts'
import { BROKERS, kafkaHome } from './home.ts'

/** Connections of this process to the brokers. */
function connections(): Socket[] {
  const ports = new Set(BROKERS.map((broker) => Number(broker.split(':').at(-1))))
  // The only way to a driver's sockets, which are cut as a network would cut them.
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles(): unknown[] }
  return handles
    .call(process)
    .filter((handle): handle is Socket => handle instanceof Socket && ports.has(handle.remotePort ?? 0))
}

test('records are there once and in order though connections break again and again', async () => {
  const home = await kafkaHome({ partitions: 1, marks: false })
  onTestFinished(() => home.remove())
  const log = await home.open()
  const partition = log.partitions[0]!
  await partition.follow(0)
  const ledger = new Map<number, string[]>()
  let done = false
  const read = (async () => {
    const records: string[] = []
    let next = 0
    while (!done || next < partition.end) {
      for (const segment of next < partition.end ? await partition.take(next) : []) {
        const offsets = Array.from(
          { length: segment.to - Math.max(next, segment.from) },
          (_, i) => Math.max(next, segment.from) + i,
        )
        records.push(...(await partition.readRecords(segment, offsets)).map(String))
        next = segment.to
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return records
  })()
  let n = 0
  let cuts = 0
  const sender = async () => {
    for (let i = 0; i < 60 || cuts <= 10; i++) {
      const records = Array.from({ length: 1 + ((i * 37) % 300) }, () => `{"n":${n++}}`)
      const { from } = await partition.append({
        lines: Buffer.from(records.map((record) => `${record}\n`).join('')),
        records: records.length,
      })
      ledger.set(from, records)
    }
  }
  const cutting = setInterval(() => {
    for (const socket of connections()) {
      socket.destroy()
      cuts++
    }
  }, 45)
  await Promise.all([sender(), sender(), sender(), sender()])
  clearInterval(cutting)
  done = true
  const records = await read
  expect(records).toHaveLength(n)
  expect(new Set(records).size).toBe(n)
  for (const [from, sent] of ledger) expect(records.slice(from, from + sent.length)).toEqual(sent)
  await log.close()
  const again = await home.open()
  expect(await recordsFrom(again.partitions[0]!)).toEqual(records)
  await again.close()
})

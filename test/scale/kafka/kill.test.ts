import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { recordsFrom } from '../../log/conformance.ts'
import { BROKERS, kafkaHome } from './home.ts'

test('kill -9 while appending loses nothing acknowledged and doubles nothing', async () => {
  const home = await kafkaHome({ partitions: 1, stream: 'ledger', marks: false })
  onTestFinished(() => home.remove())
  const { topicPrefix } = home.options.config
  /** First number and count of each acknowledged append, by its offset. */
  const ledger = new Map<number, readonly [number, number]>()
  for (let round = 0; round < 5; round++) {
    const args = [BROKERS.join(','), topicPrefix!, home.directory, String(round * 1_000_000)]
    const child = spawn(process.execPath, [fileURLToPath(import.meta.resolve('./appender.ts')), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })
    let acks = 0
    lines.on('line', (line) => {
      if (line === 'ready') return
      const [offset, first, count] = line.split(' ').map(Number)
      ledger.set(offset!, [first!, count!])
      if (++acks === 60 + round * 83) child.kill('SIGKILL')
    })
    await Promise.all([once(child, 'exit'), once(lines, 'close')])
  }
  const log = await home.open()
  const numbers = (await recordsFrom(log.partitions[0]!)).map((record) => (JSON.parse(record) as { n: number }).n)
  expect(new Set(numbers).size).toBe(numbers.length)
  for (const [offset, [first, count]] of ledger) {
    expect(numbers.slice(offset, offset + count)).toEqual(Array.from({ length: count }, (_, i) => first + i))
  }
  expect(ledger.size).toBeGreaterThan(1_000)
  await log.close()
})

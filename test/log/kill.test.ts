import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { numbered, recordsFrom } from './conformance.ts'
import { localHome } from './home.ts'

test('kill -9 while appending, sealing and merging loses nothing acknowledged', async () => {
  const home = await localHome()
  let acknowledged = 0
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.resolve('./appender.ts')), home.directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })
    const killAfter = 40 + round * 97
    let acks = 0
    lines.on('line', (line) => {
      const [from, to] = line.split(' ')
      if (from === 'ready') return expect(Number(to)).toBeGreaterThanOrEqual(acknowledged)
      acknowledged = Math.max(acknowledged, Number(to))
      if (++acks === killAfter) child.kill('SIGKILL')
    })
    await Promise.all([once(child, 'exit'), once(lines, 'close')])
    expect(acks).toBeGreaterThanOrEqual(killAfter)
  }
  const log = await home.open({ partitions: 1 })
  const partition = log.partitions[0]!
  expect(partition.start).toBe(0)
  expect(partition.end).toBeGreaterThanOrEqual(acknowledged)
  expect(await recordsFrom(partition)).toEqual(numbered(0, partition.end))
  expect((await partition.verify()).corruption).toBeUndefined()
  await log.close()
  await home.remove()
})

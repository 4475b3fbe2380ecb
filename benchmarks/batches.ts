import { open } from 'node:fs/promises'

export interface Batch {
  readonly body: Buffer
  readonly records: number
}

/** Batches of so many lines of a file, read in large blocks. */
export async function* batches(file: string, records: number): AsyncGenerator<Batch> {
  const handle = await open(file, 'r')
  let rest = Buffer.alloc(0)
  for (;;) {
    const block = Buffer.allocUnsafe(1 << 24)
    const { bytesRead } = await handle.read(block, 0, block.length)
    const data = rest.length === 0 ? block.subarray(0, bytesRead) : Buffer.concat([rest, block.subarray(0, bytesRead)])
    let from = 0
    let lines = 0
    for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10, at + 1)) {
      if (++lines < records) continue
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

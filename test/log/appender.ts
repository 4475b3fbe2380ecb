import { systemClock } from '../../src/base/clock.ts'
import { openLocalLog } from '../../src/log/local/open.ts'
import { systemDisk } from '../../src/storage/disk.ts'

// Appends to the log in the directory given until killed, sealing and merging on the way; a line of output is an
// acknowledgement: `<from> <to>`. Records are their own offsets.
const log = await openLocalLog({
  directory: process.argv[2]!,
  stream: 'orders',
  partitions: 1,
  disk: systemDisk,
  clock: systemClock,
  limits: { segmentBytes: 20_000, mergedBytes: 50_000, mergedFiles: 4 },
  onFatal: (error) => {
    throw error
  },
})
const partition = log.partitions[0]!
let next = partition.end
console.log(`ready ${next}`)

async function appendForEver(size: number): Promise<void> {
  for (;;) {
    const records = Array.from({ length: size }, (_, i) => `{"n":${next + i}}\n`)
    next += size
    const { from, to } = await partition.append({ lines: Buffer.from(records.join('')), records: size })
    console.log(`${from} ${to}`)
  }
}

for (const size of [1, 7, 50]) void appendForEver(size)
for (;;) {
  const segments = await partition.take(partition.checkpoint)
  partition.checkpointed(segments.at(-1)?.to ?? partition.checkpoint)
  await partition.compact()
}

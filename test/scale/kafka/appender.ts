import { systemClock } from '../../../src/base/clock.ts'
import { openKafkaLog } from '../../../src/log/kafka/open.ts'
import { systemDisk } from '../../../src/storage/disk.ts'

// Appends to a topic until killed; a line of output is an acknowledgement: `<offset> <first number> <numbers>`. Records are numbers that
// this process alone writes.
const [brokers, topicPrefix, directory, first] = process.argv.slice(2)
const log = await openKafkaLog({
  config: { brokers: brokers!.split(','), topicPrefix: topicPrefix!, replication: brokers!.split(',').length },
  stream: 'ledger',
  partitions: 1,
  directory: directory!,
  disk: systemDisk,
  clock: systemClock,
  onFatal: (error) => {
    throw error
  },
})
const partition = log.partitions[0]!
let next = Number(first)
console.log('ready')

async function appendForEver(size: number): Promise<void> {
  for (;;) {
    const from = next
    next += size
    const lines = Array.from({ length: size }, (_, i) => `{"n":${from + i}}\n`).join('')
    const appended = await partition.append({ lines: Buffer.from(lines), records: size })
    console.log(`${appended.from} ${from} ${size}`)
  }
}

for (const size of [1, 7, 50, 400]) void appendForEver(size)

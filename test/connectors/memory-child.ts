import { createWriteStream, rmSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { readFile, scanFiles } from '../../src/connectors/files.ts'
import { source } from '../../src/project/source.ts'

// Run by memory.test.ts in a process of its own: writes a file of so many bytes, reads it, prints the peak of memory that reading added.
const [directory, name, size] = process.argv.slice(2)
const path = join(directory!, name!)
const line = name!.endsWith('.json')
  ? Buffer.from(`{"id":12345678901234567890,"text":"${'abcdefghij'.repeat(8)}","list":[1,2,3]},`.repeat(5000))
  : Buffer.from(`12345,"a quoted, value","line one\nline two",${'abcdefghij'.repeat(6)}\n`.repeat(5000))

const stream = createWriteStream(path)
if (name!.endsWith('.json')) stream.write('[')
for (let written = 0; written < Number(size); written += line.length) {
  if (!stream.write(line)) await once(stream, 'drain')
}
stream.end(name!.endsWith('.json') ? '{"id":1}]' : '')
await once(stream, 'finish')

const declared = source.files({ path: name!, ...(name!.endsWith('.csv') ? { header: ['a', 'b', 'c', 'd'] } : {}) })
const [file] = await scanFiles(declared, directory!)
const before = process.memoryUsage().rss
let peak = before
let records = 0
for await (const batch of readFile(declared, file!)) {
  records += batch.records
  peak = Math.max(peak, process.memoryUsage().rss)
}
rmSync(path)
console.log(JSON.stringify({ records, bytes: file!.bytes, growth: peak - before }))

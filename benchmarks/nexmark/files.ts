import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { type ArrivalOptions, arrivals } from './arrivals.ts'
import { type GeneratorOptions, NexmarkGenerator, STREAMS, type StreamName } from './generator.ts'

export interface Written {
  readonly path: string
  readonly lines: number
  readonly bytes: number
}

const BLOCK_BYTES = 1 << 22

/** Writes events to a file for each stream, `persons.ndjson` and so on, in the order of their arrival. */
export function writeNexmark(
  directory: string,
  count: number,
  generator: GeneratorOptions,
  arrival?: ArrivalOptions,
): Record<StreamName, Written> {
  const files = STREAMS.map((stream) => new File(join(directory, `${stream}.ndjson`)))
  const of = Object.fromEntries(STREAMS.map((stream, i) => [stream, files[i]!])) as Record<StreamName, File>
  try {
    if (arrival) {
      for (const { stream, line } of arrivals(count, generator, arrival)) of[stream].add(line)
    } else {
      const source = new NexmarkGenerator(generator)
      for (let n = 0; n < count; n++) {
        const stream = source.next()
        of[stream].lines++
        if (source.lines[stream].length > BLOCK_BYTES) of[stream].write(source.lines[stream].take())
      }
      for (const stream of STREAMS) of[stream].write(source.lines[stream].take())
    }
  } finally {
    for (const file of files) file.close()
  }
  return of
}

class File implements Written {
  lines = 0
  bytes = 0
  readonly path: string
  readonly #file: number
  #waiting: Uint8Array[] = []
  #waitingBytes = 0

  constructor(path: string) {
    this.path = path
    this.#file = openSync(path, 'w')
  }

  add(line: Uint8Array): void {
    this.lines++
    this.#waiting.push(line)
    this.#waitingBytes += line.length
    if (this.#waitingBytes > BLOCK_BYTES) this.#flush()
  }

  write(block: Uint8Array): void {
    this.bytes += block.length
    for (let at = 0; at < block.length;) at += writeSync(this.#file, block, at)
  }

  close(): void {
    this.#flush()
    closeSync(this.#file)
  }

  #flush(): void {
    this.write(Buffer.concat(this.#waiting))
    this.#waiting = []
    this.#waitingBytes = 0
  }
}

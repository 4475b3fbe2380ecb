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
  if (arrival === undefined) return writeNext(directory, count, new NexmarkGenerator(generator))
  return written(directory, (files) => {
    for (const { stream, line } of arrivals(count, generator, arrival)) files[stream].add(line)
  })
}

/** As `writeNexmark`, the next events of a generator in their own order. */
export function writeNext(directory: string, count: number, source: NexmarkGenerator): Record<StreamName, Written> {
  return written(directory, (files) => {
    for (let n = 0; n < count; n++) {
      const stream = source.next()
      files[stream].lines++
      if (source.lines[stream].length > BLOCK_BYTES) files[stream].write(source.lines[stream].take())
    }
    for (const stream of STREAMS) files[stream].write(source.lines[stream].take())
  })
}

function written(directory: string, write: (files: Record<StreamName, File>) => void): Record<StreamName, Written> {
  const files = STREAMS.map((stream) => [stream, new File(join(directory, `${stream}.ndjson`))] as const)
  try {
    const of = Object.fromEntries(files) as Record<StreamName, File>
    write(of)
    return of
  } finally {
    for (const [, file] of files) file.close()
  }
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

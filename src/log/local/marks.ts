import { crc32 } from 'node:zlib'
import type { Disk } from '../../storage/disk.ts'
import type { Mark } from '../log.ts'
import { corruption, hex } from './frame.ts'
import { marksPath } from './names.ts'

interface Entry {
  readonly from: number
  to: number
  readonly mark: unknown
  readonly json: string
}

interface SidecarLine {
  readonly to: number
  readonly marks: readonly (readonly [number, number, unknown])[]
}

/** `,"crc":"1a2b3c4d"}` */
const SEAL_LENGTH = 18

/** All source marks of one partition: from `marks.ndjson` below `covered`, from frame headers above. */
export class MarkLedger {
  readonly #disk: Disk
  readonly #path: string
  readonly #partition: number
  readonly #entries: Entry[] = []
  /** Length of the sidecar's valid lines. */
  #length = 0
  #covered = 0

  private constructor(disk: Disk, directory: string, partition: number) {
    this.#disk = disk
    this.#path = marksPath(directory)
    this.#partition = partition
  }

  /** Reads the sidecar; the marks of frames at or after `covered` are to be added by the caller, in order. */
  static async open(disk: Disk, directory: string, partition: number): Promise<MarkLedger> {
    const ledger = new MarkLedger(disk, directory, partition)
    if ((await disk.stat(ledger.#path)) !== undefined) ledger.#load(await disk.readFile(ledger.#path))
    return ledger
  }

  /** Every mark below this offset is in the sidecar. */
  get covered(): number {
    return this.#covered
  }

  /** Records [from, to) came from `mark`. What the sidecar covers is known already and ignored. */
  add(from: number, to: number, mark: unknown): void {
    if (from < this.#covered) return
    this.#insert(from, to, mark)
  }

  list(): Mark[] {
    return this.#entries.map(({ from, to, mark }) => ({ partition: this.#partition, offset: from, to, mark }))
  }

  /**
   * Makes the marks below `to`, the border of a file, durable apart from the frames that hold them. The caller syncs the
   * directory before it removes those.
   */
  async cover(to: number): Promise<void> {
    if (to <= this.#covered) return
    const marks = this.#entries.filter((entry) => this.#isNew(entry, to)).map((entry) => this.#clipped(entry, to))
    const text = JSON.stringify({ to, marks }).slice(0, -1)
    const line = Buffer.from(`${text},"crc":"${hex(crc32(text))}"}\n`)
    const file = await this.#disk.open(this.#path, 'append')
    try {
      // A line that an earlier call failed to write whole must not stay in front of this one.
      if ((await file.size()) !== this.#length) await file.truncate(this.#length)
      await file.write(line)
      await file.dataSync()
    } finally {
      await file.close()
    }
    this.#length += line.length
    this.#covered = to
  }

  /** Whether some of an entry lies in [covered, to). A mark without records belongs to the file that ends there. */
  #isNew(entry: Entry, to: number): boolean {
    if (entry.from === entry.to) return entry.from >= this.#covered && entry.from <= to
    return entry.to > this.#covered && entry.from < to
  }

  #clipped(entry: Entry, to: number): SidecarLine['marks'][number] {
    return [Math.max(entry.from, this.#covered), Math.min(entry.to, to), entry.mark]
  }

  #insert(from: number, to: number, mark: unknown): void {
    const json = JSON.stringify(mark)
    const last = this.#entries.at(-1)
    if (last !== undefined && last.to === from && last.json === json) {
      last.to = to
      return
    }
    const known = this.#entries.findLast((entry) => entry.from === from && entry.to === to && entry.json === json)
    if (from === to && known !== undefined) return
    this.#entries.push({ from, to, mark, json })
  }

  #load(bytes: Buffer): void {
    while (this.#length < bytes.length) {
      const newline = bytes.indexOf(10, this.#length)
      const line = bytes.subarray(this.#length, newline === -1 ? bytes.length : newline)
      const checked = line.subarray(0, Math.max(0, line.length - SEAL_LENGTH))
      if (newline === -1 || line.toString('latin1', checked.length) !== `,"crc":"${hex(crc32(checked))}"}`) {
        const rest = bytes.subarray(this.#length)
        if (newline === -1 || rest.includes(0)) return
        throw corruption(this.#path, this.#length, 'the CRC of the line does not match')
      }
      const { to, marks } = JSON.parse(line.toString('utf8')) as SidecarLine
      for (const [from, end, mark] of marks) this.#insert(from, end, mark)
      this.#covered = to
      this.#length = newline + 1
    }
  }
}

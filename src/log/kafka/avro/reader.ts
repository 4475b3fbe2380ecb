/** Bytes that are not what their schema says. `message` completes a sentence about the record. */
export class Unreadable extends Error {}

/** Reads Avro's binary encoding (spec 1.12, "Binary Encoding"). Errors: `Unreadable` with the position, at the end of the bytes too. */
export class AvroReader {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  /** Records that the value being read is within. */
  depth = 0

  /** Begins with other bytes. */
  reset(bytes: Buffer): void {
    this.bytes = bytes
    this.at = this.depth = 0
  }

  get left(): number {
    return this.bytes.length - this.at
  }

  byte(): number {
    const byte = this.bytes[this.at]
    if (byte === undefined) throw this.wrong('it ends there')
    this.at++
    return byte
  }

  /** An int or long, which is a bigint where a number would not be exact. */
  long(): number | bigint {
    const from = this.at
    // 28 bits at a time, as far as operators on 32 bits go.
    let low = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte()
      low |= (byte & 0x7f) << shift
      if (byte < 0x80) return (low >>> 1) ^ -(low & 1)
    }
    let high = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte()
      high |= (byte & 0x7f) << shift
      if (byte >= 0x80) continue
      if (high >= 2 ** 25) break
      const zigzag = high * 2 ** 28 + low
      return low % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
    }
    this.at = from
    return this.#wide()
  }

  #wide(): number | bigint {
    let zigzag = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte()
      zigzag |= BigInt(byte & 0x7f) << shift
      if (byte >= 0x80) continue
      const value = BigInt.asIntN(64, (zigzag >> 1n) ^ -(zigzag & 1n))
      return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
    }
    throw this.wrong('a number has more than ten bytes')
  }

  /** The number of bytes or items that follow, which cannot be more than there are bytes left. */
  count(value = this.long()): number {
    if (value < 0 || value > this.left) throw this.wrong(`${value} bytes or items cannot follow`)
    return Number(value)
  }

  /** The position of so many bytes, which are passed over. */
  skip(bytes: number): number {
    if (bytes > this.left) throw this.wrong(`${bytes} bytes are missing`)
    this.at += bytes
    return this.at - bytes
  }

  take(bytes: number): Buffer {
    const from = this.skip(bytes)
    return this.bytes.subarray(from, this.at)
  }

  float(): number {
    return this.bytes.readFloatLE(this.skip(4))
  }

  double(): number {
    return this.bytes.readDoubleLE(this.skip(8))
  }

  wrong(what: string): Unreadable {
    return new Unreadable(`at byte ${this.at} ${what}`)
  }
}

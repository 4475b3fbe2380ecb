/** Reads the flexible versions of Kafka's protocol (KIP-482) from one buffer. */
export class WireReader {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  int16(): number {
    this.at += 2
    return this.bytes.readInt16BE(this.at - 2)
  }

  int32(): number {
    this.at += 4
    return this.bytes.readInt32BE(this.at - 4)
  }

  /** An integer of 64 bits that is an offset or a time, and so fits a number. */
  long(): number {
    return Number(this.bigint())
  }

  bigint(): bigint {
    this.at += 8
    return this.bytes.readBigInt64BE(this.at - 8)
  }

  uvarint(): number {
    let value = 0
    for (let unit = 1; ; unit *= 0x80) {
      const byte = this.bytes.readUInt8(this.at++)
      value += (byte & 0x7f) * unit
      if (byte < 0x80) return value
    }
  }

  /** Bytes with their length before them, as strings, records and nullable forms of both have it. */
  compactBytes(): Buffer | undefined {
    const length = this.uvarint() - 1
    if (length < 0) return undefined
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }

  compactString(): string | undefined {
    return this.compactBytes()?.toString('utf8')
  }

  array<T>(item: () => T): T[] {
    return Array.from({ length: Math.max(0, this.uvarint() - 1) }, item)
  }

  skipTags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint()
      this.at += this.uvarint()
    }
  }
}

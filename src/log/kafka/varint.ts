// Zigzag variable-length integers as Protocol Buffers and Kafka's records have them
// (https://kafka.apache.org/documentation/#messageformat). Lengths and offset deltas fit 32 bits; timestamps may not.

/** Bytes that a 32-bit integer takes. */
export function varintBytes(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x20_0000 ? 3 : zigzag < 0x1000_0000 ? 4 : 5
}

/** Writes a 32-bit integer; returns the position behind it. */
export function writeVarint(out: Uint8Array, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  while (zigzag > 0x7f) {
    out[at++] = (zigzag & 0x7f) | 0x80
    zigzag >>>= 7
  }
  out[at++] = zigzag
  return at
}

/** Reads integers one after the other. What it reads was checked by a CRC, so that running past the end is a broken producer's doing. */
export class VarintReader {
  readonly bytes: Uint8Array
  at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  /** A 32-bit integer. */
  int(): number {
    const { bytes } = this
    let byte = bytes[this.at++]!
    let zigzag = byte & 0x7f
    for (let shift = 7; byte > 0x7f && shift < 35; shift += 7) {
      byte = bytes[this.at++]!
      zigzag |= (byte & 0x7f) << shift
    }
    return (zigzag >>> 1) ^ -(zigzag & 1)
  }

  /** An integer of up to 53 bits. */
  long(): number {
    const { bytes } = this
    let byte = bytes[this.at++]!
    let zigzag = byte & 0x7f
    for (let unit = 0x80; byte > 0x7f; unit *= 0x80) {
      byte = bytes[this.at++]!
      zigzag += (byte & 0x7f) * unit
    }
    return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
  }
}

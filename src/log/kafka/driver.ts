import { constants, gunzipSync, zstdCompress, zstdDecompressSync } from 'node:zlib'
import type * as Library from '@platformatic/kafka'
import { MillraceError } from '../../base/errors.ts'
import { frameContentSize } from '../local/merged.ts'
import type { Codec } from './decode.ts'

/** The client library, which is installed where Kafka is used. */
export type Driver = typeof Library

/** Errors: `invalid`/`driver-missing`. */
export async function loadDriver(): Promise<Driver> {
  try {
    return await import('@platformatic/kafka')
  } catch (cause) {
    throw new MillraceError(
      'invalid',
      'driver-missing',
      'The log is on Kafka, and the client for it is not installed.',
      {
        hint: 'Run `npm install @platformatic/kafka`.',
        cause,
      },
    )
  }
}

/** What a batch may grow to when it is decompressed: a few bytes must not fill the memory. */
const CONTENT_BYTES_MAX = 512 * 1024 * 1024
/** On lines of JSON as fast as the levels below it, and smaller. */
const ZSTD_LEVEL = 1
/** Bytes that come out at once: by the default of 16 KiB, a batch would be put together of hundreds of pieces. */
const CHUNK_BYTES_MIN = 64 * 1024
const CHUNK_BYTES_MAX = 8 * 1024 * 1024

/** CRC and decompression of record batches. */
export function codecOf(driver: Driver): Codec {
  const { lz4, snappy } = driver.compressionsAlgorithms
  return {
    // Given as it is, the driver would copy it first.
    crc32c: (bytes) => driver.crc32c(driver.Writer.create().append(bytes).dynamicBuffer),
    decompress(by, bytes) {
      switch (by) {
        case 'none':
          return bytes
        case 'gzip':
          return gunzipSync(bytes, { maxOutputLength: CONTENT_BYTES_MAX, chunkSize: chunkOf(4 * bytes.length) })
        case 'zstd': {
          const chunkSize = chunkOf(frameContentSize(bytes) ?? 4 * bytes.length)
          return zstdDecompressSync(bytes, { maxOutputLength: CONTENT_BYTES_MAX, chunkSize })
        }
        case 'snappy':
          return snappy.decompressSync(bytes)
        case 'lz4':
          return lz4.decompressSync(bytes)
      }
    },
  }
}

function chunkOf(bytes: number): number {
  return Math.ceil(Math.min(Math.max(bytes, CHUNK_BYTES_MIN), CHUNK_BYTES_MAX))
}

/** Compresses records; zstd in a thread of its own. */
export async function compress(driver: Driver, by: 'lz4' | 'zstd', bytes: Buffer): Promise<Buffer> {
  if (by === 'lz4') return driver.compressionsAlgorithms.lz4.compressSync(bytes)
  return new Promise((resolve, reject) => {
    const options = {
      params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
      // So that a reader knows how much will come out.
      pledgedSrcSize: bytes.length,
      chunkSize: chunkOf(bytes.length / 4),
    }
    zstdCompress(bytes, options, (error, compressed) => (error ? reject(error) : resolve(compressed)))
  })
}

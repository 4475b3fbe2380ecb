import { constants, gunzipSync, zstdCompress, zstdDecompressSync } from 'node:zlib'
import { MillraceError } from '../../base/errors.ts'
import type { Compression } from './batch.ts'
import type { Codec } from './decode.ts'

/** The client library, which is installed where Kafka is used. */
export type Driver = typeof import('@platformatic/kafka')

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
/** Fast, and on lines of JSON nearly as small as the levels above 0. */
const ZSTD_LEVEL = -1

/** CRC and decompression of record batches. */
export function codecOf(driver: Driver): Codec {
  const { lz4, snappy } = driver.compressionsAlgorithms
  return {
    crc32c: (bytes) => driver.crc32c(bytes),
    decompress(by, bytes) {
      switch (by) {
        case 'none':
          return bytes
        case 'gzip':
          return gunzipSync(bytes, { maxOutputLength: CONTENT_BYTES_MAX })
        case 'zstd':
          return zstdDecompressSync(bytes, { maxOutputLength: CONTENT_BYTES_MAX })
        case 'snappy':
          return snappy.decompressSync(bytes)
        case 'lz4':
          return lz4.decompressSync(bytes)
      }
    },
  }
}

/** Compresses records; zstd in a thread of its own. */
export async function compress(driver: Driver, by: 'lz4' | 'zstd', bytes: Buffer): Promise<Buffer> {
  if (by === 'lz4') return driver.compressionsAlgorithms.lz4.compressSync(bytes)
  return new Promise((resolve, reject) => {
    zstdCompress(bytes, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }, (error, compressed) =>
      error ? reject(error) : resolve(compressed),
    )
  })
}

export type { Compression }

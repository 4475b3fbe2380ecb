import { MillraceError } from '../../base/errors.ts'
import type { S3Objects } from './objects.ts'

/**
 * Sees that the bucket is there and that puts of the same key exclude each other, on which every commit rests: some stores
 * take `If-None-Match` and ignore it, and two writers would lose each other's commits without a word. Errors: `invalid` /
 * `no-conditional-writes`, and those of S3Objects. `key` is tried and
 * removed again.
 */
export async function checkConditionalWrites(objects: S3Objects, key: string): Promise<void> {
  await objects.checkBucket()
  try {
    const first = await objects.putIfAbsent(key, Buffer.from('first'))
    const second = await objects.putIfAbsent(key, Buffer.from('second'))
    if (first && !second) return
    throw notConditional(objects.bucket, 'it takes If-None-Match and overwrites all the same')
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 's3-refused') throw error
    throw notConditional(objects.bucket, error.message)
  } finally {
    await objects.remove(key).catch(() => undefined)
  }
}

function notConditional(bucket: string, reason: string): MillraceError {
  return new MillraceError('invalid', 'no-conditional-writes', `Bucket '${bucket}' cannot hold a lake: ${reason}.`, {
    hint: 'Use a store that honours conditional writes, such as Amazon S3, MinIO, Ceph or Cloudflare R2 in a recent version.',
    context: { bucket },
  })
}

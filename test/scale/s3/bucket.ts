import { randomBytes } from 'node:crypto'
import { afterAll } from 'vitest'
import { s3Config } from '../../lake/support/home.ts'

/** A new bucket on the server of the environment, gone after the test file. Its lakes clean up after themselves. */
export async function bucket(): Promise<string> {
  const { S3Client, CreateBucketCommand, DeleteBucketCommand } = await import('@aws-sdk/client-s3')
  const name = `millrace-${randomBytes(6).toString('hex')}`
  const { endpoint, region, credentials } = s3Config(name)
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: name }))
  afterAll(async () => {
    await client.send(new DeleteBucketCommand({ Bucket: name }))
    client.destroy()
  })
  return name
}

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CreateBucketCommand, PutObjectCommand, S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { MillraceError } from '../../src/base/errors.ts'
import type { Home } from './home.ts'
import { installOnce, run } from './packages.ts'
import type { Service } from './service.ts'

const SOURCE = fileURLToPath(new URL('./versitygw', import.meta.url))
const REGION = 'us-east-1'
const KEY = 'millrace'
const SECRET = 'millrace-secret'
/** Holds one object, which is put once. */
const PROBE = 'probe'

const GO = {
  // Its own module, wherever this checkout lies, and no stamp of a checkout, which may belong to somebody else.
  env: { GOWORK: 'off', GOFLAGS: '-buildvcs=false', CGO_ENABLED: '0' },
  need: 'The S3 server is built with Go',
  remedy: 'Put Go 1.21 or later on PATH; it brings a newer one by itself where that is needed.',
  network: 'The Go module proxy must be reachable; another one is set by GOPROXY.',
}

/** versitygw, an S3 server whose buckets are directories. Why this one: docs/decisions/0014. */
export const s3: Service = {
  name: 's3',
  title: 'versitygw 1.8.0',
  address: 'S3_ENDPOINT',
  async install(home, say) {
    const locks = ['go.mod', 'go.sum'].map((name) => join(SOURCE, name))
    await installOnce(join(home.packages, 's3'), locks, async (directory) => {
      await needGo()
      say('Go builds the server, which takes minutes the first time')
      const build = ['build', '-mod=readonly', '-ldflags=-s -w', '-o', join(directory, 'versitygw')]
      await run('go', [...build, 'github.com/versity/versitygw/cmd/versitygw'], { ...GO, cwd: SOURCE })
    })
  },
  processes: () => 1,
  ports: () => ['s3'],
  prepare: (home) => {
    home.folder('s3', 'buckets')
    return Promise.resolve()
  },
  programs: (home) => {
    const cwd = join(home.directory, 's3')
    const front = ['--port', `127.0.0.1:${home.port('s3')}`, '--region', REGION, '--keep-alive', '--quiet']
    return [
      {
        name: 's3',
        command: join(home.packages, 's3', 'versitygw'),
        args: [...front, 'posix', join(cwd, 'buckets')],
        env: { ROOT_ACCESS_KEY: KEY, ROOT_SECRET_KEY: SECRET },
        cwd,
        log: join(cwd, 's3.log'),
      },
    ]
  },
  async probe(home) {
    const client = new S3Client({
      endpoint: endpoint(home),
      region: REGION,
      forcePathStyle: true,
      credentials: { accessKeyId: KEY, secretAccessKey: SECRET },
      maxAttempts: 1,
    })
    try {
      await client.send(new CreateBucketCommand({ Bucket: PROBE })).catch(unless(409))
      const put = () => client.send(new PutObjectCommand({ Bucket: PROBE, Key: 'once', Body: 'x', IfNoneMatch: '*' }))
      await put().catch(unless(412))
      const second = await put().catch(unless(412))
      if (second !== undefined) throw new Error('the server puts an object twice that must be put once')
    } finally {
      client.destroy()
    }
  },
  environment: (home) => ({
    S3_ENDPOINT: endpoint(home),
    S3_REGION: REGION,
    S3_ACCESS_KEY_ID: KEY,
    S3_SECRET_ACCESS_KEY: SECRET,
  }),
}

/** Sees to a Go that can bring the one which go.mod asks for. */
async function needGo(): Promise<void> {
  const text = await run('go', ['version'], { ...GO, env: { GOTOOLCHAIN: 'local' } })
  const [, minor] = /go1\.(\d+)/.exec(text) ?? []
  if (Number(minor) >= 21) return
  throw new MillraceError(
    'unavailable',
    'old-go',
    `The S3 server is built with Go 1.21 or later; here is ${text.trim()}.`,
    {
      hint: GO.remedy,
    },
  )
}

function endpoint(home: Home): string {
  return `http://127.0.0.1:${home.port('s3')}`
}

function unless(status: number): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof S3ServiceException) || error.$metadata.httpStatusCode !== status) throw error
  }
}

import { assert } from 'vitest'

/** Address of the Spark Connect server that `npm run services -- up spark` started. */
export function sparkUrl(): string {
  const url = process.env['SPARK_URL']
  assert(url, 'SPARK_URL names a Spark Connect server: npm run test:scale starts one')
  return url
}

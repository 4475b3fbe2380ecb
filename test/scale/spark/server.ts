import { onTestFinished } from 'vitest'
import { SparkServer } from '../../../benchmarks/spark/server.ts'

/** A Spark Connect server of a test's own, which it may kill and start again at the same address. */
export async function startSpark(settings: Readonly<Record<string, string>> = {}): Promise<SparkServer> {
  const server = await SparkServer.start({ settings })
  onTestFinished(() => server.kill())
  return server
}

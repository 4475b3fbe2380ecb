import { fileURLToPath } from 'node:url'
import { MillraceError } from '../../src/base/errors.ts'
import { run } from './packages.ts'

const REMEDY =
  'apt-get install openjdk-17-jre-headless (bash scripts/install-debian does), or put another Java, 17 or later, on PATH.'

/** Arguments that make a Java program print its log as text to standard output. */
export const LOGGING = `-Dlog4j2.configurationFile=${fileURLToPath(new URL('./log4j2.properties', import.meta.url))}`

/** Sees to a Java that Kafka and Spark run on. */
export async function needJava(): Promise<void> {
  const text = await run('java', ['--version'], { need: 'Kafka and Spark run on Java', remedy: REMEDY })
  const version = /\d[\d.]*/.exec(text)?.[0] ?? 'unknown'
  if (Number.parseInt(version, 10) >= 17) return
  throw new MillraceError('unavailable', 'old-java', `Kafka and Spark need Java 17 or later; here it is ${version}.`, {
    hint: REMEDY,
  })
}

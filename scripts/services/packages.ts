import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { MillraceError } from '../../src/base/errors.ts'

/** What is downloaded comes through the registries' own clients: mirrors, proxies and certificates are what the machine has set for them. */
const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1'

/** Where a file of locked versions is. */
export function locked(name: string): string {
  return fileURLToPath(new URL(`./locks/${name}`, import.meta.url))
}

/**
 * Makes a directory by `fill` unless it was made whole from the same lock files before. It appears at once or not at all: what was cut
 * off is done again.
 */
export async function installOnce(
  directory: string,
  lockPaths: readonly string[],
  fill: (directory: string) => Promise<void>,
): Promise<void> {
  const stamp = join(directory, '.installed')
  const hash = createHash('sha256')
  for (const path of lockPaths) hash.update(readFileSync(path))
  const wanted = hash.digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  const fresh = `${directory}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  await fill(fresh)
  writeFileSync(join(fresh, '.installed'), wanted)
  rmSync(directory, { recursive: true, force: true })
  renameSync(fresh, directory)
}

export interface Jar {
  readonly group: string
  readonly artifact: string
  readonly version: string
  /** Tells a file from others of the same artifact, such as that of its tests. */
  readonly classifier?: string
  /** What it is called after; a jar unless told otherwise. */
  readonly type?: string
  readonly sha256: string
}

export function fileOf({ artifact, version, classifier, type = 'jar' }: Omit<Jar, 'sha256'>): string {
  return `${artifact}-${version}${classifier === undefined ? '' : `-${classifier}`}.${type}`
}

/** Reads a file of jars: lines of `group:artifact:version sha256`, or `group:artifact:version:classifier[:type] sha256`, and comments. */
export function readJars(path: string): Jar[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  return lines.flatMap((line) => {
    const [, group, artifact, version, classifier, type, sha256] =
      /^([^:#]+):([^:]+):([^\s:]+)(?::([^:\s]+)(?::(\S+))?)? ([0-9a-f]{64})$/.exec(line) ?? []
    if (sha256 === undefined) return []
    const kind = { ...(classifier === undefined ? {} : { classifier }), ...(type === undefined ? {} : { type }) }
    return [{ group: group!, artifact: artifact!, version: version!, ...kind, sha256 }]
  })
}

/** Brings exactly the jars of a file into a directory and compares their checksums. */
export async function copyJars(lockPath: string, directory: string): Promise<void> {
  const jars = readJars(lockPath)
  await copyArtifacts(jars, directory)
  for (const jar of jars) {
    const path = join(directory, fileOf(jar))
    const found = await sha256Of(path)
    if (found === jar.sha256) continue
    throw new MillraceError(
      'corrupt',
      'wrong-checksum',
      `${fileOf(jar)} has the checksum ${found}, not ${jar.sha256}.`,
      {
        hint: 'Remove it from the local Maven repository (~/.m2/repository) and try again; if it stays so, the repository serves another file.',
      },
    )
  }
}

/** Copies artifacts without what they depend on: Maven reads no descriptors of theirs, and asks no repository that these name. */
async function copyArtifacts(jars: readonly Omit<Jar, 'sha256'>[], directory: string): Promise<void> {
  const items = jars.map(
    ({ group, artifact, version, classifier, type = 'jar' }) =>
      `<artifactItem><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version><type>${type}</type>` +
      `${classifier === undefined ? '' : `<classifier>${classifier}</classifier>`}</artifactItem>`,
  )
  const [pluginGroup, pluginArtifact, pluginVersion] = PLUGIN.split(':')
  const project = join(directory, 'pom.xml')
  writeFileSync(
    project,
    `<project><modelVersion>4.0.0</modelVersion><groupId>millrace</groupId><artifactId>services</artifactId><version>1</version>
<build><plugins><plugin><groupId>${pluginGroup}</groupId><artifactId>${pluginArtifact}</artifactId><version>${pluginVersion}</version>
<configuration><outputDirectory>${directory}</outputDirectory><artifactItems>
${items.join('\n')}
</artifactItems></configuration></plugin></plugins></build></project>
`,
  )
  await run('mvn', ['--batch-mode', '--quiet', '--file', project, `${PLUGIN}:copy`], {
    need: 'Maven brings Kafka and Spark’s extensions',
    remedy: 'apt-get install maven (bash scripts/install-debian does)',
    network: 'Maven Central must be reachable; a mirror or proxy is set in ~/.m2/settings.xml.',
  })
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Record<string, string>
  /** Why the command is needed, for the message when there is none. */
  readonly need: string
  /** How to get the command. */
  readonly remedy: string
  /** What to look at when it fails, if it goes to the network. */
  readonly network?: string
}

/** Runs a command to its end and returns its standard output. Errors: `unavailable`/`missing-command` and `command-failed`. */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  const child = spawn(command, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let all = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    all += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (all += text))
  const code = await new Promise<number | null>((done, fail) => {
    child.once('error', fail)
    child.once('close', done)
  }).catch((error: unknown) => {
    throw new MillraceError('unavailable', 'missing-command', `${options.need}, and there is no ${command} here.`, {
      hint: options.remedy,
      cause: error,
    })
  })
  if (code === 0) return out
  const last = all.trim().split('\n').slice(-12).join('\n')
  throw new MillraceError('unavailable', 'command-failed', `${command} ${args[0] ?? ''} ended with ${code}:\n${last}`, {
    hint: options.network ?? options.remedy,
  })
}

export async function sha256Of(path: string): Promise<string> {
  if (!existsSync(path)) return 'of no file'
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

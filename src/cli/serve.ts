import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { RestCatalog } from '../lake/rest/catalog.ts'
import type { TableId } from '../lake/table.ts'
import type { Config } from '../project/config.ts'
import type { Project } from '../project/project.ts'
import type { Role } from '../runtime/role.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { LAYERS } from '../runtime/warehouse.ts'
import { type Server, startServer } from '../serving/server.ts'
import { lockDirectory } from '../storage/lock.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { openRuntime } from './open-runtime.ts'
import { RuntimePlatform } from './platform.ts'
import { readServerNote, removeServerNote, writeServerNote } from './server-file.ts'

export interface ServeOptions {
  readonly project: Project
  readonly home: Home
  readonly port?: number
  readonly host?: string
  readonly json: boolean
  /** What this process does; everything unless given. */
  readonly roles?: ReadonlySet<Role>
}

/** A project that runs behind HTTP. */
export interface Serving {
  readonly url: string
  readonly runtime: Runtime
  /** Takes no more requests, processes and commits what is acknowledged, and lets go of the data directory. */
  stop(): Promise<void>
}

/** Longest time to process what is acknowledged when stopping; the rest is in the log and waits for the next start. */
const DRAIN_MS_MAX = 10_000

/** Locks the data directory, recovers, listens, and starts the lanes. Errors: those of each. */
export async function serve(
  { project, home, port, host, json, roles }: ServeOptions,
  effects: Effects,
): Promise<Serving> {
  const startedMs = effects.clock.now()
  const lock = await lockDirectory(home.data).catch((error: unknown) => {
    throw withServer(error, home)
  })
  const undo: (() => Promise<void>)[] = [() => lock.release()]
  try {
    const { runtime, close } = await openRuntime(
      { project, home, eager: false, json, ...(roles ? { roles } : {}) },
      effects,
    )
    undo.push(close)
    const platform = new RuntimePlatform(runtime)
    const token = randomBytes(24).toString('base64url')
    const server = await startServer({
      platform,
      config: configOf(project.config, effects, port, host),
      clock: effects.clock,
      catalog: catalogOf(runtime),
      directories: [runtime.warehouse.lake.local.directory],
      temporary: join(home.data, 'tmp'),
      controlToken: token,
    })
    undo.push(() => server.close())
    runtime.start()
    writeServerNote(home.data, { pid: process.pid, url: localUrl(server), token, startedMs })
    platform.waitingFor = undefined
    return {
      url: server.url,
      runtime,
      stop: async () => {
        platform.waitingFor = 'the server stops'
        removeServerNote(home.data)
        await server.close()
        await drained(runtime, effects)
        await close()
        await lock.release()
      },
    }
  } catch (error) {
    for (const step of undo.reverse()) await step()
    throw error
  }
}

/** Says which server it is that holds the directory. */
function withServer(error: unknown, home: Home): unknown {
  const note = readServerNote(home.data)
  if (!(error instanceof MillraceError) || error.code !== 'data-locked' || note === undefined) return error
  return new MillraceError(error.kind, error.code, error.message, {
    hint: `A server runs there at ${note.url}. Stop it, or use another data directory (--data).`,
    context: { ...error.context, url: note.url },
    cause: error,
  })
}

function configOf(config: Config, { env }: Effects, port: number | undefined, host: string | undefined): Config {
  const token = env['MILLRACE_TOKEN'] ?? config.server?.token
  return {
    ...config,
    server: {
      ...config.server,
      ...(port === undefined ? {} : { port }),
      ...(host === undefined ? {} : { host }),
      ...(token === undefined ? {} : { token }),
    },
  }
}

/** The lake for other engines. What the project declares, and the quarantines, are Millrace's to make and to drop. */
function catalogOf({ warehouse, project }: Runtime): RestCatalog {
  const isManaged = ({ namespace, name }: TableId): boolean => {
    const dataset = project.datasets.get(name)
    return dataset !== undefined && (namespace === LAYERS.quarantine || namespace === LAYERS[dataset.kind])
  }
  return new RestCatalog({ lake: warehouse.lake, isManaged })
}

/** The commands beside the server reach it on this machine, whatever address it listens on. */
function localUrl({ url, port }: Server): string {
  return /\/\/(0\.0\.0\.0|\[::\]):/.test(url) ? `http://127.0.0.1:${port}` : url
}

async function drained(runtime: Runtime, { clock }: Effects): Promise<void> {
  const done = new AbortController()
  const all = Promise.allSettled([...runtime.streams.values()].map((runner) => runner.drain()))
  await Promise.race([all, clock.sleep(DRAIN_MS_MAX, done.signal)])
  done.abort()
}

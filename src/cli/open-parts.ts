import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { Lake } from '../lake/lake.ts'
import { openKafkaLog } from '../log/kafka/open.ts'
import type { RequestStore } from '../log/kafka/requests.ts'
import type { DirectoryLake, KafkaLog, S3Lake, SparkEngine as SparkTarget, Target } from '../project/target.ts'
import type { Project } from '../project/project.ts'
import { type Parts, embeddedParts } from '../runtime/parts.ts'
import { SparkEngine } from '../runtime/spark-engine.ts'
import { openState } from '../state/state.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { LeasedOwnership } from './leased-ownership.ts'
import { StatePlaces } from '../runtime/handler-places.ts'

/** The parts of a target, to be closed by whoever opened them. */
export interface OpenParts extends Parts {
  close(): Promise<void>
}

export interface OpenPartsOptions {
  readonly project: Project
  readonly target: Target
  readonly home: Home
  /** This process; no other, nor this one after a restart, is called so. */
  readonly member: string
  /** Something of the parts went wrong, and is tried again. */
  onError(error: MillraceError): void
}

/** Connects to what a target names; what it leaves out is embedded. Errors: those of each part, before anything is changed. */
export async function openParts(options: OpenPartsOptions, effects: Effects): Promise<OpenParts> {
  const { project, target, home, member, onError } = options
  const { disk, clock } = effects
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const step of closing.toReversed()) await step()
  }
  try {
    const embedded = embeddedParts({ dataDirectory: home.data, disk, clock })
    const state = target.state && (await openState({ schema: project.name, ...target.state }, { clock }))
    if (state) closing.push(() => state.close())
    const lake = target.lake ? openLake(target.lake, effects) : embedded.lake
    const engine =
      target.engine &&
      new SparkEngine({ lake, url: target.engine.url, catalog: catalogOf(target.engine, lake.root), clock })
    if (engine) closing.push(() => engine.close())
    await engine?.check()
    return {
      lake,
      openLog: target.log ? openTopic(options, target.log, state?.requests, effects) : embedded.openLog,
      ...(engine ? { engine } : {}),
      ...(state
        ? {
            ownership: new LeasedOwnership({ state, clock, member, onError }),
            handlerPlaces: new StatePlaces(state.places),
          }
        : {}),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function openLake(target: S3Lake | DirectoryLake, { disk, clock }: Effects): Lake {
  if (target.kind === 'directory') return new Lake({ root: target.path, disk, clock })
  throw new MillraceError('invalid', 'not-built', 'A lake on S3 cannot be opened yet.')
}

/** A stream's log is a topic; what is being processed of it lies in a directory of this process for a while. */
function openTopic(
  { project, home }: OpenPartsOptions,
  { kind: _kind, ...config }: KafkaLog,
  requests: RequestStore | undefined,
  { disk, clock }: Effects,
): Parts['openLog'] {
  return (stream, events) =>
    openKafkaLog({
      config: { topicPrefix: `${project.name}.`, ...config },
      stream: stream.name,
      partitions: stream.partitions,
      key: stream.key,
      marks: stream.sources.length > 0,
      directory: join(home.data, 'tmp', 'log', stream.name),
      disk,
      clock,
      ...(requests ? { requests } : {}),
      ...events,
    })
}

/** A lake on this machine's disk is read by a Spark that sees the same disk; any other by the catalog. */
function catalogOf({ catalog }: SparkTarget, root: string) {
  return catalog === undefined ? { directory: root } : { uri: catalog }
}

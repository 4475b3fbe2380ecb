import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { s3Files } from '../engine/spark/catalog.ts'
import { VendedAccess } from '../lake/access.ts'
import { DiskStore } from '../lake/disk-store.ts'
import { Lake } from '../lake/lake.ts'
import { readOrigin } from '../lake/origin.ts'
import { RemoteCatalog } from '../lake/remote/catalog.ts'
import { S3Store } from '../lake/s3-store.ts'
import type { LakeStore } from '../lake/store.ts'
import { type KafkaTopicOptions, kafkaExtents, openKafkaLog } from '../log/kafka/open.ts'
import type { RequestStore } from '../log/kafka/requests.ts'
import type { Stream } from '../project/stream.ts'
import type {
  DirectoryLake,
  KafkaLog,
  PostgresState,
  S3Lake,
  SparkEngine as SparkTarget,
  Target,
} from '../project/target.ts'
import type { Project } from '../project/project.ts'
import { type Parts, embeddedParts } from '../runtime/parts.ts'
import { SparkEngine, type SparkEngineOptions } from '../runtime/spark-engine.ts'
import { DEFAULT_REGION } from '../storage/s3/config.ts'
import { type State, lookAtState, openState } from '../state/state.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { LeasedOwnership } from './leased-ownership.ts'
import { type Extent, logExtents } from './log-end.ts'
import { StatePlaces } from '../runtime/changes/handler-places.ts'

/** The parts of a target, to be closed by whoever opened them. */
export interface OpenParts extends Parts {
  /** What the log of a stream holds, by partition, without opening it. */
  extents(stream: Stream): Promise<readonly Extent[]>
  /** What processes agree on, where there is such a place and it is ready. */
  readonly state?: State
  close(): Promise<void>
}

export interface OpenPartsOptions {
  readonly project: Project
  readonly target: Target
  readonly home: Home
  /** This process; no other, nor this one after a restart, is called so. */
  readonly member: string
  /** A migration is what opens them: it may be unfinished. */
  readonly carrying?: boolean
  /** Nothing is made, changed or owned. */
  readonly looking?: boolean
  /** Where copies go that are no more needed when this process has ended; the home's data directory unless given, which nobody else may use then. */
  readonly temporary?: string
  /** How long this process waits for what it claims, ms, and who is told meanwhile. */
  readonly claimMs?: number
  onWaiting?(item: string, holder: string): void
  /** Something of the parts went wrong, and is tried again. */
  onError(error: MillraceError): void
}

/** Connects to what a target names; what it leaves out is embedded. Errors: those of each part, before anything is changed. */
export async function openParts(options: OpenPartsOptions, effects: Effects): Promise<OpenParts> {
  const { target, home } = options
  const { disk, clock } = effects
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const step of closing.toReversed()) await step()
  }
  try {
    const embedded = embeddedParts({ dataDirectory: home.data, disk, clock })
    const state = target.state && (await stateOf(options, target.state, effects))
    if (state) closing.push(() => state.close())
    const lake = target.lake ? await openLake(options, target.lake, effects) : embedded.lake
    if (options.carrying !== true) await checkCarried(lake, home, isVendedBy(target.lake))
    const engine =
      target.engine &&
      new SparkEngine({ lake, url: target.engine.url, clock, ...sparkFiles(target.engine, target.lake, lake.root) })
    if (engine) closing.push(() => engine.close())
    // A catalog that this process is about to serve is not there yet.
    if (target.engine?.catalog === undefined && options.looking !== true) await engine?.check()
    return {
      lake,
      openLog: target.log ? openTopic(options, target.log, state?.requests, effects) : embedded.openLog,
      extents: target.log ? topicExtents(options, target.log, effects) : directoryExtents(home, effects),
      ...(engine ? { engine } : {}),
      ...(state ? { state, handlerPlaces: new StatePlaces(state.places) } : {}),
      ...(state && options.looking !== true ? { ownership: ownershipOver(state, options, effects) } : {}),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Undefined where it is only looked at and not ready. */
async function stateOf(
  { project, looking }: OpenPartsOptions,
  target: PostgresState,
  effects: Effects,
): Promise<State | undefined> {
  const named = { schema: project.name, ...target }
  if (looking !== true) return openState(named, effects)
  const { state, pending } = await lookAtState(named, effects)
  if (pending.length === 0) return state
  await state.close()
  return undefined
}

function ownershipOver(state: State, options: OpenPartsOptions, { clock }: Effects): LeasedOwnership {
  const { member, claimMs, onError } = options
  return new LeasedOwnership({
    state,
    clock,
    member,
    onError,
    ...(claimMs === undefined ? {} : { claimMs }),
    ...(options.onWaiting ? { onWaiting: options.onWaiting } : {}),
  })
}

/** What was carried in part must not be worked on. Errors: `conflict`/`migration-unfinished`. */
async function checkCarried(lake: Lake, { target }: Home, isVended: boolean): Promise<void> {
  const origin = await readOrigin(lake).catch((error: unknown) => {
    // What a catalog hands out opens tables alone; carrying takes more than that.
    if (error instanceof MillraceError && error.kind === 'denied' && isVended) return undefined
    throw error
  })
  if (origin?.state !== 'carrying') return
  throw new MillraceError(
    'conflict',
    'migration-unfinished',
    `Target '${target}' holds a part of what is being carried there from ${origin.from}.`,
    {
      hint: `Finish it first, on the machine with that directory: millrace migrate --to ${target}.`,
      context: { target },
    },
  )
}

async function openLake(
  options: OpenPartsOptions,
  target: S3Lake | DirectoryLake,
  effects: Pick<Effects, 'disk' | 'clock'>,
): Promise<Lake> {
  const { catalog } = target
  const { clock } = effects
  const vended = isVendedBy(target) ? new VendedAccess() : undefined
  const store = await openStore(options, target, effects, vended)
  if (catalog === undefined) return new Lake({ store, clock })
  const { kind: _kind, ...config } = catalog
  const remote = await RemoteCatalog.open(config, store, { clock, random: randomBytes }, vended)
  return new Lake({ store, clock, catalog: remote })
}

/** Whether the catalog hands out credentials for the files; without any those of the environment are taken. */
function isVendedBy(lake: Target['lake']): boolean {
  return lake?.kind === 's3' && lake.catalog !== undefined && lake.credentials === undefined
}

async function openStore(
  { project, home, temporary = home.data, looking = false }: OpenPartsOptions,
  target: S3Lake | DirectoryLake,
  { disk, clock }: Pick<Effects, 'disk' | 'clock'>,
  vended: VendedAccess | undefined,
): Promise<LakeStore> {
  if (target.kind === 'directory') return new DiskStore(disk, target.path, () => randomBytes(16).toString('hex'))
  const { kind: _kind, catalog, ...config } = target
  return S3Store.open({
    config: { prefix: project.name, ...config },
    cacheDirectory: join(temporary, 'cache'),
    looking,
    disk,
    clock,
    random: randomBytes,
    commitsElsewhere: catalog !== undefined,
    ...(vended ? { vended } : {}),
  })
}

/** A stream's log is a topic; what is being processed of it lies in a directory of this process for a while. */
function openTopic(
  { project, home, temporary = home.data, looking = false }: OpenPartsOptions,
  log: KafkaLog,
  requests: RequestStore | undefined,
  { disk, clock }: Effects,
): Parts['openLog'] {
  return (stream, events) =>
    openKafkaLog({
      ...topicOptions(project, log, stream, clock),
      looking,
      key: stream.key,
      marks: stream.sources.length > 0,
      directory: join(temporary, 'tmp', 'log', stream.name),
      disk,
      ...(requests ? { requests } : {}),
      // Who only looks fetches what it asks for, and nothing ahead.
      ...(looking ? { onFatal: events.onFatal } : events),
    })
}

function topicExtents({ project }: OpenPartsOptions, log: KafkaLog, { clock }: Effects): OpenParts['extents'] {
  return (stream) => kafkaExtents(topicOptions(project, log, stream, clock))
}

function directoryExtents({ data }: Home, { disk }: Effects): OpenParts['extents'] {
  return ({ name }) => logExtents(disk, join(data, 'log', name))
}

/** How a stream's topic is called and made. */
export function topicOptions(
  { name }: Project,
  { kind: _kind, ...config }: KafkaLog,
  stream: Stream,
  clock: Clock,
): KafkaTopicOptions {
  return {
    config: { topicPrefix: `${name}.`, ...config },
    stream: stream.name,
    partitions: stream.partitions,
    ...(stream.topic === undefined ? {} : { topic: { name: stream.topic } }),
    clock,
  }
}

/** How Spark gets at the lake: a directory that it sees too, or the catalog that Millrace serves. Errors: `invalid`/`no-catalog`. */
function sparkFiles(
  { catalog }: SparkTarget,
  lake: Target['lake'],
  root: string,
): Pick<SparkEngineOptions, 'catalog' | 'files'> {
  const s3 = lake?.kind === 's3' ? lake : undefined
  if (catalog === undefined && (s3 || lake?.catalog)) {
    const where = s3 ? 'on S3' : 'of another catalog'
    throw new MillraceError(
      'invalid',
      'no-catalog',
      `Spark has no way to the lake ${where}: engine.catalog is not set.`,
      {
        hint: "Say where Spark reaches a Millrace process with the role serve: engine: { kind: 'spark', url: …, catalog: 'http://host:4400/iceberg' }.",
      },
    )
  }
  if (catalog === undefined) return { catalog: { directory: root } }
  return {
    catalog: typeof catalog === 'string' ? { uri: catalog } : catalog,
    ...(s3 ? { files: s3Files({ region: DEFAULT_REGION, ...s3, ...s3.credentials }) } : {}),
  }
}

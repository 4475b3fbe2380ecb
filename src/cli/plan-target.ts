import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { durationMs, formatMs } from '../base/duration.ts'
import { SparkSession } from '../engine/spark/session.ts'
import { planKafkaTopic } from '../log/kafka/open.ts'
import type { TopicPlan } from '../log/kafka/topic.ts'
import type { KafkaLog, PostgresState, SparkEngine } from '../project/target.ts'
import type { Stream } from '../project/stream.ts'
import type { BoundProject } from '../runtime/bind.ts'
import { lookAtState } from '../state/state.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { topicOptions } from './open-parts.ts'
import { lookAt } from './sight.ts'
import { placeOf, planStored } from './stored.ts'
import { targetNamed } from './target.ts'

/** What starting on a target would do to one thing there. */
export interface TargetStep {
  readonly part: 'log' | 'lake' | 'engine' | 'state'
  readonly what: string
  /** `none` where it is as it should be. */
  readonly action: string
  readonly notes: readonly string[]
}

export interface TargetPlan {
  readonly target: string
  readonly steps: readonly TargetStep[]
  /** What keeps it from starting: services that cannot be reached or used, data that cannot follow the declarations. */
  readonly problems: readonly MillraceError[]
}

interface Found {
  readonly steps: readonly TargetStep[]
  readonly problems: readonly MillraceError[]
}

/** Looks at everything that a target names; makes and changes nothing. Errors: `invalid`/`unknown-target`. */
export async function planTarget(bound: BoundProject, home: Home, effects: Effects): Promise<TargetPlan> {
  const name = home.target!
  const target = targetNamed(bound.project.config, name)
  const found = await Promise.all([
    target.log ? planLog(bound, target.log, effects) : nothing(),
    planLake(bound, home, effects),
    target.engine ? planEngine(target.engine) : nothing(),
    target.state ? planState(bound.project.name, target.state, effects) : nothing(),
  ])
  return {
    target: name,
    steps: found.flatMap(({ steps }) => steps),
    problems: found.flatMap(({ problems }) => problems),
  }
}

async function nothing(): Promise<Found> {
  return { steps: [], problems: [] }
}

async function planLog({ project }: BoundProject, log: KafkaLog, { clock }: Effects): Promise<Found> {
  const steps: TargetStep[] = []
  const problems: MillraceError[] = []
  for (const stream of project.order) {
    if (stream.kind !== 'stream') continue
    try {
      const plan = await planKafkaTopic(topicOptions(project, log, stream, clock))
      const action = topicAction(plan, stream, log)
      steps.push({ part: 'log', what: `topic ${plan.topic}`, action, notes: plan.notes })
    } catch (error) {
      const problem = asMillraceError(error)
      problems.push(problem.context['dataset'] === undefined ? problem : located(problem, stream))
      // Nor will it be for the next.
      if (problem.kind === 'unavailable' || problem.kind === 'denied') break
    }
  }
  return { steps, problems }
}

function topicAction({ action }: TopicPlan, { partitions }: Stream, { replication, retention }: KafkaLog): string {
  const lanes = `${partitions} ${partitions === 1 ? 'partition' : 'partitions'}`
  if (action === 'add-partitions') return `grow to ${lanes}`
  if (action === 'none') return 'none'
  const copies = replication === undefined ? '' : `, ${replication} ${replication === 1 ? 'copy' : 'copies'}`
  const kept = retention === undefined ? '' : `, kept for ${formatMs(durationMs(retention, 'log.retention'))}`
  return `make, ${lanes}${copies}${kept}`
}

function located(problem: MillraceError, stream: Stream): MillraceError {
  Object.assign(problem.context, placeOf(stream))
  return problem
}

async function planLake(bound: BoundProject, home: Home, effects: Effects): Promise<Found> {
  try {
    const { lake, log } = targetNamed(bound.project.config, home.target!)
    // What is wrong with topics is told by who looks at the log.
    const sight = await lookAt(lake ? { lake } : {}, bound.project, home, effects)
    try {
      const { tables, problems } = await planStored(bound, log ? { lake: sight.lake } : sight)
      const steps = tables.map(({ dataset, action }): TargetStep => {
        return { part: 'lake', what: `table ${dataset}`, action, notes: [] }
      })
      return { steps, problems }
    } finally {
      await sight.close()
    }
  } catch (error) {
    return { steps: [], problems: [asMillraceError(error)] }
  }
}

const RECONNECT_MS = 5_000

/** One that cannot be reached is a problem of the project's SQL, which it was asked about. */
async function planEngine({ url }: SparkEngine): Promise<Found> {
  try {
    const session = await SparkSession.open({ url, reconnectMs: RECONNECT_MS })
    try {
      const [row] = await session.rows('SELECT version() AS version')
      const version = String(row?.['version']).split(' ')[0]
      return { steps: [{ part: 'engine', what: `Spark ${version}`, action: 'none', notes: [] }], problems: [] }
    } finally {
      await session.close()
    }
  } catch {
    return { steps: [], problems: [] }
  }
}

async function planState(project: string, target: PostgresState, effects: Effects): Promise<Found> {
  try {
    const { state, pending } = await lookAtState({ schema: project, ...target }, effects)
    await state.close()
    const action = pending.length === 0 ? 'none' : `migrate: ${pending.join('; ')}`
    return { steps: [{ part: 'state', what: state.name, action, notes: [] }], problems: [] }
  } catch (error) {
    return { steps: [], problems: [asMillraceError(error)] }
  }
}

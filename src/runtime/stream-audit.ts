import type { Database } from '../engine/duckdb/database.ts'
import type { Dataset } from '../project/dataset.ts'
import { runAudits } from './audits.ts'
import type { StepOutcome } from './scheduler.ts'
import type { StreamRunner } from './stream-runner.ts'
import { CANDIDATE, relationOf } from './warehouse.ts'

/** Audits the newest snapshot of a stream and, when its blocking checks pass, publishes it. */
export async function auditStream(
  runner: StreamRunner,
  database: Database,
  relation: (dataset: Dataset) => Promise<string>,
): Promise<StepOutcome> {
  const { table, stream, options } = runner
  const candidate = table.snapshot(CANDIDATE)
  const main = table.snapshot('main')
  if (!candidate || candidate.id === main?.id) return { outcome: 'unchanged' }
  const audits = await runAudits(stream, {
    self: relationOf(table, await table.files(candidate)),
    fields: stream.fields,
    time: stream.time,
    nowMs: options.clock.now(),
    database,
    relation,
  })
  const blocking = audits.find((audit) => !audit.passed && audit.severity === 'block')
  if (blocking) return { outcome: 'blocked', reason: `${blocking.check}: ${blocking.message}` }
  await table.setRef('main', candidate.id, main?.id)
  return { outcome: 'published' }
}

import type { Snapshot } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import { runAudits } from '../audits.ts'
import type { EngineStep } from '../engine.ts'
import type { AuditResult } from '../record.ts'
import type { StepOutcome } from '../scheduler.ts'
import type { StreamRunner } from './stream-runner.ts'
import { CANDIDATE } from '../warehouse.ts'

/**
 * Audits the newest snapshot of a stream. Where a blocking check holds snapshots back, one that passes is published;
 * else the results are only told.
 */
export async function auditStream(
  runner: StreamRunner,
  engine: EngineStep,
  relation: (dataset: Dataset) => Promise<string>,
): Promise<StepOutcome & { audits: readonly AuditResult[] }> {
  const { table, stream, options } = runner
  const main = table.snapshot('main')
  const newest: Snapshot | undefined = options.audited ? (table.snapshot(CANDIDATE) ?? main) : main
  if (!newest) return { outcome: 'unchanged', audits: [] }
  const audits = await runAudits(stream, {
    self: await engine.relation(table, await table.files(newest)),
    fields: stream.fields,
    time: stream.time,
    nowMs: options.clock.now(),
    engine,
    relation,
  })
  const blocking = audits.find((audit) => !audit.passed && audit.severity === 'block')
  if (blocking) return { outcome: 'blocked', reason: `${blocking.check}: ${blocking.message}`, audits }
  if (newest.id === main?.id) return { outcome: 'unchanged', audits }
  await table.setRef('main', newest.id, main?.id)
  return { outcome: 'published', audits }
}

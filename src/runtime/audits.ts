import { asMillraceError, messageOf } from '../base/errors.ts'
import { checkInputsOf } from '../project/project.ts'
import type { Dataset } from '../project/dataset.ts'
import { type AuditContext, auditsOf } from '../quality/audit.ts'
import type { EngineStep } from './engine.ts'
import type { AuditResult } from './record.ts'

export interface AuditRun extends Omit<AuditContext, 'relation' | 'dialect'> {
  readonly engine: EngineStep
  relation(dataset: Dataset): Promise<string>
}

/**
 * Runs the audits of a dataset over a snapshot not yet published. One that cannot run has failed, unless that says nothing of the
 * rows. Errors: `unavailable` when the engine is out of reach: nothing is known then.
 */
export async function runAudits(dataset: Dataset, run: AuditRun): Promise<AuditResult[]> {
  const relations = new Map<Dataset, string>([[dataset, run.self]])
  for (const other of checkInputsOf(dataset)) relations.set(other, await run.relation(other))
  const audits = auditsOf(dataset, {
    ...run,
    dialect: run.engine.dialect,
    relation: (other) => relations.get(other)!,
  })
  const results = await Promise.allSettled(
    audits.map(async ({ check, severity, sql }): Promise<AuditResult> => {
      try {
        const [row] = await run.engine.rows(sql)
        return { check, severity, passed: row?.passed === true, message: String(row?.message ?? '') }
      } catch (error) {
        const { retryable, code } = asMillraceError(error)
        if (retryable && code !== 'engine-memory') throw error
        return { check, severity, passed: false, message: `could not be evaluated: ${messageOf(error)}` }
      }
    }),
  )
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

/** Whether a dataset has checks that run over what is committed. */
export function hasAudits(dataset: Dataset): boolean {
  return dataset.checks.some((check) => check.on === 'dataset')
}

/** Whether dataset checks hold a stream's snapshots back. */
export function isAudited(dataset: Dataset): boolean {
  return (
    dataset.kind === 'stream' && dataset.checks.some((check) => check.on === 'dataset' && check.severity === 'block')
  )
}

import { MillraceError } from '../base/errors.ts'
import type { Dataset } from '../project/dataset.ts'
import { isPortableName } from '../project/dataset.ts'
import type { BoundProject } from '../runtime/bind.ts'
import { type TableAction, Warehouse, newestStep } from '../runtime/warehouse.ts'
import type { Sight } from './sight.ts'

/** What starting would do to the tables of a lake. */
export interface StoredPlan {
  readonly tables: readonly { readonly dataset: string; readonly action: TableAction | 'recompute' }[]
  /**
   * What keeps data stored before from following the declarations: columns that cannot be changed so, fewer partitions than
   * hold records.
   */
  readonly problems: readonly MillraceError[]
}

/** Looks at what is stored. Data that is not there cannot object. */
export async function planStored(
  { project, fields, code }: BoundProject,
  { lake, extents }: Pick<Sight, 'lake'> & Partial<Pick<Sight, 'extents'>>,
): Promise<StoredPlan> {
  const warehouse = new Warehouse(lake)
  const tables: StoredPlan['tables'][number][] = []
  const problems: MillraceError[] = []
  for (const dataset of project.order) {
    const declared = fields.get(dataset.name)
    if (declared === undefined || !isPortableName(dataset.name)) continue
    try {
      const action = await warehouse.planOf(dataset, declared)
      const table = action === 'none' ? await warehouse.present(dataset, declared) : undefined
      const step = table && dataset.kind === 'table' ? newestStep(table) : undefined
      const isOld = step !== undefined && step.record.code !== code.get(dataset.name)
      tables.push({ dataset: dataset.name, action: isOld ? 'recompute' : action })
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'incompatible-schema') throw error
      const { kind, code: problem, message, hint } = error
      problems.push(
        new MillraceError(kind, problem, `stream '${dataset.name}', stored data: ${message}`, {
          ...(hint === undefined ? {} : { hint }),
          context: { ...error.context, ...placeOf(dataset) },
        }),
      )
    }
    if (dataset.kind !== 'stream') continue
    const held = (await extents?.(dataset))?.length ?? 0
    if (held > dataset.partitions) {
      problems.push(
        new MillraceError(
          'invalid',
          'partitions-decreased',
          `stream '${dataset.name}', stored data: its log has ${held} partitions, ${dataset.partitions} are declared.`,
          {
            hint: `Declare ${held} or more: a partition holds records and cannot go away.`,
            context: placeOf(dataset),
          },
        ),
      )
    }
  }
  return { tables, problems }
}

/** Where a dataset is declared, as the context of a problem. */
export function placeOf({ name, place }: Dataset): Record<string, string | number> {
  return { dataset: name, ...(place === undefined ? {} : { file: place.file, line: place.line }) }
}

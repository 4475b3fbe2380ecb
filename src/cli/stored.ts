import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { evolveFields } from '../lake/evolution.ts'
import { Lake } from '../lake/lake.ts'
import { isPortableName } from '../project/dataset.ts'
import type { Disk } from '../storage/disk.ts'
import { LAYERS } from '../runtime/warehouse.ts'
import type { BoundProject } from '../runtime/bind.ts'

/**
 * What keeps data stored before from following the declarations: columns that cannot be changed so, fewer partitions than
 * hold records. Reads only; data that is not there cannot object.
 */
export async function storedProblems(
  { project, fields }: BoundProject,
  data: string,
  disk: Disk,
): Promise<MillraceError[]> {
  const lake = new Lake({ root: join(data, 'lake'), disk })
  const problems: MillraceError[] = []
  for (const stream of project.order) {
    const declared = fields.get(stream.name)
    // Derived tables are made anew when they cannot follow.
    if (stream.kind !== 'stream' || declared === undefined || !isPortableName(stream.name)) continue
    const context = { dataset: stream.name, file: stream.place?.file, line: stream.place?.line }
    const table = await lake.load({ namespace: LAYERS.stream, name: stream.name })
    let id = 1_000_000
    try {
      if (table) evolveFields(table.fields, declared, () => ++id)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      const { kind, code, message, hint } = error
      problems.push(
        new MillraceError(kind, code, `stream '${stream.name}', stored data: ${message}`, {
          ...(hint === undefined ? {} : { hint }),
          context: { ...error.context, ...context },
        }),
      )
    }
    const held = (await disk.list(join(data, 'log', stream.name))).filter((name) => /^\d+$/.test(name)).length
    if (held > stream.partitions) {
      problems.push(
        new MillraceError(
          'invalid',
          'partitions-decreased',
          `stream '${stream.name}', stored data: its log has ${held} partitions, ${stream.partitions} are declared.`,
          {
            hint: `Declare ${held} or more: a partition holds records and cannot go away.`,
            context,
          },
        ),
      )
    }
  }
  return problems
}

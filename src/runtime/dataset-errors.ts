import { MillraceError } from '../base/errors.ts'
import type { Project } from '../project/project.ts'
import type { Stream } from '../project/stream.ts'
import type { Role } from './role.ts'

/** A table was named where only a stream will do. */
export function notStream(name: string, project: Project): MillraceError {
  const streams = project.order.filter((dataset): dataset is Stream => dataset.kind === 'stream')
  return new MillraceError('invalid', 'not-a-stream', `'${name}' is a table; only streams take records.`, {
    hint: `Streams: ${streams.map((stream) => stream.name).join(', ') || 'none'}.`,
    context: { dataset: name },
  })
}

/** A process was asked for what those of another role do. */
export function notHere(name: string, role: Role): MillraceError {
  return new MillraceError(
    'unavailable',
    'not-here',
    `This process does not ${role} what belongs to '${name}': it has other roles, or another process has it.`,
    {
      hint: `Ask one that was started with --role ${role}.`,
      context: { dataset: name, role },
    },
  )
}

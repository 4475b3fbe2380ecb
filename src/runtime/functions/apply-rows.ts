import type { Table } from '../../project/table.ts'
import type { Transform } from '../../project/transform.ts'
import { Misfit, rowWriter, shown } from '../../quality/row-writer.ts'
import type { InputRow } from './row-calls.ts'

/** Turns what `map`, `flatMap` or `filter` returned for a row into lines of the table's rows with their origin. */
export function applier(table: Table, transform: Transform): (result: unknown, input: InputRow) => string {
  const write = rowWriter(table.fields!)
  switch (transform.call) {
    case 'map':
      return (result, input) => line(input, input.index, write(result))
    case 'filter':
      return (result, input) => {
        if (typeof result !== 'boolean')
          throw new Misfit('result', `the function returned ${shown(result)} where true or false is expected`)
        return result ? line(input, input.index, input.json.slice(1, -1)) : ''
      }
    default: {
      const { emit } = transform
      return (result, input) => {
        const first = (input.index ?? 0) * emit
        let text = ''
        let count = 0
        for (const row of iterable(result)) {
          if (count === emit) throw tooMany(emit, 'rows')
          text += line(input, first + count++, write(row))
        }
        return text
      }
    }
  }
}

/** What the engine reads of one row at most. */
const LINE_MAX = 15 * 1024 ** 2

function line({ partition, offset }: InputRow, index: number | undefined, members: string): string {
  if (members.length > LINE_MAX) throw new Misfit('result', `the function gave a row of ${members.length} characters`)
  return `{"_partition":${partition},"_offset":${offset},${index === undefined ? '' : `"_index":${index},`}${members}}\n`
}

/** What a function returned, to be gone through. Throws `Misfit` for what is one thing. */
export function iterable(result: unknown): Iterable<unknown> {
  if (typeof result === 'object' && result !== null && Symbol.iterator in result) return result as Iterable<unknown>
  throw new Misfit('result', `the function returned ${shown(result)} where a list is expected`)
}

export function tooMany(emit: number, what: string): Misfit {
  return new Misfit('emit', `the function gave more than ${emit} ${what} for one row; raise emit if it should`)
}

import { MillraceError } from '../../base/errors.ts'

/**
 * Where somebody who follows a dataset is: at every row published up to snapshot `done` (0: none), and, `into` the change
 * from there to another snapshot, at so many of its rows. It holds across restarts, for snapshots do.
 */
export interface ChangePosition {
  readonly done: bigint
  readonly into?: { readonly to: bigint; readonly row: number }
}

/** `12`, or `12.15.400`: 400 rows into the change from snapshot 12 to snapshot 15. */
export function writePosition({ done, into }: ChangePosition): string {
  return into === undefined ? String(done) : `${done}.${into.to}.${into.row}`
}

/** Errors: `invalid`/`bad-position`. Whether there are such snapshots is not looked at. */
export function readPosition(text: string): ChangePosition {
  const match = /^(\d{1,19})(?:\.(\d{1,19})\.(\d{1,15}))?$/.exec(text)
  if (match) {
    const [, done, to, row] = match
    return { done: BigInt(done!), ...(to === undefined ? {} : { into: { to: BigInt(to), row: Number(row) } }) }
  }
  throw new MillraceError(
    'invalid',
    'bad-position',
    `'${text.slice(0, 100)}' is not a place in the changes of a dataset.`,
    {
      hint: 'Give the id of the last event as it was received, or leave it out to begin at the present.',
    },
  )
}

import { createHash } from 'node:crypto'
import { MillraceError } from '../base/errors.ts'

/** Where a page ended. */
export interface Cursor {
  /** Version of the rows the page was of. */
  readonly version: string
  /** The question the page answered: a cursor of one cannot go on in another. */
  readonly question: string
  /** Without an order: rows before the next page. With one: rows already given whose keys equal `keys`. */
  readonly skip: number
  /** Values of the ordering columns of the last row, as text. */
  readonly keys?: readonly (string | null)[]
}

/** Opaque to clients. */
export function writeCursor({ version, question, skip, keys }: Cursor): string {
  return Buffer.from(JSON.stringify([version, question, skip, keys ?? null])).toString('base64url')
}

/** Errors: `invalid`/`bad-cursor`. What it holds is checked like any other input where it is used. */
export function readCursor(text: string): Cursor {
  try {
    const [version, question, skip, keys] = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown[]
    const keysFit =
      keys === null || (Array.isArray(keys) && keys.every((key) => key === null || typeof key === 'string'))
    if (
      typeof version === 'string' &&
      typeof question === 'string' &&
      Number.isSafeInteger(skip) &&
      (skip as number) >= 0 &&
      keysFit
    ) {
      return { version, question, skip: skip as number, ...(keys === null ? {} : { keys: keys as (string | null)[] }) }
    }
  } catch {
    // Falls through to the one answer there is.
  }
  throw badCursor()
}

export function badCursor(): MillraceError {
  return new MillraceError('invalid', 'bad-cursor', 'The cursor is not one of this query.', {
    hint: 'Follow the `next` link as it was given, or start again without a cursor.',
  })
}

/** A short name for a question: its filters, order and columns. */
export function questionName(material: unknown): string {
  return createHash('sha256').update(JSON.stringify(material)).digest('base64url').slice(0, 12)
}

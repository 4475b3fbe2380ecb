import { MillraceError } from '../base/errors.ts'
import type { StateDatabase } from './schema.ts'

/** What is kept under a name. */
export interface Place {
  /** Any JSON value. */
  readonly value: unknown
  /** 1 for the first, and one more with each write. */
  readonly version: number
}

/** Named values that move by compare-and-swap: how far handlers are, which metadata a table is at. */
export class Places {
  readonly #database: StateDatabase

  constructor(database: StateDatabase) {
    this.#database = database
  }

  async read(name: string): Promise<Place | undefined> {
    const row = await this.#database.queries
      .selectFrom('places')
      .select(['value', 'version'])
      .where('name', '=', name)
      .executeTakeFirst()
    return row && { value: JSON.parse(row.value), version: row.version }
  }

  /**
   * Puts a value in the place of the version that was read; undefined: there must be none. Returns the new version.
   * Errors: `conflict`/`place-moved` when another was written meanwhile.
   */
  async write(name: string, value: unknown, expected: number | undefined): Promise<number> {
    const { queries, nowMs } = this.#database
    const text = JSON.stringify(value)
    const row =
      expected === undefined
        ? await queries
            .insertInto('places')
            .values({ name, value: text, version: 1, changed_at: nowMs() })
            .onConflict((conflict) => conflict.column('name').doNothing())
            .returning('version')
            .executeTakeFirst()
        : await queries
            .updateTable('places')
            .set({ value: text, version: expected + 1, changed_at: nowMs() })
            .where((known) => known.and({ name, version: expected }))
            .returning('version')
            .executeTakeFirst()
    if (row) return row.version
    throw new MillraceError(
      'conflict',
      'place-moved',
      `'${name}' is no longer at version ${expected ?? 'none'}: another process has written it.`,
      { hint: 'Read it again, and go on from there.', context: { name } },
    )
  }

  /** Forgets a name. */
  async remove(name: string): Promise<void> {
    await this.#database.queries.deleteFrom('places').where('name', '=', name).execute()
  }
}

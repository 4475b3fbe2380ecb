import { sql } from 'kysely'
import { MillraceError } from '../base/errors.ts'
import { type Migration, checksumOf } from './migrations.ts'
import type { StateDatabase, Tables } from './schema.ts'

/** Where each applied migration is noted. */
const NOTES =
  'CREATE TABLE migrations (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at bigint NOT NULL)'

/**
 * Brings the schema to where this program is, in one transaction, one process at a time. A schema that is there already is
 * only read, so a user without the right to create tables will do then.
 *
 * Errors: `invalid`/`state-newer` when a newer program was here, `corrupt`/`state-changed` when what was applied is not
 * what this program has under that number; those of the database.
 */
export async function migrate(database: StateDatabase, migrations: readonly Migration[]): Promise<void> {
  await database.queries.transaction().execute(async (transaction) => {
    // Not IF NOT EXISTS, which asks for the right to create even where there is nothing to do.
    if (!(await database.prepareMigration(transaction))) await sql.raw(NOTES).execute(transaction)
    const applied = await transaction.selectFrom('migrations').selectAll().orderBy('number').execute()
    check(database.name, applied, migrations)
    for (const [i, migration] of migrations.entries()) if (i >= applied.length) await apply(i + 1, migration)

    async function apply(number: number, migration: Migration): Promise<void> {
      for (const statement of migration.statements) await sql.raw(statement).execute(transaction)
      const note = { number, name: migration.name, checksum: checksumOf(migration), applied_at: database.nowMs() }
      await transaction.insertInto('migrations').values(note).execute()
    }
  })
}

/** Names of the migrations that `migrate` would apply. Changes nothing. Errors: as `migrate`. */
export async function pendingMigrations(database: StateDatabase, migrations: readonly Migration[]): Promise<string[]> {
  const isThere = await database.isMigrated()
  const applied = isThere ? await database.queries.selectFrom('migrations').selectAll().orderBy('number').execute() : []
  check(database.name, applied, migrations)
  return migrations.slice(applied.length).map(({ name }) => name)
}

function check(database: string, applied: readonly Tables['migrations'][], known: readonly Migration[]): void {
  const newest = applied.at(-1)
  if (newest && newest.number > known.length) {
    throw new MillraceError(
      'invalid',
      'state-newer',
      `The state in ${database} is at migration ${newest.number} ('${newest.name}'), and this version of Millrace knows ${known.length}.`,
      { hint: 'Run the version of Millrace that was here before, or a newer one: migrations only go forward.' },
    )
  }
  for (const [i, { number, name, checksum }] of applied.entries()) {
    if (number === i + 1 && checksum === checksumOf(known[i]!)) continue
    throw new MillraceError(
      'corrupt',
      'state-changed',
      `Migration ${number} ('${name}') of the state in ${database} is not the one that this version of Millrace has under that number.`,
      { hint: 'Run the version of Millrace that made it, or give this one a schema of its own.' },
    )
  }
}

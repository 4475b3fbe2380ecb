import { createHash } from 'node:crypto'

/** One step of the schema. Once released it never changes: what is applied is compared by its checksum. */
export interface Migration {
  readonly name: string
  /** Statements that SQLite and PostgreSQL both understand, without schema names. */
  readonly statements: readonly string[]
}

/** All steps in order: number 1 is the first. Forward only; a mistake is corrected by another one. */
export const MIGRATIONS: readonly Migration[] = [
  {
    name: 'leases, members, requests, places, runs',
    statements: [
      `CREATE TABLE leases (
         name text PRIMARY KEY, holder text, epoch bigint NOT NULL, acquired_at bigint NOT NULL, expires_at bigint NOT NULL)`,
      `CREATE TABLE members (
         pool text NOT NULL, member text NOT NULL, joined_at bigint NOT NULL, expires_at bigint NOT NULL, PRIMARY KEY (pool, member))`,
      `CREATE TABLE requests (
         stream text NOT NULL, key text NOT NULL, digest text NOT NULL, attempt bigint NOT NULL, payload text NOT NULL, result text,
         begun_at bigint NOT NULL, PRIMARY KEY (stream, key))`,
      'CREATE INDEX requests_by_age ON requests (begun_at)',
      'CREATE TABLE places (name text PRIMARY KEY, value text NOT NULL, version bigint NOT NULL, changed_at bigint NOT NULL)',
      `CREATE TABLE runs (
         id text PRIMARY KEY, kind text NOT NULL, dataset text, holder text NOT NULL, started_at bigint NOT NULL, ended_at bigint,
         outcome text, counts text, error text)`,
      'CREATE INDEX runs_by_start ON runs (started_at, id)',
      'CREATE INDEX runs_by_dataset ON runs (dataset, started_at, id)',
    ],
  },
]

export function checksumOf({ name, statements }: Migration): string {
  return createHash('sha256')
    .update(JSON.stringify([name, ...statements]))
    .digest('hex')
}

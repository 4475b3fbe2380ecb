/**
 * What a process of a project does. `ingest` takes records and makes them durable; `process` takes them from the log through the
 * gate into the lake, and calls functions for them; `schedule` refreshes other tables, audits, calls handlers and keeps house;
 * `serve` answers queries.
 */
export type Role = 'ingest' | 'process' | 'schedule' | 'serve'

export const ROLES: readonly Role[] = ['ingest', 'process', 'schedule', 'serve']

export const ALL_ROLES: ReadonlySet<Role> = new Set(ROLES)

import { refId } from '../metadata.ts'
import type { TableMetadata } from '../metadata.ts'
import { badRequest, commitFailed } from './error.ts'
import type { RequestPart } from './request.ts'

/** What a requirement asserts of the present metadata: undefined when it holds, else what is otherwise. */
type Check = (metadata: TableMetadata, requirement: RequestPart) => string | undefined

const CHECKS: Readonly<Record<string, Check>> = {
  'assert-create': () => 'the table exists already',
  'assert-table-uuid': (metadata, requirement) =>
    differs('the table', metadata['table-uuid'], requirement.text('uuid').toLowerCase()),
  'assert-ref-snapshot-id': (metadata, requirement) => {
    const ref = requirement.text('ref')
    const expected = requirement.has('snapshot-id') ? requirement.id('snapshot-id') : undefined
    return differs(`'${ref}'`, refId(metadata, ref) ?? 'none', expected ?? 'none')
  },
  'assert-last-assigned-field-id': asserted('last-column-id', 'last-assigned-field-id'),
  'assert-current-schema-id': asserted('current-schema-id', 'current-schema-id'),
  'assert-last-assigned-partition-id': asserted('last-partition-id', 'last-assigned-partition-id'),
  'assert-default-spec-id': asserted('default-spec-id', 'default-spec-id'),
  'assert-default-sort-order-id': asserted('default-sort-order-id', 'default-sort-order-id'),
}

/**
 * Checks the requirements of a commit against a table (Iceberg REST catalog, `TableRequirement`). Throws `conflict` /
 * `requirement-failed` for one that does not hold, `invalid` / `bad-request` for one nobody knows.
 */
export function checkRequirements(metadata: TableMetadata, requirements: readonly RequestPart[]): void {
  for (const requirement of requirements) {
    const type = requirement.text('type')
    const check = CHECKS[type]
    if (!check) throw badRequest(`The requirement '${type}' is not known.`)
    const otherwise = check(metadata, requirement)
    if (otherwise !== undefined) throw commitFailed(`Requirement failed (${type}): ${otherwise}.`)
  }
}

/** Whether a commit is to create its table. Then this is all it may require. */
export function requiresCreate(requirements: readonly RequestPart[]): boolean {
  return requirements.some((requirement) => requirement.text('type') === 'assert-create')
}

function asserted(key: keyof TableMetadata, name: string): Check {
  return (metadata, requirement) => differs(`${key}`, metadata[key], requirement.integer(name))
}

function differs(what: string, found: unknown, expected: unknown): string | undefined {
  return found === expected ? undefined : `${what} is at ${String(found)}, not at ${String(expected)}`
}

import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'
import type { Config } from '../project/config.ts'
import type { Target } from '../project/target.ts'
import { ALL_ROLES, ROLES, type Role } from '../runtime/role.ts'
import { usageError } from './command.ts'

/** The declared target of a name. Errors: `invalid`/`unknown-target`. */
export function targetNamed({ targets = {} }: Config, name: string): Target {
  const target = Object.hasOwn(targets, name) ? targets[name] : undefined
  if (target) return target
  const known = Object.keys(targets)
  throw new MillraceError('invalid', 'unknown-target', `The project has no target '${name}'.`, {
    hint:
      known.length === 0
        ? `Declare it in millrace.config.ts: targets: { ${name}: { log: { kind: 'kafka', brokers: ['host:9092'] } } }.`
        : didYouMean(name, known),
    context: { target: name },
  })
}

/** Whether all that a project keeps is where other machines are too, and leases tell who works on it: then no data directory matters. */
export function isShared({ log, lake, state }: Target): boolean {
  return log !== undefined && lake !== undefined && state !== undefined
}

/** Some roles alone need a log and a lake that other processes share. Errors: `invalid`/`usage`. */
export function checkShared(roles: ReadonlySet<Role>, target: Target | undefined): void {
  if (roles.size === ROLES.length || (target?.log && target.lake)) return
  throw usageError(
    `--role ${[...roles].join(',')} leaves work to other processes, but this one has log and lake to itself.`,
    'Name a target that has both: --target prod, with targets: { prod: { log: { … }, lake: { … } } } in millrace.config.ts.',
  )
}

/** The roles that `--role` names, each once or separated by commas; all without any. Errors: `invalid`/`usage`. */
export function rolesOf(given: readonly string[]): ReadonlySet<Role> {
  const names = given.flatMap((text) => text.split(',')).map((text) => text.trim())
  if (names.length === 0 || names.includes('all')) return ALL_ROLES
  for (const name of names)
    if (!ROLES.includes(name as Role)) throw usageError(`--role is '${name}'.`, didYouMean(name, [...ROLES, 'all']))
  return new Set(names as Role[])
}

import { MillraceError } from '../base/errors.ts'

export interface TableId {
  readonly namespace: string
  readonly name: string
}

export function nameOf({ namespace, name }: TableId): string {
  return `${namespace}.${name}`
}

/** Whether a text may name a table or a namespace. */
export function isName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name) && name.length <= 200
}

/** Throws `invalid` / `bad-name`. */
export function checkName(name: string): void {
  if (isName(name)) return
  throw new MillraceError('invalid', 'bad-name', `'${name}' cannot name a table or namespace of the lake.`, {
    hint: 'Use letters, digits, underscores, dots and dashes, beginning with a letter, a digit or an underscore.',
  })
}

/** Throws `invalid` / `bad-name`. */
export function checkId(id: TableId): void {
  for (const name of [id.namespace, id.name]) checkName(name)
}

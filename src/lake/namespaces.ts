import { MillraceError } from '../base/errors.ts'
import { parseJson, stringifyJson } from './json.ts'
import type { Lake } from './lake.ts'
import { checkName } from './name.ts'

/** Holds the properties of a namespace that was created by name, and keeps it while it has no table. */
const FILE = '.namespace.json'

/**
 * The namespaces of a lake: those that hold a table, and those that were created. Millrace itself needs no namespace to be
 * created; engines that attach through the catalog do it before they create tables.
 */
export class Namespaces {
  readonly #lake: Pick<Lake, 'context' | 'list'>

  constructor(lake: Pick<Lake, 'context' | 'list'>) {
    this.#lake = lake
  }

  async list(): Promise<string[]> {
    const { store } = this.#lake.context
    const found = new Set((await this.#lake.list()).map(({ namespace }) => namespace))
    for (const name of await store.names(store.root)) if (await this.#created(name)) found.add(name)
    return [...found].sort()
  }

  /** Its properties; undefined when there is no such namespace. */
  async load(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    return (await this.#created(name)) ?? ((await this.#hasTables(name)) ? {} : undefined)
  }

  /** Throws `conflict` / `namespace-exists`, `invalid` / `bad-name`. */
  async create(name: string, properties: Readonly<Record<string, string>>): Promise<void> {
    checkName(name)
    if ((await this.load(name)) !== undefined) throw exists(name)
    const { store } = this.#lake.context
    const draft = store.draft(`${store.root}/${name}/${FILE}`, Buffer.from(stringifyJson({ properties })))
    await store.makeNamespace(name)
    try {
      await draft.write()
      if (!(await draft.publish())) throw exists(name)
    } finally {
      await draft.discard()
    }
  }

  /** Throws `conflict` / `namespace-not-empty`. Returns whether there was one. */
  async drop(name: string): Promise<boolean> {
    if (await this.#hasTables(name)) {
      throw new MillraceError('conflict', 'namespace-not-empty', `The namespace '${name}' has tables.`, {
        hint: 'Drop them first.',
      })
    }
    if ((await this.#created(name)) === undefined) return false
    const { store } = this.#lake.context
    await store.remove(`${store.root}/${name}/${FILE}`)
    return true
  }

  async #hasTables(name: string): Promise<boolean> {
    return (await this.#lake.list(name)).length > 0
  }

  async #created(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    const { store } = this.#lake.context
    try {
      const { properties } = parseJson((await store.read(`${store.root}/${name}/${FILE}`)).toString('utf8')) as {
        properties: Record<string, string>
      }
      return properties
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found') return undefined
      throw error
    }
  }
}

function exists(name: string): MillraceError {
  return new MillraceError('conflict', 'namespace-exists', `The namespace '${name}' exists already.`)
}

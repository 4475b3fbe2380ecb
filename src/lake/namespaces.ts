import { MillraceError } from '../base/errors.ts'
import type { Catalog, Namespaces } from './catalog.ts'
import { parseJson, stringifyJson } from './json.ts'
import { checkName } from './name.ts'
import type { LakeStore } from './store.ts'

/** Holds the properties of a namespace that was created by name, and keeps it while it has no table. */
const FILE = '.namespace.json'

/**
 * Namespaces as a lake's own files tell of them. Millrace itself needs none to be created; engines that attach through the
 * catalog do it before they create tables.
 */
export class FileNamespaces implements Namespaces {
  readonly #store: LakeStore
  readonly #catalog: Pick<Catalog, 'tables'>

  constructor(store: LakeStore, catalog: Pick<Catalog, 'tables'>) {
    this.#store = store
    this.#catalog = catalog
  }

  async list(): Promise<string[]> {
    const store = this.#store
    const found = new Set((await this.#catalog.tables()).map(({ namespace }) => namespace))
    for (const name of await store.names(store.root)) if (await this.#created(name)) found.add(name)
    return [...found].sort()
  }

  async load(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    return (await this.#created(name)) ?? ((await this.#hasTables(name)) ? {} : undefined)
  }

  async create(name: string, properties: Readonly<Record<string, string>>): Promise<void> {
    checkName(name)
    if ((await this.load(name)) !== undefined) throw exists(name)
    const store = this.#store
    const draft = store.draft(`${store.root}/${name}/${FILE}`, Buffer.from(stringifyJson({ properties })))
    await store.makeNamespace(name)
    try {
      await draft.write()
      if (!(await draft.publish())) throw exists(name)
    } finally {
      await draft.discard()
    }
  }

  async drop(name: string): Promise<boolean> {
    if (await this.#hasTables(name)) {
      throw new MillraceError('conflict', 'namespace-not-empty', `The namespace '${name}' has tables.`, {
        hint: 'Drop them first.',
      })
    }
    if ((await this.#created(name)) === undefined) return false
    const store = this.#store
    await store.remove(`${store.root}/${name}/${FILE}`)
    return true
  }

  async #hasTables(name: string): Promise<boolean> {
    return (await this.#catalog.tables(name)).length > 0
  }

  async #created(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    const store = this.#store
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

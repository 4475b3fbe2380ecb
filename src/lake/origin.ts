import { MillraceError } from '../base/errors.ts'
import type { Lake } from './lake.ts'

/** Where the tables of a lake were carried from, and whether all is there. */
export interface Origin {
  /** What they were carried from, for people. */
  readonly from: string
  /** Uuids of tables there, by namespace and name: they tell one source from another. */
  readonly tables: Readonly<Record<string, string>>
  readonly state: 'carrying' | 'done'
  /** When that state was reached, ISO 8601. */
  readonly at: string
}

/** No namespace can be called so. */
const FILE = '.origin.json'

/** Undefined for a lake that nothing was carried to. Errors: `corrupt`/`bad-origin`. */
export async function readOrigin({ context: { store } }: Lake): Promise<Origin | undefined> {
  const path = `${store.root}/${FILE}`
  let text: string
  try {
    text = (await store.read(path)).toString('utf8')
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not-found') return undefined
    throw error
  }
  try {
    const origin = JSON.parse(text) as Origin
    if (origin.state === 'carrying' || origin.state === 'done') return origin
  } catch {
    // Told below.
  }
  throw new MillraceError('corrupt', 'bad-origin', `${path} does not say where the lake's tables came from.`, {
    hint: 'Restore it, or remove it where the lake is known to be whole.',
    context: { path },
  })
}

/** Errors: `conflict`/`target-in-use` when somebody else is about to carry tables there. */
export async function beginOrigin({ context: { store } }: Lake, namespace: string, origin: Origin): Promise<void> {
  // On a disk, the place must be there.
  await store.makeNamespace(namespace)
  const draft = store.draft(`${store.root}/${FILE}`, encoded(origin))
  try {
    await draft.write()
    if (await draft.publish()) return
  } finally {
    await draft.discard()
  }
  throw new MillraceError('conflict', 'target-in-use', `Another process carries tables to ${store.root}.`, {
    hint: 'Let one process do it.',
  })
}

/** Everything is there. */
export function endOrigin({ context: { store } }: Lake, origin: Origin): Promise<void> {
  return store.note(`${store.root}/${FILE}`, encoded(origin))
}

function encoded(origin: Origin): Buffer {
  return Buffer.from(`${JSON.stringify(origin)}\n`)
}

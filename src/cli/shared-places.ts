import { MillraceError } from '../base/errors.ts'
import { readPosition, writePosition } from '../runtime/change-position.ts'
import type { HandlerPlace, HandlerPlaces } from '../runtime/handler-places.ts'
import type { Places } from '../state/places.ts'

/**
 * How far the handlers are, where all processes see it. Each write replaces what this process read or wrote last: one that another
 * has taken the place of meanwhile cannot move it back.
 */
export class SharedPlaces implements HandlerPlaces {
  readonly #places: Places
  readonly #versions = new Map<string, number>()

  constructor(places: Places) {
    this.#places = places
  }

  async read(handler: string): Promise<HandlerPlace | undefined> {
    const found = await this.#places.read(nameOf(handler))
    if (!found) {
      this.#versions.delete(handler)
      return undefined
    }
    this.#versions.set(handler, found.version)
    const { dataset, position, reset } = (found.value ?? {}) as Record<string, unknown>
    if (typeof dataset === 'string' && typeof position === 'string')
      return { dataset, position: readPosition(position), reset: reset === true }
    throw new MillraceError('corrupt', 'bad-handler-file', `The state does not say how far handler '${handler}' is.`, {
      hint: `Remove '${nameOf(handler)}' from its table 'places': the handler then begins anew, as one never seen.`,
      context: { handler },
    })
  }

  /** Errors: `conflict`/`place-moved` when another process has written it, or the answer to one's own write was lost: it is to be read again. */
  async write(handler: string, { dataset, position, reset }: HandlerPlace): Promise<void> {
    const value = { dataset, position: writePosition(position), ...(reset ? { reset } : {}) }
    this.#versions.set(handler, await this.#places.write(nameOf(handler), value, this.#versions.get(handler)))
  }
}

function nameOf(handler: string): string {
  return `handler/${handler}`
}

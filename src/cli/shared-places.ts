import { asMillraceError } from '../base/errors.ts'
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
    const { dataset, position, reset } = found.value as { dataset: string; position: string; reset?: boolean }
    return { dataset, position: readPosition(position), reset: reset === true }
  }

  /** Errors: `conflict`/`place-moved` when another process has written it. */
  async write(handler: string, { dataset, position, reset }: HandlerPlace): Promise<void> {
    const value = { dataset, position: writePosition(position), ...(reset ? { reset } : {}) }
    try {
      this.#versions.set(handler, await this.#places.write(nameOf(handler), value, this.#versions.get(handler)))
    } catch (error) {
      // The answer to a write may have been lost on its way.
      if (asMillraceError(error).code === 'place-moved') await this.read(handler)
      throw error
    }
  }
}

function nameOf(handler: string): string {
  return `handler/${handler}`
}

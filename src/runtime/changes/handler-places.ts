import { join } from 'node:path'
import { MillraceError, asMillraceError } from '../../base/errors.ts'
import { type Disk, replaceFile } from '../../storage/disk.ts'
import type { Places } from '../../state/places.ts'
import { type ChangePosition, readPosition, writePosition } from './change-position.ts'

/** How far a handler is: everything before was delivered, and what it returned resolved. */
export interface HandlerPlace {
  readonly dataset: string
  readonly position: ChangePosition
  /** History was lost: what is being delivered is all there is. */
  readonly reset: boolean
}

/** Where handlers keep how far they are: `DiskPlaces`, or `StatePlaces` where processes share a project. */
export interface HandlerPlaces {
  /** Undefined for a handler never seen. Errors: `corrupt`/`bad-handler-file`; those of disk or state. */
  read(handler: string): Promise<HandlerPlace | undefined>
  /** Durable when it resolves. Errors: `conflict`/`place-moved` when another process has moved the handler on; those of disk or state. */
  write(handler: string, place: HandlerPlace): Promise<void>
}

/** A file for each handler: docs/formats/handlers.md. */
export class DiskPlaces implements HandlerPlaces {
  readonly #disk: Disk
  readonly #directory: string
  #made = false

  constructor(disk: Disk, dataDirectory: string) {
    this.#disk = disk
    this.#directory = join(dataDirectory, 'handlers')
  }

  async read(handler: string): Promise<HandlerPlace | undefined> {
    const path = this.#path(handler)
    let bytes: Buffer
    try {
      bytes = await this.#disk.readFile(path)
    } catch (error) {
      if (asMillraceError(error).code === 'not-found') return undefined
      throw error
    }
    const place = placeFrom(parsed(bytes.toString('utf8')))
    if (place) return place
    throw new MillraceError('corrupt', 'bad-handler-file', `${path} does not say how far handler '${handler}' is.`, {
      hint: 'Restore the file from a backup, or remove it: the handler then begins anew, as one never seen.',
      context: { path },
    })
  }

  async write(handler: string, place: HandlerPlace): Promise<void> {
    if (!this.#made) await this.#disk.makeDirectory(this.#directory)
    this.#made = true
    await replaceFile(this.#disk, this.#path(handler), Buffer.from(`${JSON.stringify(contentOf(place))}\n`))
  }

  #path(handler: string): string {
    return join(this.#directory, `${handler}.json`)
  }
}

/** In the state that processes share. One that was taken for dead and has another handle its changes cannot take it back. */
export class StatePlaces implements HandlerPlaces {
  readonly #places: Places
  /** Versions as this process knows them. */
  readonly #versions = new Map<string, number>()

  constructor(places: Places) {
    this.#places = places
  }

  async read(handler: string): Promise<HandlerPlace | undefined> {
    const name = nameOf(handler)
    const found = await this.#places.read(name)
    if (!found) {
      this.#versions.delete(handler)
      return undefined
    }
    this.#versions.set(handler, found.version)
    const place = placeFrom(found.value)
    if (place) return place
    throw new MillraceError('corrupt', 'bad-handler-file', `The state does not say how far handler '${handler}' is.`, {
      hint: `Restore the database, or remove '${name}' from its table 'places': the handler then begins anew, as one never seen.`,
      context: { place: name },
    })
  }

  async write(handler: string, place: HandlerPlace): Promise<void> {
    const version = await this.#places.write(nameOf(handler), contentOf(place), this.#versions.get(handler))
    this.#versions.set(handler, version)
  }
}

function nameOf(handler: string): string {
  return `handler/${handler}`
}

function contentOf({ dataset, position, reset }: HandlerPlace): Record<string, unknown> {
  return { dataset, position: writePosition(position), ...(reset ? { reset } : {}) }
}

/** Undefined for what is no place. */
function placeFrom(content: unknown): HandlerPlace | undefined {
  const { dataset, position, reset } = (content ?? {}) as Record<string, unknown>
  if (typeof dataset !== 'string' || typeof position !== 'string') return undefined
  try {
    return { dataset, position: readPosition(position), reset: reset === true }
  } catch (error) {
    if (asMillraceError(error).code === 'bad-position') return undefined
    throw error
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

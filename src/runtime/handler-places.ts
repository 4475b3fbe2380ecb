import { join } from 'node:path'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { type Disk, replaceFile } from '../storage/disk.ts'
import { type ChangePosition, readPosition, writePosition } from './change-position.ts'

/** How far a handler is: everything before was delivered, and what it returned resolved. */
export interface HandlerPlace {
  readonly dataset: string
  readonly position: ChangePosition
  /** History was lost: what is being delivered is all there is. */
  readonly reset: boolean
}

/** Keeps how far the handlers are. */
export interface HandlerPlaces {
  /** Undefined for a handler never seen. */
  read(handler: string): Promise<HandlerPlace | undefined>
  /** Durable when it resolves. */
  write(handler: string, place: HandlerPlace): Promise<void>
}

/** How far the handlers are, in a file each: docs/formats/handlers.md. */
export class HandlerFiles implements HandlerPlaces {
  readonly #disk: Disk
  readonly #directory: string
  #made = false

  constructor(disk: Disk, dataDirectory: string) {
    this.#disk = disk
    this.#directory = join(dataDirectory, 'handlers')
  }

  /** Undefined for a handler never seen. Errors: `corrupt`/`bad-handler-file`. */
  async read(handler: string): Promise<HandlerPlace | undefined> {
    const path = this.#path(handler)
    try {
      const { dataset, position, reset } = JSON.parse((await this.#disk.readFile(path)).toString('utf8')) as Record<
        string,
        unknown
      >
      if (typeof dataset === 'string' && typeof position === 'string')
        return { dataset, position: readPosition(position), reset: reset === true }
    } catch (error) {
      if (asMillraceError(error).code === 'not-found') return undefined
      if (error instanceof MillraceError && error.code !== 'bad-position') throw error
    }
    throw new MillraceError('corrupt', 'bad-handler-file', `${path} does not say how far handler '${handler}' is.`, {
      hint: 'Restore the file from a backup, or remove it: the handler then begins anew, as one never seen.',
      context: { path },
    })
  }

  /** Durable when it resolves. */
  async write(handler: string, { dataset, position, reset }: HandlerPlace): Promise<void> {
    if (!this.#made) await this.#disk.makeDirectory(this.#directory)
    this.#made = true
    const content = { dataset, position: writePosition(position), ...(reset ? { reset } : {}) }
    await replaceFile(this.#disk, this.#path(handler), Buffer.from(`${JSON.stringify(content)}\n`))
  }

  #path(handler: string): string {
    return join(this.#directory, `${handler}.json`)
  }
}

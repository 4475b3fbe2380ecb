import type { S3Credentials } from '../storage/s3/config.ts'

/** What opens the files of a table. */
export interface Access {
  readonly credentials: S3Credentials
  /** When the credentials end, ms since the epoch; undefined where that is not told. */
  readonly expiresAtMs?: number
  /** Of the store, where the catalog tells. */
  readonly endpoint?: string
  readonly region?: string
}

interface Entry {
  readonly access: Access
  readonly renew: () => Promise<Access | undefined>
}

/** Credentials end this long before they do: what was begun with them has time. */
const MARGIN_MS = 60_000

/** Credentials that a catalog hands out with its tables, by where these lie. Nothing of it is ever told. */
export class VendedAccess {
  readonly #entries = new Map<string, Entry>()

  /** `renew` asks for new ones. */
  set(place: string, access: Access, renew: Entry['renew']): void {
    this.#entries.set(place, { access, renew })
  }

  /** The place whose credentials open a location; undefined where none were handed out. */
  placeOf(location: string): string | undefined {
    for (let at = location; at.includes('/'); at = at.slice(0, at.lastIndexOf('/')))
      if (this.#entries.has(at)) return at
    return undefined
  }

  accessOf(place: string): Access {
    return this.#entries.get(place)!.access
  }

  /** Credentials of a place that are good for a while yet, and until when. */
  async credentialsOf(place: string, nowMs: number): Promise<S3Credentials & { readonly expiration?: Date }> {
    const { access, renew } = this.#entries.get(place)!
    let present = access
    if ((access.expiresAtMs ?? Infinity) - MARGIN_MS <= nowMs) {
      present = (await renew()) ?? access
      this.#entries.set(place, { access: present, renew })
    }
    const { credentials, expiresAtMs } = present
    return { ...credentials, ...(expiresAtMs === undefined ? {} : { expiration: new Date(expiresAtMs) }) }
  }
}

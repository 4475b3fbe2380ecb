import type { Access } from '../access.ts'
import { normalLocation } from '../location.ts'

type Settings = Readonly<Record<string, string>>

/** What a catalog says of the files of a table (`LoadTableResult` of the specification). */
export interface FileSettings {
  readonly config?: Settings
  readonly 'storage-credentials'?: readonly { readonly prefix: string; readonly config: Settings }[]
}

/** Asks the catalog to hand out credentials with a table. */
export const DELEGATION = { 'x-iceberg-access-delegation': 'vended-credentials' } as const

/** The credentials that open a place: those of the longest prefix, else those among the settings. Undefined without any. */
export function accessIn(files: FileSettings, location: string): Access | undefined {
  const { config = {}, 'storage-credentials': granted = [] } = files
  const fitting = granted.filter(({ prefix }) => location.startsWith(normalLocation(prefix)))
  const longest = fitting.toSorted((a, b) => b.prefix.length - a.prefix.length)[0]
  const settings = { ...config, ...longest?.config }
  const accessKeyId = settings['s3.access-key-id']
  const secretAccessKey = settings['s3.secret-access-key']
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined
  const sessionToken = settings['s3.session-token']
  const expires = Number(settings['s3.session-token-expires-at-ms'] ?? settings['expiration-time'])
  const endpoint = settings['s3.endpoint']
  const region = settings['client.region'] ?? settings['s3.region']
  return {
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
    ...(Number.isSafeInteger(expires) ? { expiresAtMs: expires } : {}),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
  }
}

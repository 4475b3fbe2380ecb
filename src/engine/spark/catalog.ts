import { MillraceError } from '../../base/errors.ts'
import { quoteName } from './quote.ts'
import type { SparkSession } from './session.ts'

/** How Spark gets at the lake. */
export type CatalogAddress =
  /** Millrace's REST catalog, or another one of the same lake. */
  | { readonly uri: string; readonly token?: string }
  /** The lake's directory, on a disk that Spark and Millrace see at the same path. */
  | { readonly directory: string }

/** The catalog's name in the SQL of a session. */
export const CATALOG = 'millrace'

const PREFIX = `spark.sql.catalog.${CATALOG}`

/**
 * Settings that give a session the lake as catalog `millrace`. Spark makes catalogs when they are first named, so these can be
 * set on a session that runs. Tables are never cached: Millrace commits beside Spark.
 */
export function catalogSettings(
  address: CatalogAddress,
  files: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const own: Record<string, string> =
    'uri' in address
      ? { type: 'rest', uri: address.uri, ...(address.token === undefined ? {} : { token: address.token }) }
      : { type: 'hadoop', warehouse: address.directory }
  const settings = Object.entries({ ...own, 'cache-enabled': 'false', ...files })
  return {
    [PREFIX]: 'org.apache.iceberg.spark.SparkCatalog',
    ...Object.fromEntries(settings.map(([key, value]) => [`${PREFIX}.${key}`, value])),
  }
}

/** The files of a lake on S3, as the catalog's settings. Without keys Spark uses what its own environment gives it. */
export function s3Files(s3: {
  readonly endpoint?: string
  readonly region?: string
  readonly accessKeyId?: string
  readonly secretAccessKey?: string
}): Record<string, string> {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3
  return {
    'io-impl': 'org.apache.iceberg.aws.s3.S3FileIO',
    ...(endpoint === undefined ? {} : { 's3.endpoint': endpoint, 's3.path-style-access': 'true' }),
    ...(region === undefined ? {} : { 'client.region': region }),
    ...(accessKeyId === undefined ? {} : { 's3.access-key-id': accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { 's3.secret-access-key': secretAccessKey }),
  }
}

/** The name of a lake table in SQL. */
export function tableName({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return [CATALOG, namespace, name].map(quoteName).join('.')
}

/**
 * Looks whether a session gets at its catalog, by loading it. Throws `invalid` / `no-iceberg` when Spark lacks Iceberg's
 * classes, `unavailable` / `catalog-unreachable` when the catalog does not answer Spark.
 */
export async function checkCatalog(session: SparkSession): Promise<void> {
  try {
    await session.execute(`SET CATALOG ${quoteName(CATALOG)}`)
    await session.execute('SET CATALOG spark_catalog')
  } catch (cause) {
    if (!(cause instanceof MillraceError) || cause.code !== 'engine-lost') throw cause
    throw new MillraceError(
      'unavailable',
      'catalog-unreachable',
      `Spark does not reach the lake's catalog: ${cause.message}`,
      {
        hint: 'engine.catalog in millrace.config.ts is an address that Spark can reach, not only Millrace.',
        context: cause.context,
        cause,
      },
    )
  }
}

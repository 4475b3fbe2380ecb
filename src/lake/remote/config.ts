/** Another Iceberg REST catalog, in the terms of Iceberg's own clients. */
export interface CatalogConfig {
  /** `https://host:8181/path`, to which `/v1/…` is added. */
  readonly uri: string
  /** What the catalog calls the warehouse, where it has several. */
  readonly warehouse?: string
  /** A bearer token. */
  readonly token?: string
  /** `id:secret` of OAuth2 client credentials, for which the catalog or `oauth2ServerUri` gives tokens. */
  readonly credential?: string
  /** Default: the catalog's own, `/v1/oauth/tokens`. */
  readonly oauth2ServerUri?: string
  /** Default `catalog`. */
  readonly scope?: string
  /** Namespace that holds those of the lake, its levels divided by dots. Default: none, they are at the top. */
  readonly namespace?: string
}

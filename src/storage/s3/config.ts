export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** A bucket, or a part of one. */
export interface S3Config {
  readonly bucket: string
  /** Path within the bucket, without slashes at its ends. Default: the whole bucket. */
  readonly prefix?: string
  /** Of a store that is not Amazon's: `http://host:port`. Buckets are then addressed by path. */
  readonly endpoint?: string
  /** Default us-east-1. */
  readonly region?: string
  /** Default: those of the environment, as Amazon's own tools find them. */
  readonly credentials?: S3Credentials
  /** Bytes of files kept on the local disk for reading. Default 10 GiB. */
  readonly cacheBytes?: number
}

export const DEFAULT_REGION = 'us-east-1'

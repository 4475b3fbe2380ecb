import type { Target } from './target.ts'

/** Options of a project, in `millrace.config.ts`. Sizes in bytes; times in words ('1 second'). */
export interface Config {
  /** The project's name: the lake namespace. Default: the folder's name. */
  name?: string
  /** Globs of files that export datasets and endpoints, relative to the project. Default: every .ts file but tests. */
  include?: readonly string[]
  server?: {
    /** Default 4400. */
    port?: number
    /** Default 127.0.0.1; any other needs a token. */
    host?: string
    /** Bearer token for every request. Better given as MILLRACE_TOKEN. */
    token?: string
    /** Largest request body after decompression, in bytes. Default 16 MiB. */
    bodyLimit?: number
  }
  ingest?: {
    /** Acknowledged but unprocessed bytes a stream may hold before it answers 429. Default 1 GiB. */
    backlogBytes?: number
    /** Longest time between two lake commits of a busy stream. Default '1 second'. */
    commitInterval?: string
    /** Largest single record in bytes. Default 1 MiB. */
    recordLimit?: number
  }
  limits?: {
    /** Worker threads that run lanes. Default: one for each processor; a thread starts with its first lane. */
    laneWorkers?: number
    /** Worker threads that call TypeScript functions. Default: one for each processor; a thread starts with its first call. */
    functionWorkers?: number
    /** Bytes of JavaScript objects that each of these threads may hold. Default 512 MiB. */
    functionMemory?: number
    /** Bytes of keys that one lane of a stream with unique columns may remember. Default 512 MiB, some 12 million keys. */
    uniqueMemory?: number
    /** Memory for the engine that computes tables, in bytes. Default 1 GiB. */
    engineMemory?: number
    /** Memory, rows and time of one SQL request. Defaults 512 MiB, 100,000 rows, '30 seconds'. */
    queryMemory?: number
    queryRows?: number
    queryTime?: string
    /** Tables refreshed at once. Default 2. */
    refreshes?: number
  }
  lake?: {
    /** Snapshots younger than this are kept. Default '7 days'. */
    snapshotAge?: string
    /** Size compaction aims for, in bytes. Default 128 MiB. */
    targetFileSize?: number
  }
  /** What the project can run on beside this machine alone, by name: `millrace start --target prod`. */
  targets?: Readonly<Record<string, Target>>
}

export function defineConfig(config: Config): Config {
  return config
}

import type { Home } from './home.ts'
import type { Program } from './processes.ts'

export type ServiceName = 'kafka' | 'spark' | 's3' | 'postgres' | 'registry'

/** One of the servers that tests at scale run against. */
export interface Service {
  readonly name: ServiceName
  /** What it is, with its version. */
  readonly title: string
  /** Started when it is named only: most have no need of it. */
  readonly optional?: true
  /** Brings its programs where they are missing. Errors say what the machine lacks and how to get it. */
  install(home: Home, say: (text: string) => void): Promise<void>
  /** How many processes it is. */
  processes(home: Home): number
  /** Names under which ports are remembered. */
  ports(home: Home): string[]
  /** Writes what its processes, which do not run yet, are configured by. Ports are chosen and programs installed. */
  prepare(home: Home): Promise<void>
  /** What to run. Throws when no ports were chosen. */
  programs(home: Home): Program[]
  /** Asks for something that only a server in order answers. Throws while it is not. */
  probe(home: Home): Promise<void>
  /** Where and as whom to reach it, by the names of environment variables. */
  environment(home: Home): Record<string, string>
  /** The variable to show in a table. */
  readonly address: string
}

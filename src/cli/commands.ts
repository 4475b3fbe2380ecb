import type { Command } from './command.ts'

/** All commands, in the order help shows them. Each is loaded when it is used. */
export const COMMANDS: Readonly<Record<string, { readonly summary: string; load(): Promise<{ default: Command }> }>> = {
  init: { summary: 'Make a new project', load: () => import('./commands/init.ts') },
  dev: { summary: 'Run a project and reload it when its files change', load: () => import('./commands/dev.ts') },
  start: { summary: 'Run a project as a server', load: () => import('./commands/start.ts') },
  plan: { summary: 'Check a project and show its graph', load: () => import('./commands/plan.ts') },
  run: { summary: 'Load files, process, refresh tables, once', load: () => import('./commands/run.ts') },
  query: { summary: 'Ask the published data in SQL', load: () => import('./commands/query.ts') },
  status: { summary: 'Show the state of every dataset', load: () => import('./commands/status.ts') },
  quarantine: { summary: 'List, show or replay refused records', load: () => import('./commands/quarantine.ts') },
  replay: { summary: 'Process a stream again through the present code', load: () => import('./commands/replay.ts') },
  verify: {
    summary: 'Recompute datasets and compare with what is published',
    load: () => import('./commands/verify.ts'),
  },
  migrate: { summary: 'Carry an embedded warehouse to a target', load: () => import('./commands/migrate.ts') },
  maintain: { summary: 'Compact files, expire snapshots, clean up', load: () => import('./commands/maintain.ts') },
}

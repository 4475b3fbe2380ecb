import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import type { Output } from './effects.ts'

export function generalHelp(out: Output): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  return `${[
    `${out.style('bold', 'millrace')}: streams, tables, checks and endpoints of one TypeScript project, run.`,
    '',
    out.style('bold', 'Usage'),
    '  millrace COMMAND [options]',
    '',
    out.style('bold', 'Commands'),
    ...Object.entries(COMMANDS).map(([name, { summary }]) => `  ${out.style('cyan', name.padEnd(width))}  ${summary}`),
    '',
    out.style('bold', 'A first project'),
    '  millrace init clicks && cd clicks && millrace dev',
    '',
    out.style('dim', 'millrace COMMAND --help shows options and examples of a command.'),
  ].join('\n')}\n`
}

export function commandHelp(name: string, command: Command, out: Output): string {
  const rows: [string, string][] = Object.entries(command.options).map(([key, spec]) => [
    spec.type === 'boolean' ? `--${key}` : `--${key} ${spec.value}`,
    spec.doc,
  ])
  rows.push(['--help', 'This text.'])
  const width = Math.max(...rows.map(([left]) => left.length))
  return `${[
    `${out.style('bold', `millrace ${name}`)}: ${command.summary}`,
    ...(command.details === undefined ? [] : ['', command.details]),
    '',
    out.style('bold', 'Usage'),
    `  millrace ${name} ${command.usage}`,
    '',
    out.style('bold', 'Options'),
    ...rows.map(([left, doc]) => `  ${out.style('cyan', left.padEnd(width))}  ${doc}`),
    '',
    out.style('bold', command.examples.length === 1 ? 'Example' : 'Examples'),
    ...command.examples.map((example) => `  ${example}`),
  ].join('\n')}\n`
}

import { resolve } from 'node:path'
import { JSON_OPTION, command, usageError } from '../command.ts'
import { TEMPLATES, makeProject } from '../make-project.ts'
import { nearPath } from '../report-error.ts'

export default command({
  summary: 'Make a new project.',
  usage: '[DIR] [--template NAME]',
  details: `Writes a small project that works, to be changed. Never overwrites a file.

Templates
${Object.entries(TEMPLATES)
  .map(([name, what]) => `  ${name.padEnd(8)} ${what}`)
  .join('\n')}`,
  options: {
    template: {
      type: 'string',
      value: 'NAME',
      doc: `What to begin with: ${Object.keys(TEMPLATES).join(' or ')}. Default: clicks.`,
    },
    ...JSON_OPTION,
  },
  arguments: { min: 0, max: 1 },
  examples: ['millrace init clicks', 'millrace init sales --template files'],
  async run(options, { cwd, env, out }) {
    if (options.args[0] === '') throw usageError('DIR is empty.', 'Name a folder: millrace init DIR.')
    const directory = resolve(cwd, options.args[0] ?? '.')
    const files = await makeProject(directory, options.template ?? 'clicks')
    if (options.json) {
      out.write(`${JSON.stringify({ directory, files })}\n`)
      return 0
    }
    const near = nearPath(directory, cwd)
    const millrace = env['npm_command'] === 'exec' ? 'npx millrace' : 'millrace'
    const place = near === '.' ? '' : ` --project ${quoted(near)}`
    out.write(
      [
        `Made ${near === '.' ? 'a project here' : near}: ${files.join(', ')}.`,
        '',
        'Next:',
        ...['plan', 'dev'].map((verb) => `  ${out.style('cyan', `${millrace} ${verb}${place}`)}`),
        '',
      ].join('\n'),
    )
    return 0
  },
})

/** A path as a shell takes it for one word. */
function quoted(path: string): string {
  return /^[\w./+@-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

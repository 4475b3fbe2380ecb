import { JSON_OPTION, PROJECT_OPTIONS, command } from '../command.ts'
import { homeOf } from '../home.ts'
import { planDocument, planText } from '../plan-text.ts'
import { planProject } from '../plan-project.ts'
import { ProjectProblems } from '../report-error.ts'

export default command({
  summary: 'Check a project and show its graph.',
  usage: '[options]',
  details: `Finds everything that is wrong with the project's files, declarations and SQL, all at once, with file and line. Needs no
data and changes nothing. Exit code 1 when there is a problem.`,
  options: { project: PROJECT_OPTIONS.project, ...JSON_OPTION },
  arguments: { min: 0, max: 0 },
  examples: ['millrace plan --project examples/shop', 'millrace plan --json'],
  async run(options, effects) {
    const home = homeOf(options, effects)
    const plan = await planProject(home.project)
    if (options.json) {
      effects.out.write(`${JSON.stringify(planDocument(plan))}\n`)
      return plan.problems.length === 0 ? 0 : 1
    }
    if (plan.problems.length > 0) throw new ProjectProblems(home.project, plan.problems)
    effects.out.write(`${planText(plan, effects.out)}\n`)
    return 0
  },
})

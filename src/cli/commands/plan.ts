import { JSON_OPTION, PROJECT_OPTIONS, command } from '../command.ts'
import { ENGINES_OPTION, enginesOf } from '../engines.ts'
import { homeOf } from '../home.ts'
import { planProject } from '../plan-project.ts'
import { planDocument, planText } from '../plan-text.ts'
import { ProjectProblems } from '../report-error.ts'
import { storedProblems } from '../stored.ts'

export default command({
  summary: 'Check a project and show its graph.',
  usage: '[options]',
  details: `Finds everything that is wrong with the project's files, declarations and SQL, all at once, with file and line; and where
data has been stored, what keeps it from following the declarations. Where a target computes with Spark, also what in the SQL
Spark would not take or would take for something else; with --engines duckdb,spark whatever the targets are, and the Spark of
a target is asked for the types of all columns. Needs no data, takes no lock, changes nothing.
Exit code 1 when there is a problem.`,
  options: { ...PROJECT_OPTIONS, ...ENGINES_OPTION, ...JSON_OPTION },
  arguments: { min: 0, max: 0 },
  examples: ['millrace plan --project examples/shop', 'millrace plan --engines duckdb,spark', 'millrace plan --json'],
  async run(options, effects) {
    const home = homeOf(options, effects)
    const found = await planProject(home.project, { engines: enginesOf(options.engines) })
    const plan = {
      ...found,
      problems: [...found.problems, ...(await storedProblems(found.bound, home.data, effects.disk))],
    }
    if (options.json) {
      effects.out.write(`${JSON.stringify(planDocument(plan))}\n`)
      return plan.problems.length === 0 ? 0 : 1
    }
    if (plan.problems.length > 0) throw new ProjectProblems(home.project, plan.problems)
    effects.out.write(`${planText(plan, effects.out)}\n`)
    return 0
  },
})

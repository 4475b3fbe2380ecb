import { JSON_OPTION, PROJECT_OPTIONS, TARGET_OPTION, command } from '../command.ts'
import { ENGINES_OPTION, enginesOf } from '../engines.ts'
import { homeOf } from '../home.ts'
import { planProject } from '../plan-project.ts'
import { planDocument, planText } from '../plan-text.ts'
import { ProjectProblems } from '../report-error.ts'
import { openSight } from '../sight.ts'
import { planStored } from '../stored.ts'
import { targetText } from '../target-text.ts'

export default command({
  summary: 'Check a project and show its graph.',
  usage: '[options]',
  details: `Finds everything that is wrong with the project's files, declarations and SQL, all at once, with file and line; and where
data has been stored, what keeps it from following the declarations. Where a target computes with Spark, also what in the SQL
Spark would not take or would take for something else; with --engines duckdb,spark whatever the targets are, and the Spark of
a target is asked for the types of all columns. Needs no data, takes no lock, changes nothing.
With --target it shows what starting there would do: topics, tables and schema to be made or changed, and asks the target's Spark.
Exit code 1 when there is a problem.`,
  options: { ...PROJECT_OPTIONS, ...TARGET_OPTION, ...ENGINES_OPTION, ...JSON_OPTION },
  arguments: { min: 0, max: 0 },
  examples: [
    'millrace plan --project examples/shop',
    'millrace plan --target prod',
    'millrace plan --engines duckdb,spark',
    'millrace plan --json',
  ],
  async run(options, effects) {
    const home = homeOf(options, effects)
    const found = await planProject(home.project, { engines: enginesOf(options.engines), target: home.target })
    // What a target needs is not loaded where there is none.
    const target =
      home.target === undefined
        ? undefined
        : await (await import('../plan-target.ts')).planTarget(found.bound, home, effects)
    const stored = target ?? (await planStored(found.bound, await openSight(found.project, home, effects)))
    const plan = { ...found, problems: [...found.problems, ...stored.problems] }
    if (options.json) {
      effects.out.write(
        `${JSON.stringify({ ...planDocument(plan), ...(target ? { target: { name: target.target, steps: target.steps } } : {}) })}\n`,
      )
      return plan.problems.length === 0 ? 0 : 1
    }
    if (plan.problems.length > 0) throw new ProjectProblems(home.project, plan.problems)
    effects.out.write(`${planText(plan, effects.out)}\n`)
    if (target) effects.out.write(`\n${targetText(target, effects.out)}\n`)
    return 0
  },
})

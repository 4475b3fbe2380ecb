// node scripts/count-tests.ts DIRECTORY: the tests of all vitest reports in it, in one line. Exit code 1 when any failed.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

interface Report {
  numPassedTests: number
  numFailedTests: number
  /** A file that could not be loaded has failed without a test. */
  testResults: { status: 'passed' | 'failed'; assertionResults: unknown[] }[]
}

const [directory] = process.argv.slice(2)
const reports = readdirSync(directory!).map(
  (name) => JSON.parse(readFileSync(join(directory!, name), 'utf8')) as Report,
)
const passed = reports.reduce((sum, report) => sum + report.numPassedTests, 0)
const unloaded = reports.flatMap((report) =>
  report.testResults.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0),
)
const failed = reports.reduce((sum, report) => sum + report.numFailedTests, 0) + unloaded.length
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

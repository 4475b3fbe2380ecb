// node scripts/count-tests.ts DIRECTORY: what failed in the vitest reports in it, with the reasons, and all tests counted in the
// last line. Exit code 1 when any failed.
import { readFileSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

interface Report {
  numPassedTests: number
  testResults: {
    name: string
    status: 'passed' | 'failed'
    /** Why the file could not be loaded: it has failed without a test. */
    message: string
    assertionResults: { status: string; fullName: string; failureMessages: string[] }[]
  }[]
}

/** Of a reason, which may hold two whole tables: enough to tell one failure from another. */
const reasonLines = 20

function tell(file: string, test: string, reasons: readonly string[]): void {
  console.log(`\n✗ ${relative('.', file)} > ${test}`)
  const lines = reasons
    .flatMap((reason) => stripVTControlCharacters(reason).split('\n'))
    .filter((line) => !/^ +at (.*node_modules|new Promise)/.test(line))
  for (const line of lines.slice(0, reasonLines)) console.log(`  ${line}`)
  if (lines.length > reasonLines) console.log(`  … ${lines.length - reasonLines} more lines`)
}

const [directory] = process.argv.slice(2)
let passed = 0
let failed = 0
for (const name of readdirSync(directory!).sort()) {
  const report = JSON.parse(readFileSync(join(directory!, name), 'utf8')) as Report
  passed += report.numPassedTests
  for (const { name: file, status, message, assertionResults: tests } of report.testResults) {
    const broken = tests.filter((test) => test.status === 'failed')
    for (const { fullName, failureMessages } of broken) tell(file, fullName, failureMessages)
    // A file may fail beside its tests: it does not load, or what ends it fails.
    if (status === 'failed' && broken.length === 0) tell(file, 'the file itself', [message])
    failed += broken.length + (status === 'failed' && broken.length === 0 ? 1 : 0)
  }
}
if (failed > 0) console.log()
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
